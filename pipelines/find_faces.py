"""Faces out of photographs: found, aligned, embedded and described in one pass over the pixels.

In, from the workspace: `photos/part-*.parquet`. Out: `faces/part-*.parquet` (records.FACE_SCHEMA: a square JPEG crop,
landmarks, pose, age, quality, embedding and norm), `dropped/find_faces/` (photographs without a face, faces that a
filter of pipelines.faces.face_filters refuses, erased people). A Ray worker holds the networks, decodes each photograph
once, and works on batches; only names and tables travel between workers. A face's row is the same bytes whatever
photographs stand beside its own: on the CPU ONNX networks do not mix a batch's rows, and torch gets blocks of one size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from anchorface.faces import align, attributes, embed
from anchorface.faces.detect import Detector, default_detector, own_threshold
from anchorface.faces.images import encode_jpeg
from anchorface.faces.pose import pose_from_landmarks
from anchorface.faces.weights import find, weight
from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.erase import writes
from anchorface.pipelines.faces.face_filters import FaceFilters, Measured
from anchorface.pipelines.faces.face_places import FacePlace, detected_places, given_places
from anchorface.pipelines.sources.reader import PhotoReader
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.records.errors import ConfigurationError, DataError, PhotoError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.records.nouns import FACE_SCHEMA, Dropped, Photo
from anchorface.records.storage import join, read_table

VERSION = 6
SMALLEST_CROP = 112
POSE = ("yaw", "pitch", "roll")
CHUNK_PHOTOS = 16
CHUNK_PIXELS = 40_000_000


@dataclass(frozen=True, kw_only=True)
class FaceSettings:
    """What decides how a face comes out.

    detector: a weight's name; `given` for the sidecars' landmarks alone; None for those where a photograph has
    them, and the default detector for the others. crop_size: pixels, at most: a smaller face keeps its own. threshold:
    smallest detector score, None for the detector's own. filters: which faces are dropped. age_network: a weight's name
    for ages that neither sidecar nor dates give, None to leave them unknown. quality: of the JPEG crops.
    """

    embedder: str = "default"
    detector: str | None = None
    crop_size: int = 512
    threshold: float | None = None
    filters: FaceFilters = field(default_factory=FaceFilters)
    age_network: str | None = None
    quality: int = 95


@writes("find_faces")
def find_faces(
    out: str, *, embedder: str = "default", detector: str | None = None, crop_size: int = 512,
    settings: FaceSettings | None = None, progress: Progress | None = None, concurrency: int | None = None,
    num_gpus: float = 0.0,
) -> Counts:
    """Find, align and describe all faces of the workspace's photographs.

    Args:
        out: a workspace that `ingest` filled.
        embedder, detector, crop_size: see FaceSettings.
        settings: all of them at once; the three above are then ignored.
        progress: where to report.
        concurrency: Ray workers, each with its own networks; 0 works in this process, without Ray.
        num_gpus: GPUs (or a share of one) for each worker. Torch networks then run there, and ONNX networks where
            onnxruntime is its GPU build. Last bits of embeddings differ from the CPU's, so it counts as a setting.

    Returns:
        `faces`, `photos` (those with a face), `dropped`.

    Raises:
        WeightsError: a network that is not there, or no detector for photographs without given landmarks.
        DataError: `ingest` has not finished here.
        ConfigurationError: crops too small for a network, or a GPU asked of a torch that has none.
    """
    chosen = settings or FaceSettings(embedder=embedder, detector=detector, crop_size=crop_size)
    if chosen.crop_size < SMALLEST_CROP:
        raise ConfigurationError(f"crop_size {chosen.crop_size}: at least {SMALLEST_CROP} px are needed")
    if num_gpus and concurrency == 0 and not torch.cuda.is_available():
        raise ConfigurationError(f"num_gpus {num_gpus}: torch sees no GPU in this process")
    parts, given, count = [], 0, 0
    for path, digest in stage.outputs(out, "duplicates", "photos").items():
        rows = read_table(join(out, path), ("given_faces",)).column("given_faces").to_pylist()
        given += sum(any(face["landmarks"] for face in faces or ()) for faces in rows)
        count += len(rows)
        name = path.rpartition("/")[2].removesuffix(".parquet")
        parts.append(Part(name=name, rows=len(rows), inputs=digest, payload=stage.payload({"path": path})))
    detector_name = _resolve_detector(chosen, given, count)
    threshold = own_threshold(detector_name) if chosen.threshold is None else chosen.threshold
    networks = {} if detector_name is None else {"detector": weight(detector_name, "detector").name}
    default = embed.DEFAULT if chosen.embedder == "default" else chosen.embedder
    networks["embedder"] = weight(default, "embedder").name
    if chosen.age_network is not None:
        networks["age"] = chosen.age_network
    hashes = {name: sha256(find(name)) for name in networks.values()}
    device = "cuda" if num_gpus else "cpu"
    described = {
        "version": VERSION, "networks": networks, "weights": hashes, "given": chosen.detector in (None, "given"),
        "crop_size": chosen.crop_size, "threshold": threshold, "filters": asdict(chosen.filters),
        "quality": chosen.quality, "device": device, "erased": Tombstones.open(out).digest,
    }
    return stage.run(
        out, "find_faces", parts, partial(FaceFinder, out, chosen, detector_name, device), settings=described,
        progress=progress, concurrency=concurrency, num_gpus=num_gpus,
    )


def _resolve_detector(settings: FaceSettings, given: int, photos: int) -> str | None:
    """The detector to load, None if none is needed or, beside given landmarks, none is there."""
    if settings.detector == "given" or (settings.detector is None and given == photos):
        return None
    if settings.detector not in (None, "default"):
        return settings.detector
    try:
        return weight(default_detector(), "detector").name
    except WeightsError as error:
        if given:
            return None
        raise WeightsError(
            f"the photographs have no landmarks in a sidecar, so a face detector is needed. {error}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A face that passed the filters, on its way to the embedder. small: its 112 px crop; the rest is its row."""

    photo: Photo
    place: FacePlace
    small: NDArray[np.uint8]
    row: dict[str, Any]


class FaceFinder:
    """Holds the networks of one Ray worker and does one part after the other.

    Photographs are decoded once, in the order of their table, and detected in chunks that fit the memory. Of each face
    only the crops are kept; all of a part's are embedded together.
    """

    def __init__(self, out: str, settings: FaceSettings, detector: str | None, device: str) -> None:
        cv2.setNumThreads(1)
        self._out, self._settings = out, settings
        self._embedder = embed.embedder(settings.embedder, device=device)
        self._detector = Detector(detector, settings.threshold) if detector is not None else None
        self._ages = attributes.AgeNetwork(settings.age_network) if settings.age_network is not None else None
        self._reader, self._tombstones = PhotoReader(), Tombstones.open(out)

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        photos = [Photo.from_row(row) for row in read_table(join(self._out, payload["path"])).to_pylist()]
        kept: list[_Kept] = []
        dropped: list[Dropped] = []
        for chunk in _chunks(photos):
            for photo, pixels, places in self._places(chunk, dropped):
                kept += self._cut(photo, pixels, places, dropped)
        self._reader.close()
        rows = self._embedded(kept, dropped)
        table = pa.Table.from_pylist(rows, schema=FACE_SCHEMA)
        outputs = {f"faces/{name}.parquet": stage.parquet_bytes(table)}
        counts = {"faces": len(rows), "photos": len({row["photo_id"] for row in rows}), "dropped": len(dropped)}
        return outputs | stage.dropped_output("find_faces", name, dropped), counts

    def _places(
        self, photos: Sequence[Photo], dropped: list[Dropped]
    ) -> Iterator[tuple[Photo, NDArray[np.uint8], list[FacePlace]]]:
        """The photographs with a face, each with its faces: given ones where the settings allow, else detected ones."""
        opened: list[tuple[Photo, NDArray[np.uint8]]] = []
        for photo in photos:
            if (refusal := self._settings.filters.thumbnail(photo.width, photo.height)) is not None:
                dropped.append(_row(photo, -1, *refusal))
                continue
            try:
                pixels, info = self._reader.read(photo.uri)
                if not info.sha256.startswith(photo.photo_id):
                    raise PhotoError("changed since ingest", photo.uri, "run ingest again")
                opened.append((photo, pixels))
            except PhotoError as error:
                dropped.append(_row(photo, -1, error.cause, error.detail))
        may_use_given = self._settings.detector in (None, "given")
        places = [given_places(photo) if may_use_given else [] for photo, _ in opened]
        if self._detector is not None:
            ask = [number for number, faces in enumerate(places) if not faces]
            answers = self._detector.detect([opened[number][1] for number in ask])
            for number, found in zip(ask, answers, strict=True):
                places[number] = detected_places(opened[number][0], found)
        for (photo, pixels), faces in zip(opened, places, strict=True):
            if faces:
                yield photo, pixels, faces
            else:
                said = "" if self._detector is not None else "no detector was used, and its sidecar names no landmarks"
                dropped.append(_row(photo, -1, "no face found", said))

    def _cut(
        self, photo: Photo, pixels: NDArray[np.uint8], places: Sequence[FacePlace], dropped: list[Dropped]
    ) -> Iterator[_Kept]:
        """Cut, measure and filter the faces of one photograph."""
        filters = self._settings.filters
        squares: list[tuple[FacePlace, NDArray[np.float64], float]] = []
        for place in places:
            try:
                unit, to_small = align.ffhq_matrix(place.landmarks, 1), align.arcface_matrix(place.landmarks, 112)
                squares.append((place, to_small, 1.0 / float(np.sqrt(abs(np.linalg.det(unit[:, :2]))))))
            except DataError as error:
                dropped.append(_row(photo, place.number, "bad landmarks", str(error)))
        largest = max((side for *_, side in squares), default=0.0)
        for place, to_small, side in squares:
            outside = 5 - int(_inside(place.landmarks, pixels).sum())
            refusal = filters.too_small(side)
            if refusal is None and outside > 2:
                refusal = "bad landmarks", f"{outside} of 5 points lie outside the photo"
            if refusal is None:
                small = align.warp(pixels, to_small, 112)
                seen = _seen(photo, place, small)
                refusal = filters.refuse(Measured(side=side, largest=largest, score=place.score, **{
                    name: seen[name] for name in ("yaw", "pitch", "sharpness", "brightness", "clipped")
                }))
            if refusal is not None:
                dropped.append(_row(photo, place.number, *refusal))
                continue
            # A face with fewer pixels than asked for keeps its own: more would be slower and larger, not sharper.
            size = max(SMALLEST_CROP, min(self._settings.crop_size, int(np.ceil(side))))
            matrix = align.ffhq_matrix(place.landmarks, size)
            crop = encode_jpeg(align.warp(pixels, matrix, size), self._settings.quality)
            points = align.apply_matrix(matrix, place.landmarks).ravel().tolist()
            row = seen | {"crop": crop, "crop_size": size, "crop_landmarks": points}
            yield _Kept(photo=photo, place=place, small=small, row=row)

    def _embedded(self, kept: Sequence[_Kept], dropped: list[Dropped]) -> list[dict[str, Any]]:
        """The rows of a part's faces, without those of erased people."""
        if not kept:
            return []
        small = np.stack([face.small for face in kept])
        units, norms = self._embedder.embed(small)
        ages = self._ages.ages(small).tolist() if self._ages is not None else [None] * len(kept)
        looks = [face.row["perceptual_hash"] for face in kept]
        erased = self._tombstones.has_person(units, self._embedder.name) | self._tombstones.has_picture(
            units, looks, self._embedder.name)
        rows = []
        for face, unit, norm, age, gone in zip(kept, units, norms.tolist(), ages, erased.tolist(), strict=True):
            if gone or self._tombstones.has_face(f"{face.photo.photo_id}-{face.place.number}"):
                said = "this person, or this picture, was erased here, and is kept out"
                dropped.append(_row(face.photo, face.place.number, "erased", said))
                continue
            made = {"embedding": unit, "norm": norm, "embedder": self._embedder.name}
            rows.append(face.row | _known(face.photo, face.place, age, self._settings.age_network) | made)
        return rows


def _seen(photo: Photo, place: FacePlace, small: NDArray[np.uint8]) -> dict[str, Any]:
    """What is seen in a face; a pose that a sidecar gives wins."""
    pose = dict(zip(POSE, pose_from_landmarks(place.landmarks, photo.width, photo.height), strict=True))
    pose |= {angle: getattr(place.says, angle) for angle in POSE if getattr(place.says, angle, None) is not None}
    light_x, light_y = attributes.light(small)
    return {
        "box": [float(v) for v in place.box], "landmarks": place.landmarks.ravel().tolist(), "score": place.score,
        **pose, "sharpness": attributes.sharpness(small), "brightness": attributes.brightness(small),
        "light_x": light_x, "light_y": light_y, "smile": attributes.smile(place.landmarks),
        "clipped": attributes.clipped(small), "perceptual_hash": attributes.perceptual_hash(small),
    }


def _known(photo: Photo, place: FacePlace, network_age: float | None, age_network: str | None) -> dict[str, Any]:
    """What is known of a face beside its pixels: names, age, dates, licence."""
    says = place.says
    subject = says.subject if says is not None and says.subject is not None else None
    if subject is None and place.is_subject:
        subject = photo.subject
    birth_date = photo.birth_date if place.is_subject or (subject is not None and subject == photo.subject) else None
    age, source = says.age if says is not None else None, "given"
    if age is None:
        age, source = attributes.age_from_dates(birth_date, photo.taken), "dates"
    if age is None and network_age is not None:
        age, source = network_age, str(age_network)
    return {
        "face_id": f"{photo.photo_id}-{place.number}", "photo_id": photo.photo_id, "uri": photo.uri,
        "number": place.number, "subject": subject, "age": age, "age_source": "unknown" if age is None else source,
        "birth_date": birth_date, "taken": photo.taken, "licence": photo.licence, "consent": photo.consent,
        "source": photo.source,
    }


def _inside(landmarks: NDArray[np.float64], pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((landmarks >= -0.5).all(axis=1) & (landmarks < np.array(pixels.shape[1::-1])).all(axis=1))


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


def _row(photo: Photo, number: int, cause: str, detail: str) -> Dropped:
    return Dropped(stage="find_faces", uri=photo.uri, row=number, cause=cause, detail=detail)
