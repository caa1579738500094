"""What must not come back: erased photographs and erased persons, remembered without keeping either.

In the workspace, `tombstones/`:

    salt                  64 hex digits, secret, drawn at the first erasure
    <erasure id>.json     photographs and faces as HMAC-SHA256 of their ids under the salt, photographs that were not
                          read of their places; persons as protected embeddings, of their mean and of each erased face;
                          pictures as protected embedding and perceptual hash, of each face and of its mirrored one

A protected embedding is BITS signs of projections on Gaussian directions that the salt draws (one set per embedder),
so the share of equal signs is 1 - angle / 180. A perceptual hash is protected alike, as a vector of 64 signs. Of real
photographs, a person's code from one half of the faces against the other half's faces (1,870 over five salts), and
against everybody else's (577,830):

    network                     limit   false match   missed
    mobilefacenet_y1_ms1m_112   .67      3 in 100,000     1 %     (cosines in the clear: under 1 % missed)
    adaface_small               .70     37 in 100,000    13 %     (cosines in the clear: 12 % missed)

So a new photograph of a person is kept out as well as the embedder knows strangers. A copy of an erased one, saved
again, cropped, mirrored or halved, is known by the face's own code (FACE_LIMIT), and where a photograph goes and its
people stay, by face and perceptual hash together (PICTURE_LIMITS), of the face or of its mirrored one: their codes
differ (the carried network's have .87 of the signs in common, at worst .77), so both are remembered.
benchmarks/erasure.py measures all of it. The same bytes are always kept out.

Who holds the entries alone can see how many faces were erased and which of them resemble each other; without the salt
no photograph, id, embedding or hash can be tested against them. Who holds the salt too can do what the workspace does:
test any photograph or person that he has, point back to about the direction of an embedding (cosine .85 for 128
numbers) and so compare it with faces elsewhere, and read the 64 bits of a hash, a coarse sketch of light and dark; not
the picture. So keep `tombstones/` as closely as the photographs were. Without it they return.
"""

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np

from anchorface.identity_index.unit import unit
from anchorface.records.erasures import FOLDER as REPORTS
from anchorface.records.erasures import PENDING
from anchorface.records.errors import DataError
from anchorface.records.state import parsed
from anchorface.records.storage import exists, join, list_files, read_bytes, write_atomic

FOLDER = "tombstones"
SALT = "salt"
ID_DIGITS = 24
BITS = 512
LIMITS = {"mobilefacenet_y1_ms1m_112": 0.67}
LIMIT = 0.70
FACE_LIMIT = 0.75
"""Of an erased face's own code (our choice): with the worst of three networks mirrored copies have .75 or more."""
PICTURE_LIMITS = {"adaface_small": (0.91, 0.72), "mobilefacenet_y1_ms1m_112": (0.92, 0.76)}
PICTURE_LIMIT = 0.86, 0.82
"""Of face and perceptual hash, both, of faces that are remembered mirrored too: our choice, so that a person's other
photographs stay (in 98 of 100 cases all of them; of a studio's series with one pose and light three in four)."""
ALONE_LIMIT = 0.84, 0.84
"""The same of faces whose mirrored ones are not known: up to half of their mirrored copies come back."""
HASH = "perceptual hash"
ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """One embedder's memory of persons.

    embedder: its name. weights: its file's SHA-256. codes: hex digits of BITS signs each, of means or of faces. limit:
    a face with at least this share of equal signs is the person.
    """

    embedder: str
    weights: str
    codes: tuple[str, ...]
    limit: float


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """One embedder's memory of single faces. codes, hashes: hex digits of BITS signs each, of a face's embedding and of
    its perceptual hash, in one order. limits: a face with at least these shares of equal signs, of both, is a copy."""

    embedder: str
    codes: tuple[str, ...]
    hashes: tuple[str, ...]
    limits: tuple[float, float] = ALONE_LIMIT


@dataclass(frozen=True, kw_only=True)
class Tombstones:
    """The tombstones of a workspace. salt: empty where nobody was ever erased. foreign: hashes of entries that no
    erasure of this workspace made (`erased/` holds neither their report nor their journal)."""

    salt: bytes = field(default=b"", repr=False)
    photos: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    faces: frozenset[str] = frozenset()
    people: tuple[Remembered, ...] = ()
    pictures: tuple[Pictures, ...] = ()
    foreign: tuple[str, ...] = ()

    @classmethod
    def open(cls, workspace: str) -> Self:
        """Read them; empty where there are none.

        Raises:
            DataError: an entry or the salt is damaged or missing: erased people could come back unseen.
        """
        folder = join(workspace, FOLDER)
        entries = list_files(folder, (".json",), missing_ok=True)
        if not entries:
            return cls(salt=_salt(workspace) if exists(join(folder, SALT)) else b"")
        photos: set[str] = set()
        places: set[str] = set()
        faces: set[str] = set()
        people: list[Remembered] = []
        pictures: list[Pictures] = []
        foreign: list[str] = []
        for uri in entries:
            try:
                content = read_bytes(uri)
                values = parsed(content, dict[str, Any], uri)
                photos.update(values["photos"])
                places.update(values.get("places", ()))
                faces.update(values.get("faces", ()))
                people += [Remembered(**{**each, "codes": tuple(each["codes"])}) for each in values["people"]]
                pictures += [
                    Pictures(embedder=each["embedder"], codes=tuple(each["codes"]), hashes=tuple(each["hashes"]),
                             limits=tuple(each.get("limits", ALONE_LIMIT)))
                    for each in values.get("pictures", ())
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{uri}: not a readable tombstone ({error!r}); restore it from a copy, or else who was "
                                "erased could come back") from error
            name = uri.rpartition("/")[2]
            if not exists(join(workspace, REPORTS, name)) and not exists(join(workspace, PENDING, name)):
                foreign.append(hashlib.sha256(content).hexdigest())
        return cls(salt=_salt(workspace), photos=frozenset(photos), places=frozenset(places), faces=frozenset(faces),
                   people=tuple(people), pictures=tuple(pictures), foreign=tuple(foreign))

    @property
    def digest(self) -> str:
        """For the settings of stages that ask the tombstones: empty as long as all of them were made here.

        An erasure brings every finished part up to date by itself, so none of them has to be done again. Tombstones
        that another workspace made and that were put here by hand change it.
        """
        return hashlib.sha256("".join(self.foreign).encode()).hexdigest()[:16] if self.foreign else ""

    def has_photo(self, sha256_or_photo_id: str) -> bool:
        """Whether this photograph was erased; of the hash, the first 24 hex digits count."""
        return bool(self.photos) and photo_mark(self.salt, sha256_or_photo_id) in self.photos

    def has_place(self, uri: str) -> bool:
        """Whether the photograph that stands here was erased before anybody read its bytes."""
        return bool(self.places) and place_mark(self.salt, uri) in self.places

    def has_face(self, face_id: str) -> bool:
        """Whether this face was erased, such as one that a sidecar places in a photograph that stays for others."""
        return bool(self.faces) and face_mark(self.salt, face_id) in self.faces

    def has_person(self, embeddings: np.ndarray, embedder: str) -> np.ndarray:
        """Which faces are of erased persons.

        Args:
            embeddings: [N, D], scaled to unit length here.
            embedder: the name of the network that made them. What other networks remember cannot be compared: see
                `unseen_by`.

        Returns:
            bool [N].
        """
        vectors = np.atleast_2d(embeddings)
        found = np.zeros(len(vectors), dtype=bool)
        known = [each for each in self.people if each.embedder == embedder and each.codes]
        if not known or not len(vectors):
            return found
        signs = _signs([code for each in known for code in each.codes])
        limits = np.concatenate([np.full(len(each.codes), each.limit) for each in known])
        for start in range(0, len(vectors), ROWS):
            equal = _equal(protected_bits(self.salt, vectors[start : start + ROWS], embedder), signs)
            found[start : start + ROWS] = (equal >= limits).any(axis=1)
        return found

    def has_picture(self, embeddings: np.ndarray, hashes: Sequence[int], embedder: str) -> np.ndarray:
        """Which faces are copies of erased ones: of the same picture, saved again, cut, halved or mirrored.

        Args:
            embeddings, embedder: as for `has_person`. hashes: N perceptual hashes (faces.attributes).

        Returns:
            bool [N].
        """
        vectors = np.atleast_2d(embeddings)
        found = np.zeros(len(vectors), dtype=bool)
        known = [each for each in self.pictures if each.embedder == embedder]
        codes = _signs([code for each in known for code in each.codes])
        marks = _signs([mark for each in known for mark in each.hashes])
        limits = np.array([each.limits for each in known for _ in each.codes]).reshape(-1, 2).T
        ways = hash_signs(np.asarray(hashes, np.uint64))
        for start in range(0, len(vectors) if len(codes) else 0, ROWS):
            part = slice(start, start + ROWS)
            faces = _equal(protected_bits(self.salt, vectors[part], embedder), codes)
            looks = np.maximum(*(_equal(protected_bits(self.salt, way[part], HASH), marks) for way in ways))
            found[part] = ((faces >= limits[0]) & (looks >= limits[1])).any(axis=1)
        return found

    def unseen_by(self, embedder: str) -> int:
        """How many codes only other embedders can compare: persons whom this one cannot keep out."""
        return sum(len(each.codes) for each in self.people if each.embedder != embedder)

    @cached_property
    def codes(self) -> int:
        """How many codes of persons are kept, of means and of faces, over all embedders."""
        return sum(len(each.codes) for each in self.people)


def bury(
    workspace: str, erasure_id: str, *, photos: Iterable[str], people: Sequence[tuple[str, str, np.ndarray]],
    pictures: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    mirrored: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None, face_ids: Iterable[str] = (),
    places: Iterable[str] = (), salt: bytes | None = None,
) -> Tombstones:
    """Write one erasure's tombstone; writing the same one again changes nothing.

    Args:
        workspace: where.
        erasure_id: its name.
        photos: photo ids (or SHA-256) that must not come back.
        people: (embedder, SHA-256 of its weights, embeddings [K, D]): one row for each person.
        pictures: embedder -> embeddings [N, D] and perceptual hashes [N] of the erased faces. Where people go, each
            face is a code of theirs too.
        mirrored: embedder -> rows [M] of `pictures`, and embeddings [M, D] and hashes [M] of these faces mirrored, as
            far as they are known.
        face_ids: faces that must not come back in the photographs that stay.
        places: uris whose photographs must not come in, of bytes that nobody knows.
        salt: for a workspace without one; drawn from the system's randomness if None.

    Returns:
        All tombstones of the workspace.

    Raises:
        StorageError: it cannot be written.
    """
    secret, faces = open_salt(workspace, salt), pictures or {}
    remembered: list[dict[str, Any]] = []
    for embedder, weights, vectors in people:
        of_people = {"embedder": embedder, "weights": weights}
        remembered.append(of_people | {"codes": sorted(_codes(protected_bits(secret, vectors, embedder))),
                                       "limit": LIMITS.get(embedder, LIMIT)})
        if embedder in faces:
            codes = sorted(_codes(protected_bits(secret, faces[embedder][0], embedder)))
            remembered.append(of_people | {"codes": codes, "limit": FACE_LIMIT})
    seen = []
    for embedder, (vectors, hashes) in sorted(faces.items()):
        rows, ways, looks = (mirrored or {}).get(embedder, (np.zeros(0, np.int64), vectors[:0], hashes[:0]))
        alone = np.setdiff1d(np.arange(len(vectors)), rows)
        both = np.concatenate([vectors[rows], ways]), np.concatenate([hashes[rows], looks])
        for limits, (units, marks) in ((ALONE_LIMIT, (vectors[alone], hashes[alone])),
                                       (PICTURE_LIMITS.get(embedder, PICTURE_LIMIT), both)):
            pairs = sorted(zip(_codes(protected_bits(secret, units, embedder)),
                               _codes(protected_bits(secret, hash_signs(marks)[0], HASH)), strict=True))
            if pairs:
                seen.append({"embedder": embedder, "codes": [code for code, _ in pairs],
                             "hashes": [mark for _, mark in pairs], "limits": limits})
    entry = {"photos": sorted({photo_mark(secret, photo) for photo in photos}), "people": remembered, "pictures": seen,
             "places": sorted({place_mark(secret, uri) for uri in places}),
             "faces": sorted({face_mark(secret, face) for face in face_ids})}
    write_atomic(join(workspace, FOLDER, f"{erasure_id}.json"), json.dumps(entry, sort_keys=True, indent=1).encode())
    return Tombstones.open(workspace)


def open_salt(workspace: str, salt: bytes | None = None) -> bytes:
    """The workspace's salt; drawn from the system's randomness, or as given, where nobody was ever erased.

    Raises:
        DataError: it is damaged, or missing although people were erased. StorageError: it cannot be written.
    """
    folder = join(workspace, FOLDER)
    if not exists(join(folder, SALT)) and not (exists(folder) and list_files(folder, (".json",))):
        write_atomic(join(folder, SALT), (salt or secrets.token_bytes(32)).hex().encode())
    return _salt(workspace)


def limit_cosine(embedder: str) -> float:
    """The cosine at which two embeddings have, on average, as many equal signs as a person's limit asks."""
    return math.cos(math.pi * (1.0 - LIMITS.get(embedder, LIMIT)))


def photo_mark(salt: bytes, sha256_or_photo_id: str) -> str:
    """A photograph's name on its tombstone, 32 hex digits."""
    name = sha256_or_photo_id[:ID_DIGITS].lower()
    return hmac.new(salt, f"photo/{name}".encode(), hashlib.sha256).hexdigest()[:32]


def place_mark(salt: bytes, uri: str) -> str:
    """A photograph's place on its tombstone, 32 hex digits."""
    return hmac.new(salt, f"place/{uri}".encode(), hashlib.sha256).hexdigest()[:32]


def face_mark(salt: bytes, face_id: str) -> str:
    """A face's name in reports and decisions once it is erased, 32 hex digits."""
    return hmac.new(salt, f"face/{face_id}".encode(), hashlib.sha256).hexdigest()[:32]


def erasure_mark(salt: bytes, ids: Sequence[str]) -> str:
    """The name of the erasure of these ids, 16 hex digits."""
    return hmac.new(salt, json.dumps(["erasure", *ids]).encode(), hashlib.sha256).hexdigest()[:16]


def hash_signs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Perceptual hashes uint64 [N] as vectors of signs, float [N, 64]; and those of the mirrored pictures, whose cells
    stand in the opposite order and compare the other way round."""
    bits = np.unpackbits(np.asarray(hashes, np.uint64).astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    signs = bits.reshape(-1, 8, 8) * 2.0 - 1.0
    return signs.reshape(-1, 64), -signs[:, :, ::-1].reshape(-1, 64)


def protected_bits(salt: bytes, embeddings: np.ndarray, embedder: str) -> np.ndarray:
    """Signs of secret projections: bool [N, BITS] for embeddings [N, D]. Source: sign random projections, Charikar
    2002; the share of equal signs of two vectors is 1 - angle / pi."""
    vectors = unit(np.atleast_2d(embeddings)).astype(np.float64)
    return vectors @ _projections(salt, embedder, vectors.shape[1]).T > 0.0


@lru_cache(maxsize=8)
def _projections(salt: bytes, embedder: str, dimension: int) -> np.ndarray:
    """The secret directions, float64 [BITS, D]: always the same of one salt, and asked for with every part."""
    drawn = hmac.new(salt, f"projection/{embedder}/{dimension}".encode(), hashlib.sha256).digest()
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(drawn, "little"))))
    return generator.standard_normal((BITS, dimension))


def _codes(bits: np.ndarray) -> list[str]:
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


def _equal(bits: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The share of equal signs of each row with each code, float [N, K]."""
    return ((bits * 2.0 - 1.0).astype(np.float32) @ signs.T / BITS + 1.0) / 2.0


def _signs(codes: Sequence[str]) -> np.ndarray:
    """Codes as they are kept, as signs: float32 [K, BITS]."""
    packed = np.frombuffer(b"".join(bytes.fromhex(code) for code in codes), np.uint8).reshape(len(codes), BITS // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2.0 - 1.0


def _salt(workspace: str) -> bytes:
    uri = join(workspace, FOLDER, SALT)
    try:
        salt = bytes.fromhex(read_bytes(uri).decode().strip())
    except (ValueError, OSError) as error:
        raise DataError(f"{uri}: the salt cannot be read ({error}); restore it from a copy, or else who was "
                        "erased could come back") from error
    if len(salt) != 32:
        raise DataError(f"{uri}: a salt of {len(salt)} bytes; 32 are needed; restore it from a copy")
    return salt
