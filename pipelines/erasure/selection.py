"""What goes: photographs or a source; `erasure.person` selects people. In: a workspace. Out: a Selection.

Erasing photographs or a source takes these photographs and all faces in them, and nothing else: the same people stay on
other photographs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.tombstones import ID_DIGITS
from anchorface.pipelines.erasure.rows import embeddings, hashes, known_faces, photo_rows
from anchorface.pipelines.erasure.unread import Unread, photo_id_of, said_to_show, unread
from anchorface.pipelines.erasure.withdrawn import withdrawn
from anchorface.pipelines.sources.address import film_of
from anchorface.records.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What goes.

    kind: how it was asked for. face_ids: all faces. photo_ids: photographs that go whole, with all their uris.
    places: (uri, number) of every face. identities: those asked for. subjects: the person's labels; empty where
    photographs go and their people stay. shared: photograph that stays -> what its rows may say of the person:
    `landmarks` and `subject` of each erased face. codes: the embeddings to remember the person by, by embedder.
    pictures: ids [N], embeddings [N, D] and perceptual hashes [N] of the faces, by embedder. why: reason -> how many
    faces go for it. unsure: face that stays -> why it may be the person's. alike: identity -> faces of others that the
    tombstone would keep out: perhaps the same person. unread_places: uris of photographs that were not read, remembered
    by their place. left: what may come back all the same, in words.
    """

    kind: str
    face_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]
    uris: tuple[str, ...]
    places: tuple[tuple[str, int], ...]
    identities: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    shared: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    why: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    alike: dict[str, int] = field(default_factory=dict)
    unread_places: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def of_person(self) -> bool:
        """Whether people go, and not only photographs."""
        return bool(self.codes or self.identities or self.subjects)


def by_photo(out: str, photos: Sequence[str]) -> Selection:
    """Photographs, each a file, a uri of the workspace (of a film: all of it), a photo id or a SHA-256.

    Raises:
        DataError: one that the workspace does not know.
    """
    table = photo_rows(out)
    chosen: set[str] = set()
    names = frozenset(photos)
    listed = [*unread(out, lambda uri, _: uri in names)]
    films = pa.array([film_of(uri) for uri in table["uri"].to_pylist()], pa.string())
    for name in photos:
        found = set(table.filter(pc.or_(pc.equal(table["uri"], name), pc.equal(films, name)))["photo_id"].to_pylist())
        new = any(each.uri == name for each in listed)
        if not found and not new:
            wanted = _photo_id(name)
            found = {wanted} & set(table["photo_id"].to_pylist())
        if not found and not new:
            raise DataError(f"{name}: no photograph of {out}: give its file, its uri or its id (24 hex digits)")
        chosen |= found
    listed += _film_files({*films.to_pylist()} & names, listed)
    return _of_photos(out, "photo", table, chosen, listed)


def by_source(out: str, source: str) -> Selection:
    """All photographs of a source, read or not: its name in the `source` column, or the beginning of their uris.

    Raises:
        DataError: there is none.
    """
    table = photo_rows(out)
    folder = source.rstrip("/") + "/"

    def begins(uri: str) -> bool:
        return uri == source or uri.startswith((folder, f"{source}#"))

    mine = pa.array([begins(uri) for uri in table["uri"].to_pylist()], pa.bool_())
    chosen = table.filter(pc.or_(pc.equal(table["source"], source), mine))
    listed = [*unread(out, lambda uri, says: begins(uri) or says.get("source") == source)]
    listed += _film_files({film_of(uri) for uri in chosen["uri"].to_pylist()} - {""}, listed)
    if not len(chosen) and not listed:
        raise DataError(f"{source}: no photograph of {out} has this source, or a uri that begins so")
    return _of_photos(out, "source", table, set(chosen["photo_id"].to_pylist()), listed)


def by_withdrawn(out: str) -> Selection:
    """All photographs whose consent was withdrawn, with their faces in versions made before.

    Raises:
        DataError: there is none.
    """
    found = withdrawn(out).photo_ids
    if not found:
        raise DataError(f"{out}: consent to no photograph here was withdrawn")
    return _of_photos(out, "withdrawn", photo_rows(out), set(found))


def of_faces(
    out: str, kind: str, table: pa.Table, why: Mapping[str, str], *, identities: Iterable[str] = (),
    subjects: frozenset[str] = frozenset(), codes: Mapping[str, np.ndarray] | None = None,
    unsure: Mapping[str, str] | None = None, alike: Mapping[str, int] | None = None,
) -> Selection:
    """Faces, the photographs that show nobody else, and what to blank in those that do.

    Args:
        table: `known_faces`. why: each face that goes, and the reason. subjects: labels whose photographs go too, even
            where no face was found in them. The rest: see Selection.
    """
    photos = photo_rows(out)
    chosen = frozenset(why)
    mine = pc.is_in(table["face_id"], value_set=pa.array(sorted(chosen), pa.string()))
    faces, others = table.filter(mine), table.filter(pc.invert(mine))
    said = said_to_show(out, subjects) if subjects else {}
    showing = set(faces["photo_id"].to_pylist()) | said.keys()
    shared_ids = showing & (set(others["photo_id"].to_pylist()) | {photo for photo in said if said[photo].others})
    named = {face for photo, each in said.items() if photo not in each.uris for face in each.faces} - set(
        others["face_id"].to_pylist())
    whole = showing - shared_ids
    films = _films_that_stay(photos, whole)
    mixed = {photo for photo in whole & said.keys() if said[photo].uris & films}
    whole -= mixed
    unknown = {photo for photo in said if photo in said[photo].uris}
    places = {uri for photo in whole & said.keys() for uri in said[photo].places}
    shared: dict[str, list[dict[str, Any]]] = {photo: [] for photo in shared_ids - unknown}
    for row in faces.to_pylist():
        if row["photo_id"] in shared_ids:
            shared[row["photo_id"]].append({"landmarks": row["landmarks"], "subject": row["subject"]})
    reasons = list(why.values()) + ["photographs that are said to show the person, without a face"] * len(
        said.keys() - set(faces["photo_id"].to_pylist()))
    uris = {*_uris(photos, whole), *(uri for photo in whole & said.keys() for uri in said[photo].uris)}
    left = (_left(len(mixed), "films that show others too: frames at other times than those read may show the person"),
            _left(len(shared_ids & unknown), "photographs that show others too, which cannot be read from here: "
                  "what sidecars say of the person in them"))
    return Selection(
        kind=kind, face_ids=tuple(sorted(chosen | named)), photo_ids=tuple(sorted(whole - unknown)),
        uris=tuple(sorted(uris)), unread_places=tuple(sorted(places)), left=tuple(filter(None, left)),
        places=_places(faces), identities=tuple(sorted(identities)), subjects=tuple(sorted(subjects)), shared=shared,
        codes=dict(codes or {}), pictures=_pictures(out, chosen), unsure=dict(sorted((unsure or {}).items())),
        why=dict(sorted(Counter(reasons).items())), alike=dict(sorted((alike or {}).items())),
    )


def _of_photos(
    out: str, kind: str, photos: pa.Table, chosen: set[str], listed: Sequence[Unread] = ()
) -> Selection:
    """Photographs by their ids, and those that are listed alone."""
    new = {each.uri: each.photo_id for each in listed}
    faces = known_faces(out)
    faces = faces.filter(pc.is_in(faces["photo_id"], value_set=pa.array(sorted(chosen), pa.string())))
    face_ids = frozenset(faces["face_id"].to_pylist())
    return Selection(
        kind=kind, face_ids=tuple(sorted(face_ids)), photo_ids=tuple(sorted({*chosen, *new.values()} - {""})),
        uris=tuple(sorted({*_uris(photos, chosen), *new})), places=_places(faces), pictures=_pictures(out, face_ids),
        unread_places=tuple(sorted(each.uri for each in listed if each.by_place)),
    )


def _film_files(films: set[str], listed: Sequence[Unread]) -> list[Unread]:
    """Films that go with all their frames, read or not, but for those listed."""
    return [Unread(uri=film, photo_id=photo_id_of(film)) for film in sorted(films - {each.uri for each in listed})]


def _films_that_stay(photos: pa.Table, whole: set[str]) -> set[str]:
    """The films of which a frame stays."""
    rows = zip(photos["uri"].to_pylist(), photos["photo_id"].to_pylist(), strict=True)
    return {film_of(uri) for uri, photo in rows if photo not in whole} - {""}


def _left(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""


def _pictures(out: str, face_ids: frozenset[str]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ids [N], embeddings [N, D] and perceptual hashes [N] of these faces, by embedder."""
    known, found = hashes(out, face_ids), dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]()
    for names, embedder, vectors in embeddings(out) if known else ():
        here = np.array([name in known for name in names.tolist()], dtype=bool)
        if here.any():
            said = np.array([known[name] for name in names[here].tolist()], dtype=np.uint64)
            found.setdefault(embedder, []).append((names[here], vectors[here], said))
    return {name: (np.concatenate([i for i, _, _ in each]), np.concatenate([v for _, v, _ in each]),
                   np.concatenate([h for _, _, h in each])) for name, each in found.items()}


def _uris(photos: pa.Table, chosen: set[str]) -> tuple[str, ...]:
    uris = photos.filter(pc.is_in(photos["photo_id"], value_set=pa.array(sorted(chosen), pa.string())))["uri"]
    return tuple(sorted(set(uris.to_pylist())))


def _places(faces: pa.Table) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(zip(faces["uri"].to_pylist(), faces["number"].to_pylist(), strict=True)))


def _photo_id(name: str) -> str:
    digits = name.lower()
    if len(digits) >= ID_DIGITS and all(letter in "0123456789abcdef" for letter in digits):
        return digits[:ID_DIGITS]
    return photo_id_of(name)
