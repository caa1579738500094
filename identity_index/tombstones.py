"""What must not come back: erased photographs and erased persons, remembered without keeping either.

In the workspace, `tombstones/`:

    salt                  64 hex digits, secret, drawn at the first erasure
    <erasure id>.json     photographs as HMAC-SHA256 of their id under the salt; persons as protected embeddings

A protected embedding is BITS signs of projections on Gaussian directions that the salt draws (one set per embedder),
so the share of equal signs is 1 - angle / 180. Of real photographs, a person's code from one half of the faces against
the other half's faces (1,960 over five salts), and against everybody else's (1,197,350):

    network                     limit   false match   missed
    mobilefacenet_y1_ms1m_112   .67      2 in 100,000     1 %     (cosines in the clear: under 1 % missed)
    adaface_small               .70     33 in 100,000    31 %     (cosines in the clear: 23 % missed)

So a person is kept out as well as the embedder knows strangers. The photographs themselves, by their hash, are always
kept out. Who holds the codes alone learns nothing; who holds the salt too can point back to about the direction of the
embedding (cosine .85 for 128 numbers): keep `tombstones/` as closely as the photographs were. Without it they return.
"""

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """One embedder's memory of persons.

    embedder: its name. weights: its file's SHA-256. codes: hex digits of BITS signs each. limit: a face with at least
    this share of equal signs is the person.
    """

    embedder: str
    weights: str
    codes: tuple[str, ...]
    limit: float


@dataclass(frozen=True, kw_only=True)
class Tombstones:
    """The tombstones of a workspace. salt: empty where nobody was ever erased. foreign: hashes of entries that no
    erasure of this workspace made (`erased/` holds neither their report nor their journal)."""

    salt: bytes = field(default=b"", repr=False)
    photos: frozenset[str] = frozenset()
    people: tuple[Remembered, ...] = ()
    foreign: tuple[str, ...] = ()

    @classmethod
    def open(cls, workspace: str) -> Self:
        """Read them; empty where there are none.

        Raises:
            DataError: an entry or the salt is damaged or missing: erased people could come back unseen.
        """
        folder = join(workspace, FOLDER)
        entries = list_files(folder, (".json",)) if exists(folder) else []
        if not entries:
            return cls(salt=_salt(workspace) if exists(join(folder, SALT)) else b"")
        photos: set[str] = set()
        people: list[Remembered] = []
        foreign: list[str] = []
        for uri in entries:
            try:
                content = read_bytes(uri)
                values = parsed(content, dict[str, Any], uri)
                photos.update(values["photos"])
                people += [Remembered(**{**each, "codes": tuple(each["codes"])}) for each in values["people"]]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{uri}: not a readable tombstone ({error!r}); restore it from a copy, or else who was "
                                "erased could come back") from error
            name = uri.rpartition("/")[2]
            if not exists(join(workspace, REPORTS, name)) and not exists(join(workspace, PENDING, name)):
                foreign.append(hashlib.sha256(content).hexdigest())
        return cls(salt=_salt(workspace), photos=frozenset(photos), people=tuple(people), foreign=tuple(foreign))

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
        signs = _bits([code for each in known for code in each.codes]) * 2.0 - 1.0
        limits = np.concatenate([np.full(len(each.codes), each.limit) for each in known])
        for start in range(0, len(vectors), ROWS):
            bits = protected_bits(self.salt, vectors[start : start + ROWS], embedder) * 2.0 - 1.0
            equal = (bits.astype(np.float32) @ signs.astype(np.float32).T / BITS + 1.0) / 2.0
            found[start : start + ROWS] = (equal >= limits).any(axis=1)
        return found

    def unseen_by(self, embedder: str) -> int:
        """How many codes only other embedders can compare: persons whom this one cannot keep out."""
        return sum(len(each.codes) for each in self.people if each.embedder != embedder)

    @cached_property
    def codes(self) -> int:
        """How many persons' codes are kept, over all embedders."""
        return sum(len(each.codes) for each in self.people)


def bury(
    workspace: str, erasure_id: str, *, photos: Iterable[str], people: Sequence[tuple[str, str, np.ndarray]],
    salt: bytes | None = None,
) -> Tombstones:
    """Write one erasure's tombstone; writing the same one again changes nothing.

    Args:
        workspace: where.
        erasure_id: its name.
        photos: photo ids (or SHA-256) that must not come back.
        people: (embedder, SHA-256 of its weights, embeddings [K, D]): one row for each code.
        salt: for a workspace without one; drawn from the system's randomness if None.

    Returns:
        All tombstones of the workspace.

    Raises:
        StorageError: it cannot be written.
    """
    place = join(workspace, FOLDER, SALT)
    if not exists(place):
        write_atomic(place, (salt or secrets.token_bytes(32)).hex().encode())
    secret = _salt(workspace)
    remembered: list[dict[str, Any]] = []
    for embedder, weights, vectors in people:
        bits = protected_bits(secret, vectors, embedder)
        codes = sorted(row.tobytes().hex() for row in np.packbits(bits, axis=1))
        remembered.append({
            "embedder": embedder, "weights": weights, "codes": codes, "limit": LIMITS.get(embedder, LIMIT),
        })
    entry = {"photos": sorted({photo_mark(secret, photo) for photo in photos}), "people": remembered}
    write_atomic(join(workspace, FOLDER, f"{erasure_id}.json"), json.dumps(entry, sort_keys=True, indent=1).encode())
    return Tombstones.open(workspace)


def limit_cosine(embedder: str) -> float:
    """The cosine at which two embeddings have, on average, as many equal signs as a person's limit asks."""
    return math.cos(math.pi * (1.0 - LIMITS.get(embedder, LIMIT)))


def photo_mark(salt: bytes, sha256_or_photo_id: str) -> str:
    """A photograph's name on its tombstone, 32 hex digits."""
    name = sha256_or_photo_id[:ID_DIGITS].lower()
    return hmac.new(salt, f"photo/{name}".encode(), hashlib.sha256).hexdigest()[:32]


def protected_bits(salt: bytes, embeddings: np.ndarray, embedder: str) -> np.ndarray:
    """Signs of secret projections: bool [N, BITS] for embeddings [N, D]. Source: sign random projections, Charikar
    2002; the share of equal signs of two vectors is 1 - angle / pi."""
    vectors = unit(np.atleast_2d(embeddings)).astype(np.float64)
    drawn = hmac.new(salt, f"projection/{embedder}/{vectors.shape[1]}".encode(), hashlib.sha256).digest()
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(drawn, "little"))))
    return vectors @ generator.standard_normal((BITS, vectors.shape[1])).T > 0.0


def _bits(codes: Sequence[str]) -> np.ndarray:
    packed = np.frombuffer(b"".join(bytes.fromhex(code) for code in codes), np.uint8).reshape(len(codes), BITS // 8)
    return np.unpackbits(packed, axis=1)


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
