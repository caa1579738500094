"""One immutable dataset version: which shards, what stands in them, from what they were made.

A dataset version is a folder:

    manifest.json        this value; its id is the hash of its content
    faces.parquet        one row per face, without pixels: FACE_COLUMNS below (embeddings, pose, age, place in a shard)
                         and CLIP_COLUMNS, which versions of before lack
    shards/train-00000.tar ...   WebDataset tars, all faces of an identity side by side
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import pyarrow as pa

from anchorface.records.errors import DataError
from anchorface.records.state import RelativePath, parsed
from anchorface.records.storage import join, read_bytes
from anchorface.records.terms import count_terms

FORMAT = 1

FACE_COLUMNS = (
    "face_id", "photo_id", "uri", "identity", "split", "shard", "offset", "byte_size", "crop_size", "crop_landmarks",
    "score", "yaw", "pitch", "roll", "age", "norm", "sharpness", "brightness", "light_x", "light_y", "smile", "clipped",
    "embedding", "perceptual_hash", "taken", "licence", "consent", "source",
)

CLIP_COLUMNS = {"track": pa.scalar(""), "frame": pa.scalar(-1, pa.int32())}
"""Where a face of a film stands, its track's name and its frame's number; and what a face says that is in no track."""

CLASSES = ("licence", "consent", "source")
"""The columns that say under what terms a face is here."""


def with_clip_columns(faces: pa.Table) -> pa.Table:
    """A table of faces with CLIP_COLUMNS, which one that was made before there were tracks lacks."""
    for name, none in CLIP_COLUMNS.items():
        if name not in faces.column_names:
            faces = faces.append_column(name, pa.repeat(none, len(faces)))
    return faces


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar: path inside the version's folder, its split, the identities in it in order, counts, bytes, hash."""

    path: RelativePath
    split: str
    identities: tuple[str, ...]
    faces: int
    byte_size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One dataset version.

    counts: faces and identities per split. weights: weight file name -> SHA-256 (embedder, detector).
    settings: what made it (split fractions, seed, embedder, policy). parents: manifest ids it came from: the version
    that was the latest when this one was made, or the one that people were erased from.
    licences, consents: words as the photographs' sidecars have them -> number of faces. faces_sha256: hash of
    faces.parquet. code: see `records.lineage.code_hash`.
    extra: free; `erased` is the number of faces that an erasure took out of the parent, `left_out` the faces of the
    index that did not go in: column -> class -> number.
    """

    shards: tuple[Shard, ...]
    counts: dict[str, dict[str, int]]
    licences: dict[str, int]
    consents: dict[str, int]
    weights: dict[str, str]
    settings: dict[str, Any]
    faces_sha256: str
    parents: tuple[str, ...] = ()
    format: int = FORMAT
    code: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def content_id(self) -> str:
        """The id that it would have without parents: versions of equal content_id hold the same, made alike."""
        return replace(self, parents=(), extra={}).manifest_id

    @property
    def terms(self) -> dict[str, dict[str, int]]:
        """Column -> class of its words (see records.terms) -> number of faces."""
        return {"licence": count_terms("licence", self.licences), "consent": count_terms("consent", self.consents)}

    @property
    def faces(self) -> int:
        """How many faces it holds."""
        return sum(shard.faces for shard in self.shards)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, so that equal values have equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str, named: str = "manifest.json") -> Self:
        """Read it back.

        Raises:
            DataError: not a manifest, one of another format, or one whose paths leave its folder; names the file.
        """
        found = parsed(text, dict[str, Any], named).get("format")
        if found is not None and found != FORMAT:
            raise DataError(f"{named}: manifest of format {found!r}; this version reads format {FORMAT}")
        return parsed(text, cls, named)

    @classmethod
    def read(cls, version: str) -> Self:
        """The manifest of a version's folder. Raises DataError as `from_json`, StorageError if there is none."""
        uri = join(version, "manifest.json")
        try:
            return cls.from_json(read_bytes(uri).decode(), uri)
        except UnicodeDecodeError as error:
            raise DataError(f"{uri}: damaged ({error})") from error
