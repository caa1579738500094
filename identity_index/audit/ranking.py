"""Which identities a person should look at first.

In: the table of identities (records.IDENTITY_SCHEMA), and the order of suspicion that `group` reported.
Out: `Suspect`s, the most doubtful first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.records.errors import DataError
from anchorface.records.nouns import IDENTITY_SCHEMA


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One identity in the order of doubt. rank: from 1; faces: how many; the others as in records.Identity."""

    rank: int
    identity: str
    split: str
    subject: str | None
    faces: int
    purity: float
    doubt: str
    doubtful: tuple[str, ...]


def rank(identities: pa.Table, suspicious: Sequence[str] = (), shown: int | None = None) -> list[Suspect]:
    """The suspicious ones, then those with a doubt before those without, each by rising purity, then by name.

    Args:
        identities: columns of IDENTITY_SCHEMA, in any order of rows.
        suspicious: names, the most suspicious first, as `group` reported them; it need not be all.
        shown: how many to return; None for all.

    Raises:
        DataError: a column is missing.
    """
    missing = [name for name in IDENTITY_SCHEMA.names if name not in identities.column_names]
    if missing:
        raise DataError(f"identities: no column {', '.join(missing)}; `anchorface curate` groups the faces again")
    place = pc.index_in(identities["identity"], pa.array(suspicious, pa.string()))
    keys = pa.table({
        "place": pc.fill_null(place, len(suspicious)),
        "calm": pc.equal(pc.fill_null(identities["doubt"], ""), ""), "purity": identities["purity"],
        "identity": identities["identity"],
    })
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    chosen = identities.take(order[:shown])
    counts = pc.list_value_length(chosen["face_ids"]).to_pylist()
    rows = chosen.select(["identity", "split", "subject", "purity", "doubt", "doubtful"]).to_pylist()
    return [
        Suspect(
            rank=number, identity=row["identity"], split=row["split"], subject=row["subject"], faces=count,
            purity=row["purity"], doubt=row["doubt"] or "", doubtful=tuple(row["doubtful"] or ()),
        )
        for number, (row, count) in enumerate(zip(rows, counts, strict=True), start=1)
    ]
