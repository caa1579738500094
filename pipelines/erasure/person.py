"""A person, who is more than a cluster: every face, photograph and label of hers, as a Selection.

In: a workspace, and what names the person: identities, labels, decisions, faces. What goes, and why:

    identity     the faces of the identities that are named, or whose label is the person's
    label        faces to which a sidecar or a decision gives a label of the person, and photographs that are said to
                 show the person, a face found or not. A sidecar's label is the person's where no other identity has it
    copies       near-duplicates that `group` dropped
    once         faces of nobody (rejected, not grouped yet, in an old dataset version alone) that stood with the person
                 in the run of `group` before, or in a version
    likeness     faces of nobody that are nearer to the person than the tombstones' limit
    asked for    faces named by the caller

Faces of nobody that share a decision with the person, have a label of hers and others', or are nearly as much alike
(NEARLY) are not certain: they are listed (`Selection.unsure`) and stay unless `also` names them.

A photograph that shows nobody else goes whole; one that shows others stays for them, without the person's words.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.clustering.decisions import read_decisions
from anchorface.identity_index.tombstones import limit_cosine
from anchorface.identity_index.unit import unit
from anchorface.pipelines.erasure.rows import (
    decided_labels,
    embeddings,
    identity_rows,
    known_faces,
    near_duplicates,
    stood_with,
)
from anchorface.pipelines.erasure.selection import Selection, of_faces
from anchorface.pipelines.erasure.unread import said_to_show
from anchorface.records.errors import DataError
from anchorface.records.nouns import Decision

ALL = "all"
NEARLY = 0.1
"""How much less alike than the tombstones' limit asks, in cosine, a face of nobody may be to be listed (our choice)."""


def by_identity(out: str, names: Sequence[str], *, kind: str = "identity", also: Sequence[str] = ()) -> Selection:
    """Persons by their identities; see `by_person`."""
    return by_person(out, identities=names, kind=kind, also=also)


def by_person(
    out: str, *, identities: Iterable[str] = (), labels: Iterable[str] = (), decisions: Iterable[int] = (),
    faces: Iterable[str] = (), also: Sequence[str] = (), kind: str = "person",
) -> Selection:
    """Persons, by whatever names them.

    Args:
        out: the workspace.
        identities: their names. labels: subjects of sidecars or labels of decisions.
        decisions: numbers; the faces that they name are the person's.
        faces: ids of faces that are the person's.
        also: ids of `Selection.unsure` that go too, or `all`.
        kind: how they were asked for.

    Raises:
        DataError: an identity, label, decision or face that is not here; a decision about several persons.
    """
    rows, table = {row["identity"]: row for row in identity_rows(out)}, known_faces(out)
    decided = {decision.number: decision for decision in read_decisions(out)}
    of_face = {face: name for name, row in rows.items() for face in row["face_ids"]}
    names, said = set(identities), set(labels)
    _require(out, "identity", sorted(names - rows.keys()), "see `anchorface audit`, or select by --label, --photo, "
             "--source or --decision, which need no grouping")
    _require(out, "decision", sorted(set(decisions) - decided.keys()), "`anchorface decisions` lists them")
    given = dict.fromkeys(faces, "asked for")
    for number in sorted(set(decisions)):
        given |= dict.fromkeys(decided[number].face_ids, f"decision {number}")
        said |= {decided[number].label} - {None}  # type: ignore[arg-type]
        about = {of_face[face] for face in decided[number].face_ids if face in of_face}
        if len(about) > 1:
            raise DataError(f"{out}: decision {number} is about faces of {', '.join(sorted(about))}: name those meant")
    names |= {of_face[face] for face in given if face in of_face}
    subject = dict(zip(table["face_id"].to_pylist(), table["subject"].to_pylist(), strict=True))
    by_people = decided_labels(list(decided.values()))
    names, said = _labelled(names, said, rows, of_face, by_people)
    own, mixed = _sidecar_labels(names, of_face, subject)
    said |= own
    why = {face: "identity" for name in names for face in rows[name]["face_ids"]}
    free = {face for face in subject if face not in of_face}
    for face, reason in given.items():
        if face in free:
            why.setdefault(face, reason)
    for face in free:
        if subject[face] in said or by_people.get(face) in said:
            why.setdefault(face, "label")
    for face in near_duplicates(out, table, names, set(why)) & free:
        why.setdefault(face, "near-duplicate")
    for face, reason in stood_with(out, names).items():
        if face in free:
            why.setdefault(face, reason)
    unsure = _unsure(decided.values(), why, said, free, subject, mixed)
    if not why and not (said and said_to_show(out, frozenset(said))):
        raise DataError(f"{out}: no face or photograph here is the person's: no label, subject or face is named "
                        f"{', '.join(map(repr, sorted({*labels, *faces})))}")
    means = _means(out, [{face for face in why if of_face.get(face) == name} for name in sorted(names)] or [set(why)])
    alike = _look(out, means, of_face, why, unsure)
    for face in list(unsure) if ALL in also else also:
        if face not in unsure and face not in why:
            raise DataError(f"{out}: face {face} is not one of those that may be the person's")
        why[face] = "asked for"
        unsure.pop(face, None)
    return of_faces(out, kind, table, why, identities=names, subjects=frozenset(said), codes=means, unsure=unsure,
                    alike=alike)


def _labelled(
    names: set[str], labels: set[str], rows: Mapping[str, Mapping[str, str]], of_face: Mapping[str, str],
    by_people: Mapping[str, str],
) -> tuple[set[str], set[str]]:
    """Identities and their labels: the labels of the identities, the identities of the labels, until nothing is new."""
    names, labels, before = set(names), set(labels), -1
    while len(names) + len(labels) != before:
        before = len(names) + len(labels)
        labels |= {rows[name]["subject"] for name in names} - {None}
        labels |= {label for face, label in by_people.items() if of_face.get(face) in names}
        names |= {name for name, row in rows.items() if row["subject"] in labels}
        names |= {of_face[face] for face, label in by_people.items() if label in labels and face in of_face}
    return names, labels


def _sidecar_labels(
    names: set[str], of_face: Mapping[str, str], subject: Mapping[str, str | None]
) -> tuple[set[str], set[str]]:
    """The sidecars' labels of the person's faces: those that no other identity has, and those that others have too."""
    mine, others = set[str](), set[str]()
    for face, said in subject.items():
        if said is not None and face in of_face:
            (mine if of_face[face] in names else others).add(said)
    return mine - others, mine & others


def _unsure(
    decisions: Iterable[Decision], why: Mapping[str, str], labels: set[str], free: set[str],
    subject: Mapping[str, str | None], mixed: set[str],
) -> dict[str, str]:
    """Faces of nobody that may be the person's, and why."""
    found = {face: f"its label {subject[face]!r} is others' too" for face in free if subject[face] in mixed}
    for decision in decisions:
        named = {*decision.face_ids, *decision.others}
        if named & why.keys() or any(label in decision.note for label in labels):
            found |= dict.fromkeys(named & free, f"decision {decision.number} names it beside the person")
    return {face: reason for face, reason in found.items() if face not in why}


def _look(
    out: str, means: Mapping[str, np.ndarray], of_face: Mapping[str, str], why: dict[str, str], unsure: dict[str, str]
) -> dict[str, int]:
    """Faces of nobody that look like the person go, or are unsure; returns identity -> faces that look so too."""
    alike: dict[str, int] = {}
    for face_ids, embedder, vectors in embeddings(out):
        if embedder not in means:
            continue
        cosines, limit = (vectors @ means[embedder].T).max(axis=1), limit_cosine(embedder)
        near = np.flatnonzero(cosines >= limit - NEARLY)
        for face, cosine in zip(face_ids[near].tolist(), cosines[near].tolist(), strict=True):
            if face in why:
                continue
            if face not in of_face and cosine >= limit:
                why[face] = "likeness"
                unsure.pop(face, None)
            elif face not in of_face:
                unsure.setdefault(face, f"nearly as much alike as the limit asks: cosine {cosine:.2f} of {limit:.2f}")
            elif cosine >= limit:
                alike[of_face[face]] = alike.get(of_face[face], 0) + 1
    return alike


def _means(out: str, persons: Sequence[set[str]]) -> dict[str, np.ndarray]:
    """Each person's mean direction, one row each, by embedder."""
    sums: dict[str, dict[int, np.ndarray]] = {}
    for face_ids, embedder, vectors in embeddings(out):
        for number, faces in enumerate(persons):
            mine = vectors[np.asarray(pc.is_in(pa.array(face_ids.tolist(), pa.string()), value_set=pa.array(
                sorted(faces), pa.string())))]
            if len(mine):
                rows = sums.setdefault(embedder, {})
                rows[number] = rows.get(number, np.zeros(vectors.shape[1])) + mine.sum(axis=0, dtype=np.float64)
    return {name: unit(np.stack([rows[number] for number in sorted(rows)])) for name, rows in sums.items()}


def _require(out: str, what: str, unknown: Sequence[object], hint: str) -> None:
    if unknown:
        raise DataError(f"{out}: no {what} {unknown[0]!r}; {hint}")
