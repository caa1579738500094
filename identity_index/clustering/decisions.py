"""What people decided about faces: `decisions.parquet` in the workspace (records.DECISION_SCHEMA), only appended to.

A decision names faces, never identities, so it holds whatever `group` computes later. Faces that are gone (erased,
rejected, no longer in the source) stay written here and are passed over; of erased ones a salted mark stays.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from anchorface.records.erasures import pending
from anchorface.records.errors import ConfigurationError
from anchorface.records.nouns import DECISION_SCHEMA, Decision
from anchorface.records.storage import exists, join, make_folder, read_table, write_table
from anchorface.records.workspace import at_work

FILE = "decisions.parquet"
KINDS = ("merge", "split", "reject", "label")


def read_decisions(workspace: str) -> list[Decision]:
    """All decisions of a workspace, in order of `number`; none where nobody decided anything.

    Raises:
        DataError: the table is damaged.
    """
    uri = join(workspace, FILE)
    if not exists(uri):
        return []
    rows = read_table(uri).to_pylist()
    return sorted((Decision.from_row(row) for row in rows), key=lambda decision: decision.number)


def add_decision(
    workspace: str, *, kind: str, face_ids: Sequence[str], others: Sequence[str] = (), label: str | None = None,
    note: str = "", made: str,
) -> Decision:
    """Write down one more decision; the next `group` follows it.

    Args:
        workspace: where `decisions.parquet` stands or will stand.
        kind: `merge`, `split`, `reject` or `label`; see records.Decision.
        face_ids: the faces it is about; at least two for `merge`.
        others: for `split`: faces that are not that person.
        label: for `label`: the person's name.
        note: free text.
        made: when, ISO date and time.

    Returns:
        The decision with its number. The table is replaced in one step: a reader sees it with or without this one.

    Raises:
        ConfigurationError: an unknown kind, no faces, values that the kind does not have or lacks, or another process
            that writes the workspace; or an erasure was stopped here and is not finished.
        StorageError: the workspace cannot be written.
    """
    faces, rest = tuple(sorted(set(face_ids))), tuple(sorted(set(others)))
    _check(kind, faces, rest, label)
    make_folder(workspace)
    with at_work(workspace, kind):
        if pending(workspace):
            raise ConfigurationError(f"{workspace}: an erasure was stopped here, and is finished before anything is "
                                     "decided: `anchorface erase` or any verb that writes the workspace does it")
        known = read_decisions(workspace)
        decision = Decision(
            number=known[-1].number + 1 if known else 1, kind=kind, face_ids=faces, others=rest, label=label, note=note,
            made=made,
        )
        rows = [each.to_row() for each in (*known, decision)]
        write_table(join(workspace, FILE), pa.Table.from_pylist(rows, schema=DECISION_SCHEMA))
    return decision


def rejected(decisions: Iterable[Decision]) -> set[str]:
    """The face ids that are of no use: rejected, and not called a person's face by a later decision."""
    faces: set[str] = set()
    for decision in decisions:
        if decision.kind == "reject":
            faces.update(decision.face_ids)
        else:
            faces.difference_update(decision.face_ids)
    return faces


def _check(kind: str, faces: tuple[str, ...], others: tuple[str, ...], label: str | None) -> None:
    if kind not in KINDS:
        raise ConfigurationError(f"decision: no kind {kind!r}; it is one of {', '.join(KINDS)}")
    if not faces or not all(faces) or not all(others):
        raise ConfigurationError(f"decision {kind}: it names no face, or an empty face id; give the ids of the faces")
    if kind == "merge" and len(faces) < 2:
        raise ConfigurationError(f"decision merge: only {faces[0]}; at least two faces are needed")
    if (kind == "split") != bool(others):
        raise ConfigurationError(f"decision {kind}: `others` belong to a split, and a split needs them")
    if (kind == "label") != bool(label and label.strip()):
        raise ConfigurationError(f"decision {kind}: a name belongs to a label, and a label needs one")
    both = sorted(set(faces) & set(others))
    if both:
        raise ConfigurationError(f"decision split: face {both[0]} stands on both sides")
