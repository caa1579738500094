"""The nouns of the house: Photo, Face, Track, Clip, Identity, Pair, Dropped, as frozen values with Arrow schemas.

Pixels: photographs are uint8 [H, W, 3] RGB after the EXIF orientation is applied; coordinates are (x, y)
pixels with the origin at the centre of the top left pixel. Angles in degrees, ages in years.
Landmarks: five points, flat (x0, y0, ... x4, y4): left eye, right eye, nose tip, mouth left, mouth right,
left and right as seen in the picture.
"""

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Self

import pyarrow as pa

from anchorface.records.addresses import redacted


class Row:
    """What all nouns share: a dictionary form that matches the Arrow schema."""

    def to_row(self) -> dict[str, Any]:
        """The value as a dictionary of plain values, one key per schema field."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The value from a dictionary; lists become tuples, further keys are ignored."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items() if name in known}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class GivenFace:
    """A face that a sidecar names (CelebA, FFHQ and the synthetic corpus ship them).

    landmarks: ten floats in photo pixels. Others None where the sidecar does not say.
    """

    landmarks: tuple[float, ...]
    subject: str | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    age: float | None = None


@dataclass(frozen=True, kw_only=True)
class Photo(Row):
    """One usable photograph. `photo_id` is the first 24 hex digits of the SHA-256 of its bytes.

    width, height: pixels after EXIF orientation. taken: the date it was taken; birth_date: the subject's.
    subject: a given identity label, None where unknown. given_faces: faces that a sidecar names.
    """

    photo_id: str
    uri: str
    width: int
    height: int
    format: str
    byte_size: int
    subject: str | None = None
    birth_date: date | None = None
    taken: date | None = None
    licence: str = "unknown"
    consent: str = "unknown"
    source: str = "unknown"
    given_faces: tuple[GivenFace, ...] = ()

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        given = []
        for face in row.get("given_faces") or ():
            values = asdict(face) if isinstance(face, GivenFace) else dict(face)
            given.append(GivenFace(**{**values, "landmarks": tuple(values["landmarks"])}))
        return super().from_row({**row, "given_faces": tuple(given)})


@dataclass(frozen=True, kw_only=True)
class Face(Row):
    """One face found in a photograph, ready for the index.

    face_id: `{photo_id}-{number in the photo}`. box: x0, y0, x1, y1 and landmarks: photo pixels.
    score: detector's confidence 0..1 (1 for given landmarks). crop: JPEG bytes of the FFHQ-aligned square
    of `crop_size` pixels; crop_landmarks: the five points in it. yaw > 0: the nose points to the right of
    the picture; pitch > 0: looks up; roll > 0: turned clockwise. age: years, None where unknown; age_source:
    `given`, `dates`, the network's name or `unknown`. sharpness: variance of the Laplacian of the 112 px crop.
    embedding: unit vector; norm: the raw embedding's length (the AdaFace quality proxy); embedder: weight
    file's name. perceptual_hash: 64-bit difference hash of the 112 px crop. brightness: mean of the crop, 0..255.
    light_x, light_y: where the light comes from, -1..1: (right - left) / (right + left) of the halves' median
    luminance inside the face's ellipse of the 112 px crop, and so downwards. smile: mouth width over eye distance
    (neutral .77 to .87, smiling .82 to 1.02). clipped: share of the crop's pixels that are nearly black or burnt out,
    0..1.
    """

    face_id: str
    photo_id: str
    uri: str
    number: int
    subject: str | None
    box: tuple[float, ...]
    landmarks: tuple[float, ...]
    score: float
    crop: bytes
    crop_size: int
    crop_landmarks: tuple[float, ...]
    yaw: float
    pitch: float
    roll: float
    age: float | None
    age_source: str
    sharpness: float
    brightness: float
    light_x: float
    light_y: float
    smile: float
    clipped: float
    embedding: tuple[float, ...]
    norm: float
    embedder: str
    perceptual_hash: int
    birth_date: date | None
    taken: date | None
    licence: str
    consent: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Track(Row):
    """One person's face through neighbouring frames of one film.

    track: its name. face_ids: of N faces, in order of time. frames: N numbers of frames in the film, from 0, rising; a
    frame without the face leaves a gap. landmarks: 10 N numbers, each face's five points smoothed along the track,
    photo pixels.
    """

    track: str
    face_ids: tuple[str, ...]
    frames: tuple[int, ...]
    landmarks: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Clip(Row):
    """T frames of one track at even steps. seconds: of each, from the first."""

    track: str
    face_ids: tuple[str, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Identity(Row):
    """One person: what `group` decided. split: `train`, `val` or `test`; subject: the given label if any.

    purity: estimated share of the faces that are really this person, 0..1. doubt: why a person should look at it, the
    strongest reason first; empty where nothing speaks against it. doubtful: the faces that fit worst, worst first.
    """

    identity: str
    split: str
    subject: str | None
    face_ids: tuple[str, ...]
    purity: float = 1.0
    doubt: str = ""
    doubtful: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision(Row):
    """What a person decided about faces; kept for ever, whatever `group` computes.

    number: 1, 2, ... in the order of deciding; a later decision wins over an earlier one. kind: `merge` (face_ids are
    one person), `split` (face_ids are one person, and none of `others` is that person), `reject` (face_ids are of no
    use), `label` (face_ids are the person `label`). note: free text. made: when, ISO date and time.
    """

    number: int
    kind: str
    face_ids: tuple[str, ...]
    others: tuple[str, ...] = ()
    label: str | None = None
    note: str = ""
    made: str = ""


@dataclass(frozen=True, kw_only=True)
class Pair(Row):
    """One sample's recipe: a target (of a clip its first face), its references with the reason for each, the
    degradation plan (JSON), and the plans of appearance of the target and of each reference, if there are any."""

    position: int
    identity: str
    target: str
    references: tuple[str, ...]
    reasons: tuple[str, ...]
    plan: str
    appearance: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dropped(Row):
    """A row that did not go on: stage, file, place in the file (face number or row, -1 for the whole), cause. No
    password of a URI is kept."""

    stage: str
    uri: str
    row: int
    cause: str
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("uri", "cause", "detail"):
            object.__setattr__(self, name, redacted(getattr(self, name)))


_POINTS = pa.list_(pa.float32())

GIVEN_FACE_TYPE = pa.struct([
    ("landmarks", _POINTS), ("subject", pa.string()), ("yaw", pa.float32()), ("pitch", pa.float32()),
    ("roll", pa.float32()), ("age", pa.float32()),
])

PHOTO_SCHEMA = pa.schema([
    ("photo_id", pa.string()), ("uri", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
    ("format", pa.string()), ("byte_size", pa.int64()), ("subject", pa.string()), ("birth_date", pa.date32()),
    ("taken", pa.date32()), ("licence", pa.string()), ("consent", pa.string()), ("source", pa.string()),
    ("given_faces", pa.list_(GIVEN_FACE_TYPE)),
])

FACE_SCHEMA = pa.schema([
    ("face_id", pa.string()), ("photo_id", pa.string()), ("uri", pa.string()), ("number", pa.int32()),
    ("subject", pa.string()), ("box", _POINTS), ("landmarks", _POINTS), ("score", pa.float32()),
    ("crop", pa.binary()), ("crop_size", pa.int32()), ("crop_landmarks", _POINTS), ("yaw", pa.float32()),
    ("pitch", pa.float32()), ("roll", pa.float32()), ("age", pa.float32()), ("age_source", pa.string()),
    ("sharpness", pa.float32()), ("brightness", pa.float32()), ("light_x", pa.float32()), ("light_y", pa.float32()),
    ("smile", pa.float32()), ("clipped", pa.float32()), ("embedding", pa.list_(pa.float32())), ("norm", pa.float32()),
    ("embedder", pa.string()), ("perceptual_hash", pa.uint64()),
    ("birth_date", pa.date32()), ("taken", pa.date32()), ("licence", pa.string()), ("consent", pa.string()),
    ("source", pa.string()),
])

TRACK_SCHEMA = pa.schema([
    ("track", pa.string()), ("face_ids", pa.list_(pa.string())), ("frames", pa.list_(pa.int32())),
    ("landmarks", _POINTS),
])

IDENTITY_SCHEMA = pa.schema([
    ("identity", pa.string()), ("split", pa.string()), ("subject", pa.string()),
    ("face_ids", pa.list_(pa.string())), ("purity", pa.float32()), ("doubt", pa.string()),
    ("doubtful", pa.list_(pa.string())),
])

DECISION_SCHEMA = pa.schema([
    ("number", pa.int64()), ("kind", pa.string()), ("face_ids", pa.list_(pa.string())),
    ("others", pa.list_(pa.string())), ("label", pa.string()), ("note", pa.string()), ("made", pa.string()),
])

PAIR_SCHEMA = pa.schema([
    ("position", pa.int64()), ("identity", pa.string()), ("target", pa.string()),
    ("references", pa.list_(pa.string())), ("reasons", pa.list_(pa.string())), ("plan", pa.string()),
    ("appearance", pa.list_(pa.string())),
])

DROPPED_SCHEMA = pa.schema([
    ("stage", pa.string()), ("uri", pa.string()), ("row", pa.int32()), ("cause", pa.string()),
    ("detail", pa.string()),
])
