"""Licence, consent and source at the door: a recipe says which classes it allows, and training refuses others.

In: a dataset version's URI and FeedSettings with `requires`. Out: nothing, or a ConsentError that counts what breaks it
and names the command that leaves it out. Default recipes demand nothing.

What is allowed is named by class (`granted`, `commercial`, `CC-BY`; see records.terms) or by what a sidecar said of a
photograph, letter by letter (`licence`, `consent`, `source`; `unknown` where it said nothing). Consent that was
withdrawn is allowed to nobody: such a version cannot even be opened (records.dataset). Looked at is every face that a
run may read: of the split, as target and as reference, and of `val`, which grids and validation show.
"""

import shlex
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConsentError
from anchorface.records.storage import join, read_table
from anchorface.records.terms import allowed_rows, term

ALSO_READ = ("val",)
SHOWN = 6


def require_allowed(dataset_uri: str, settings: FeedSettings, *, also: Sequence[str] = ALSO_READ) -> None:
    """Refuse a dataset version with faces of classes that the settings do not allow.

    Args:
        dataset_uri: the version's folder (`Dataset.uri`). settings: of the feed; `requires` empty demands nothing.
        also: splits that the run reads beside `settings.split`.

    Raises:
        ConsentError: how many faces of how many persons, each class with its number, and what to do.
    """
    if not settings.requires:
        return
    columns = [column for column, _ in settings.requires]
    table = read_table(join(dataset_uri, "faces.parquet"), ("identity", "split", *columns))
    read = pc.is_in(table["split"], value_set=pa.array([settings.split, *also], pa.string()))
    if settings.identities is not None:
        chosen = pc.is_in(table["identity"], value_set=pa.array(settings.identities, pa.string()))
        read = pc.and_(read, pc.or_(chosen, pc.not_equal(table["split"], settings.split)))
    table = table.filter(read)
    broken = {column: pc.invert(allowed_rows(table[column], column, allowed)) for column, allowed in settings.requires}
    breaks = broken[columns[0]]
    for column in columns[1:]:
        breaks = pc.or_(breaks, broken[column])
    number = pc.sum(breaks).as_py() or 0
    if not number:
        return
    persons = pc.count_distinct(table.filter(breaks)["identity"]).as_py()
    counted = "; ".join(text for column in columns if (text := _counts(table.filter(broken[column])[column], column)))
    raise ConsentError(
        f"{dataset_uri}: {number:,} of {len(table):,} faces, of {persons:,} persons, are of classes that "
        f"feed.requires does not allow: {counted}. Leave them out with\n"
        f"  {command(dataset_uri, settings)}\n"
        "and train on the version that it writes; or ask for leave, and say so in the photographs' sidecars."
    )


def command(dataset_uri: str, settings: FeedSettings) -> str:
    """The command that writes a dataset version of what the settings allow."""
    folder = dataset_uri.rstrip("/").rpartition("/")[0]
    workspace = folder.removesuffix("/dataset") if folder.endswith("/dataset") else "WORKSPACE"
    words = [word for column, allowed in settings.requires for each in allowed for word in (f"--{column}", each)]
    return shlex.join(["anchorface", "shards", workspace, *words])


def _counts(column: pa.ChunkedArray, name: str) -> str:
    """`licence 'n/a' 100 (unknown), 'CC BY-NC' 20 (CC-BY-NC) and 3 classes more`; empty where nothing breaks it."""
    found = sorted(((row["counts"], str(row["values"])) for row in pc.value_counts(column).to_pylist()), reverse=True)
    if not found:
        return ""
    more = f" and {len(found) - SHOWN} classes more" if len(found) > SHOWN else ""
    return f"{name} " + ", ".join(
        f"{value!r} {number:,}" + (f" ({term(name, value)})" if term(name, value) != value else "")
        for number, value in found[:SHOWN]) + more
