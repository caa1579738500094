"""Faces out of photographs: found, aligned, embedded and described in one pass over the pixels.

In, from the workspace: `photos/part-*.parquet`. Out: `faces/part-*.parquet` (records.FACE_SCHEMA: a square JPEG crop,
landmarks, pose, age, quality, embedding and norm), `dropped/find_faces/`. A Ray worker holds the networks, decodes each
photograph once, and works on a few at a time; only names and tables travel between workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces import align, attributes, embed
from faces.detect import Detector
from faces.images import encode_jpeg, read_photo
from faces.pose import pose_from_landmarks
from faces.weights import find, sha256, weight
from pipelines import stage
from pipelines.ingest import photo_parts
from pipelines.progress import Progress
from pipelines.stage import Counts, Outputs, Part
from records.errors import ConfigurationError, DataError, PhotoError, WeightsError
from records.nouns import FACE_SCHEMA, Dropped, Face, GivenFace, Photo
from records.storage import join, read_table

VERSION = 2
DETECTOR = "scrfd_2.5g_kps"
POSE = ("yaw", "pitch", "roll")
CHUNK_PHOTOS = 16
CHUNK_PIXELS = 40_000_000


@dataclass(frozen=True, kw_only=True)
class FaceSettings:
    """What decides how a face comes out.

    detector: a weight's name; `given` for the sidecars' landmarks alone; None for those where a photograph has
    them, and the default detector for the others. crop_size: pixels. threshold: smallest detector score.
    smallest_crop: faces whose FFHQ square has fewer photo pixels a side are dropped. age_network: a weight's name
    for ages that neither sidecar nor dates give, None to leave them unknown. quality: of the JPEG crops.
    """

    embedder: str = "default"
    detector: str | None = None
    crop_size: int = 512
    threshold: float = 0.5
    smallest_crop: float = 40.0
    age_network: str | None = None
    quality: int = 95


def find_faces(
    out: str, *, embedder: str = "default", detector: str | None = None, crop_size: int = 512,
    settings: FaceSettings | None = None, progress: Progress | None = None, concurrency: int | None = None,
) -> Counts:
    """Find, align and describe all faces of the workspace's photographs.

    Args:
        out: a workspace that `ingest` filled.
        embedder, detector, crop_size: see FaceSettings.
        settings: all of them at once; the three above are then ignored.
        progress: where to report.
        concurrency: Ray workers, each with its own networks; 0 works in this process, without Ray.

    Returns:
        `faces`, `photos` (those with a face), `dropped`.

    Raises:
        WeightsError: a network that is not there, or no detector for photographs without given landmarks.
        DataError: `ingest` has not finished here.
    """
    chosen = settings or FaceSettings(embedder=embedder, detector=detector, crop_size=crop_size)
    if chosen.crop_size < 112:
        raise ConfigurationError(f"crop_size {chosen.crop_size}: at least 112 px are needed")
    parts, given, count = [], 0, 0
    for path, digest in photo_parts(out).items():
        rows = read_table(join(out, path), ("given_faces",)).column("given_faces").to_pylist()
        given += sum(any(face["landmarks"] for face in faces or ()) for faces in rows)
        count += len(rows)
        name = path.rpartition("/")[2].removesuffix(".parquet")
        parts.append(Part(name=name, rows=len(rows), inputs=digest, payload=stage.payload({"path": path})))
    detector_name = _resolve_detector(chosen, given, count)
    networks = {} if detector_name is None else {"detector": weight(detector_name, "detector").name}
    default = embed.DEFAULT if chosen.embedder == "default" else chosen.embedder
    networks["embedder"] = weight(default, "embedder").name
    if chosen.age_network is not None:
        networks["age"] = chosen.age_network
    hashes = {name: sha256(find(name)) for name in networks.values()}
    described = {
        "version": VERSION, "networks": networks, "weights": hashes, "given": chosen.detector in (None, "given"),
        "crop_size": chosen.crop_size, "threshold": chosen.threshold, "smallest_crop": chosen.smallest_crop,
        "quality": chosen.quality,
    }
    return stage.run(
        out, "find_faces", "faces", parts, partial(FaceFinder, out, chosen, detector_name), settings=described,
        progress=progress, concurrency=concurrency,
    )


def _resolve_detector(settings: FaceSettings, given: int, photos: int) -> str | None:
    """The detector to load, None if none is needed or, beside given landmarks, none is there."""
    if settings.detector == "given" or (settings.detector is None and given == photos):
        return None
    if settings.detector is not None:
        return settings.detector
    try:
        find(DETECTOR, "detector")
    except WeightsError as error:
        if given:
            return None
        raise WeightsError(
            f"the photographs have no landmarks in a sidecar, so a face detector is needed. {error}"
        ) from error
    return DETECTOR


@dataclass(kw_only=True)
class _Found:
    """One face on its way: where it is, and what the sidecar says of it."""

    photo: Photo
    number: int
    landmarks: NDArray[np.float64]
    score: float
    box: tuple[float, ...]
    says: GivenFace | None
    is_subject: bool
    crop: NDArray[np.uint8] = field(init=False)
    crop_landmarks: NDArray[np.float64] = field(init=False)
    small: NDArray[np.uint8] = field(init=False)


class FaceFinder:
    """Holds the networks of one Ray worker and does one part after the other."""

    def __init__(self, out: str, settings: FaceSettings, detector: str | None) -> None:
        cv2.setNumThreads(1)
        self._out, self._settings = out, settings
        self._embedder = embed.embedder(settings.embedder)
        self._detector = Detector(detector, settings.threshold) if detector is not None else None
        self._ages = attributes.AgeNetwork(settings.age_network) if settings.age_network is not None else None

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        rows = read_table(join(self._out, payload["path"])).to_pylist()
        faces: list[Face] = []
        dropped: list[Dropped] = []
        for chunk in _chunks([Photo.from_row(row) for row in rows]):
            faces += self._chunk(chunk, dropped)
        table = pa.Table.from_pylist([face.to_row() for face in faces], schema=FACE_SCHEMA)
        outputs = {f"faces/{name}.parquet": stage.parquet_bytes(table)}
        counts = {"faces": len(faces), "photos": len({f.photo_id for f in faces}), "dropped": len(dropped)}
        return outputs | stage.dropped_output("find_faces", name, dropped), counts

    def _chunk(self, photos: Sequence[Photo], dropped: list[Dropped]) -> list[Face]:
        opened: list[tuple[Photo, NDArray[np.uint8]]] = []
        for photo in photos:
            try:
                pixels, info = read_photo(photo.uri)
                if not info.sha256.startswith(photo.photo_id):
                    raise PhotoError("changed since ingest", photo.uri, "run ingest again")
                opened.append((photo, pixels))
            except PhotoError as error:
                dropped.append(_row(photo, -1, error.cause, error.detail))
        found = self._find(opened)
        kept: list[_Found] = []
        for (photo, pixels), faces in zip(opened, found, strict=True):
            if not faces:
                said = "" if self._detector is not None else "no detector was used, and its sidecar names no landmarks"
                dropped.append(_row(photo, -1, "no face found", said))
            for face in faces:
                problem = self._cut(face, pixels)
                if problem:
                    dropped.append(_row(photo, face.number, *problem))
                else:
                    kept.append(face)
        if not kept:
            return []
        small = np.stack([face.small for face in kept])
        units, norms = self._embedder.embed(small)
        ages = self._ages.ages(small).tolist() if self._ages is not None else [None] * len(kept)
        rows = zip(kept, units, norms.tolist(), ages, strict=True)
        return [self._describe(face, unit, norm, age) for face, unit, norm, age in rows]

    def _find(self, opened: Sequence[tuple[Photo, NDArray[np.uint8]]]) -> list[list[_Found]]:
        """The faces of each photograph: given ones where the settings allow, detected ones elsewhere."""
        may_use_given = self._settings.detector in (None, "given")
        given = [[g for g in photo.given_faces if g.landmarks] if may_use_given else [] for photo, _ in opened]
        ask = [n for n, faces in enumerate(given) if not faces] if self._detector is not None else []
        answers = self._detector.detect([opened[n][1] for n in ask]) if self._detector is not None and ask else []
        detected = dict(zip(ask, answers, strict=True))
        result = []
        for n, (photo, _) in enumerate(opened):
            places: list[tuple[NDArray[np.float64], float, tuple[float, ...] | None, GivenFace | None]]
            if given[n]:
                places = [(np.reshape(g.landmarks, (5, 2)).astype(np.float64), 1.0, None, g) for g in given[n]]
            else:
                places = [
                    (d.landmarks, d.score, d.box, _statement(photo, d.landmarks))
                    for d in sorted(detected.get(n, []), key=lambda d: -_area(d.box))
                ]
            subject = _subject_number(photo, [says for *_, says in places])
            unplaced = [g for g in photo.given_faces if not g.landmarks]
            result.append([
                _Found(
                    photo=photo, number=number, landmarks=landmarks, score=score, box=box or _box(landmarks),
                    is_subject=number == subject,
                    says=says or (unplaced[0] if number == subject and len(unplaced) == 1 else None),
                )
                for number, (landmarks, score, box, says) in enumerate(places)
            ])
        return result

    def _cut(self, face: _Found, pixels: NDArray[np.uint8]) -> tuple[str, str] | None:
        """Cut both crops; the cause and detail if the face is of no use."""
        size = self._settings.crop_size
        try:
            matrix = align.ffhq_matrix(face.landmarks, size)
            small = align.arcface_matrix(face.landmarks, 112)
        except DataError as error:
            return "bad landmarks", str(error)
        side = size / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        if side < self._settings.smallest_crop:
            least = self._settings.smallest_crop
            return "face too small", f"its square has {side:.0f} px a side in the photo; at least {least:g} are needed"
        inside = (face.landmarks >= -0.5).all(axis=1) & (face.landmarks < np.array(pixels.shape[1::-1])).all(axis=1)
        if inside.sum() < 3:
            return "bad landmarks", f"{5 - int(inside.sum())} of 5 points lie outside the photo"
        face.crop, face.crop_landmarks = align.warp(pixels, matrix, size), align.apply_matrix(matrix, face.landmarks)
        face.small = align.warp(pixels, small, 112)
        return None

    def _describe(self, face: _Found, unit: NDArray[np.float32], norm: float, network_age: float | None) -> Face:
        photo, says = face.photo, face.says
        pose = dict(zip(POSE, pose_from_landmarks(face.landmarks, photo.width, photo.height), strict=True))
        pose |= {angle: getattr(says, angle) for angle in POSE if getattr(says, angle, None) is not None}
        subject = says.subject if says is not None and says.subject is not None else None
        if subject is None and face.is_subject:
            subject = photo.subject
        birth_date = photo.birth_date if face.is_subject or (subject is not None and subject == photo.subject) else None
        age, source = says.age if says is not None else None, "given"
        if age is None:
            age, source = attributes.age_from_dates(birth_date, photo.taken), "dates"
        if age is None and network_age is not None:
            age, source = network_age, str(self._settings.age_network)
        light_x, light_y = attributes.light(face.small)
        return Face(
            face_id=f"{photo.photo_id}-{face.number}", photo_id=photo.photo_id, uri=photo.uri, number=face.number,
            subject=subject, box=tuple(float(v) for v in face.box),
            landmarks=tuple(face.landmarks.ravel().tolist()), score=face.score,
            crop=encode_jpeg(face.crop, self._settings.quality), crop_size=self._settings.crop_size,
            crop_landmarks=tuple(face.crop_landmarks.ravel().tolist()),
            **pose, age=age, age_source="unknown" if age is None else source,
            sharpness=attributes.sharpness(face.small), brightness=attributes.brightness(face.small),
            light_x=light_x, light_y=light_y, smile=attributes.smile(face.landmarks),
            clipped=attributes.clipped(face.small),
            embedding=tuple(unit.tolist()), norm=norm, embedder=self._embedder.name,
            perceptual_hash=attributes.perceptual_hash(face.small), birth_date=birth_date, taken=photo.taken,
            licence=photo.licence, consent=photo.consent, source=photo.source,
        )


def _chunks(photos: Sequence[Photo]) -> Iterator[list[Photo]]:
    """A few photographs at a time, so many as fit the memory."""
    chunk: list[Photo] = []
    pixels = 0
    for photo in photos:
        size = photo.width * photo.height
        if chunk and (len(chunk) == CHUNK_PHOTOS or pixels + size > CHUNK_PIXELS):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(photo)
        pixels += size
    if chunk:
        yield chunk


def _statement(photo: Photo, landmarks: NDArray[np.float64]) -> GivenFace | None:
    """What a sidecar says of a detected face: the given face whose points lie nearest, within half an eye distance."""
    best, nearest = None, 0.5 * float(np.linalg.norm(landmarks[1] - landmarks[0]))
    for given in photo.given_faces:
        if given.landmarks:
            apart = float(np.linalg.norm(np.reshape(given.landmarks, (5, 2)) - landmarks, axis=1).mean())
            if apart < nearest:
                best, nearest = given, apart
    return best


def _subject_number(photo: Photo, says: Sequence[GivenFace | None]) -> int | None:
    """Which face the photograph's own label means: the only one that a sidecar places, else the largest detected."""
    placed = [given for given in photo.given_faces if given.landmarks]
    if len(placed) > 1:
        return None
    return next((number for number, given in enumerate(says) if given is not None), 0)


def _row(photo: Photo, number: int, cause: str, detail: str) -> Dropped:
    return Dropped(stage="find_faces", uri=photo.uri, row=number, cause=cause, detail=detail)


def _box(landmarks: NDArray[np.float64]) -> tuple[float, ...]:
    """A box around given landmarks, with the usual margins of a detector's box (our choice)."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    width, height = np.maximum(high - low, 1.0)
    return (low[0] - 0.5 * width, low[1] - 0.9 * height, high[0] + 0.5 * width, high[1] + 0.5 * height)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
