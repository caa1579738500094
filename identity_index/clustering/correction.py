"""What a person says about identities, kept as decisions about faces (see identity_index.clustering.decisions).

In: a grouped workspace, names of identities and of faces. A face may be named by the beginning of its id, where no
other face's id begins so. Out: the decision, as it was kept. Nothing changes before the next `group`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.clustering.decisions import add_decision
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.nouns import Decision
from anchorface.records.storage import exists, join, read_table

LONGEST = 200
"""Characters of a label or a note (our choice)."""


@dataclass(frozen=True)
class Grouping:
    """Who is who now. identities: identity and subject, by identity. faces: face_id and identity, by face_id."""

    identities: pa.Table
    faces: pa.Table

    @classmethod
    def open(cls, workspace: str) -> "Grouping":
        """Read it.

        Raises:
            DataError: the workspace is not grouped.
        """
        uri = join(workspace, "identities", "part-00000.parquet")
        if not exists(uri):
            raise DataError(f"{workspace}: no identities here; `anchorface curate` finds and groups the faces")
        table = read_table(uri, ("identity", "subject", "face_ids")).combine_chunks()
        lists = table["face_ids"].combine_chunks()
        faces = pa.table({
            "face_id": pc.list_flatten(lists),
            "identity": pc.take(table["identity"], pc.list_parent_indices(lists)),
        }).sort_by("face_id")
        return cls(table.select(["identity", "subject"]).sort_by("identity"), faces)

    def faces_of(self, identity: str) -> tuple[str, ...]:
        """Face ids of an identity.

        Raises:
            ConfigurationError: there is no such identity; the text names those spelled most alike.
        """
        found = self.faces.filter(pc.equal(self.faces["identity"], identity))["face_id"].to_pylist()
        if found:
            return tuple(found)
        names = self.identities["identity"].to_pylist()
        labelled = self.identities.filter(pc.equal(self.identities["subject"], identity))["identity"].to_pylist()
        if labelled:
            raise ConfigurationError(f"no identity {identity!r}; the label {identity!r} belongs to {labelled[0]}")
        near = get_close_matches(identity, names, n=3, cutoff=0.5)
        raise ConfigurationError(f"no identity {identity!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))

    def label_of(self, identity: str) -> str | None:
        """The label of an identity, None where nobody gave one."""
        found = self.identities.filter(pc.equal(self.identities["identity"], identity))["subject"].to_pylist()
        return found[0] if found else None

    def face(self, beginning: str) -> str:
        """The one face whose id is, or begins with, these letters.

        Raises:
            ConfigurationError: none or several; the text names the nearest.
        """
        ids = self.faces["face_id"]
        exact = ids.filter(pc.equal(ids, beginning))
        found = exact if len(exact) else self._beginning(beginning)
        if len(found) == 1 and beginning:
            return found[0].as_py()
        if len(found) > 1:
            some = ", ".join(found[:3].to_pylist())
            raise ConfigurationError(f"{beginning!r} is the beginning of {len(found)} face ids: {some}, ...; say more")
        common = beginning
        while common and not len(found):
            common = common[:-1]
            found = self._beginning(common) if common else found
        near = f"; the nearest are {', '.join(found[:3].to_pylist())}" if len(found) else ""
        raise ConfigurationError(f"no face {beginning!r}{near}")

    def identity_of(self, face_id: str) -> str:
        """The identity that a face of the table is with."""
        return self.faces["identity"][pc.index(self.faces["face_id"], face_id).as_py()].as_py()

    def _beginning(self, beginning: str) -> pa.ChunkedArray:
        ids = self.faces["face_id"]
        return ids.filter(pc.starts_with(ids, beginning))


def merge(workspace: str, identities: Sequence[str], *, made: str, note: str = "") -> Decision:
    """All faces of these identities are one person.

    Args:
        workspace: a grouped one. identities: two names or more. made: when, ISO date and time. note: free text.

    Raises:
        ConfigurationError: fewer than two identities, an unknown one, or two that have different labels.
        DataError: the workspace is not grouped.
    """
    names = list(dict.fromkeys(identities))
    if len(names) < 2:
        raise ConfigurationError(f"merge: {', '.join(names) or 'nothing'}; two different identities are needed")
    grouping = Grouping.open(workspace)
    faces = [face for name in names for face in grouping.faces_of(name)]
    labels = {label: name for name in reversed(names) if (label := grouping.label_of(name))}
    if len(labels) > 1:
        said = ", ".join(f"{name} is labelled {label!r}" for label, name in sorted(labels.items()))
        raise ConfigurationError(f"merge: {said}; give them one label instead (`anchorface label`)")
    return _keep(workspace, kind="merge", face_ids=faces, note=note, made=made)


def split(workspace: str, identity: str, faces: Sequence[str], *, made: str, note: str = "") -> Decision:
    """These faces of an identity are one person, and the identity's other faces are somebody else.

    Args:
        workspace, made, note: as for `merge`. identity: a name. faces: ids or their beginnings.

    Raises:
        ConfigurationError: an unknown identity or face, a face of another identity, or all faces of this one.
    """
    grouping = Grouping.open(workspace)
    own = grouping.faces_of(identity)
    chosen = _resolved(grouping, faces)
    for face in chosen:
        if grouping.identity_of(face) != identity:
            raise ConfigurationError(f"face {face} is with {grouping.identity_of(face)}, not with {identity}")
    left = set(chosen)
    others = [face for face in own if face not in left]
    if not others:
        raise ConfigurationError(f"split: these are all faces of {identity}; nothing would be left of it")
    return _keep(workspace, kind="split", face_ids=chosen, others=others, note=note, made=made)


def reject(workspace: str, faces: Sequence[str], *, made: str, note: str = "") -> Decision:
    """These faces are of no use: not a face, or a wrong crop. Arguments and errors as for `split`."""
    grouping = Grouping.open(workspace)
    return _keep(workspace, kind="reject", face_ids=_resolved(grouping, faces), note=note, made=made)


def label(workspace: str, identity: str, name: str, *, made: str, note: str = "") -> Decision:
    """This identity's faces are the person `name`; identities with one label become one person.

    Args:
        workspace, identity, made, note: as for `split`. name: at most LONGEST characters that can be printed.

    Raises:
        ConfigurationError: an unknown identity, or a name that is none.
    """
    name = name.strip()
    if not name or not _printable(name):
        raise ConfigurationError(f"label {name!r}: 1 to {LONGEST} printable characters are needed")
    faces = Grouping.open(workspace).faces_of(identity)
    return _keep(workspace, kind="label", face_ids=faces, label=name, note=note, made=made)


def _keep(workspace: str, *, note: str, **values: Any) -> Decision:
    if not _printable(note):
        raise ConfigurationError(f"note {note!r}: at most {LONGEST} printable characters are kept")
    return add_decision(workspace, note=note, **values)


def _printable(text: str) -> bool:
    return len(text) <= LONGEST and text.isprintable()


def _resolved(grouping: Grouping, faces: Sequence[str]) -> list[str]:
    chosen = list(dict.fromkeys(grouping.face(beginning) for beginning in faces))
    if not chosen:
        raise ConfigurationError("no face is named")
    return chosen
