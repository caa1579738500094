"""A folder of photographs, restored one by one; a rerun does what is left.

In: a folder (or URI) of photographs and, optionally, one of references. References in a subfolder named as a
photograph (without its suffix) belong to that photograph; those at the top belong to all others. Out:

    {out}/{photo's path}.png       the restored photograph
    {out}/{photo's path}.json      its faces, and the hash of what it was made from: the done-marker
    {out}/restored.parquet         one row per restored face: photo, face number, box, references used
    {out}/dropped/restore.parquet  photographs and references that could not be used, with causes
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from PIL import Image

from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.records import DROPPED_SCHEMA, Dropped, PhotoError, StorageError, derive, storage
from anchorface.records.kinds import PICTURES, meant
from anchorface.restoration.photo import open_references, restore_photo
from anchorface.restoration.restorer import Reference, Restorer, SamplerSettings

STAGE = "restore"
RESTORED_SCHEMA = pa.schema([
    ("photo", pa.string()), ("face", pa.int32()), ("box", pa.list_(pa.float32())), ("references", pa.int32()),
    ("enlarged", pa.float32()),
])


def restore_folder(restorer: Restorer, photos: str, out: str, *, detector: Detector, references: str | None = None,
                   faces: str = "all", seed: int = 42, settings: SamplerSettings | None = None,
                   progress: Callable[[str], None] | None = None) -> dict[str, int]:
    """Restore every photograph of a folder.

    Args:
        references: folder of reference photographs, laid out as the module says; None: there are none.
        faces: `all` or `largest`. seed: with the photograph's name it decides the noise.
        progress: takes one line of text at a time.

    Returns:
        Counts: photos, restored, done before, dropped.

    Raises:
        StorageError: a folder that does not exist or cannot be written.
    """
    say = progress or (lambda line: None)
    settings = settings or SamplerSettings()
    names, dropped = _names(photos)
    if not names:
        raise StorageError(f"{photos}: no photographs ({', '.join(PICTURES[:9])}, ...) in this folder")
    reference_names, no_references = _names(references, "reference: ") if references else ([], [])
    dropped += no_references
    storage.make_folder(out)
    rows: list[dict[str, Any]] = []
    opened: dict[tuple[str, ...], list[Reference]] = {}
    counts = {"photos": len(names), "restored": 0, "done before": 0, "dropped": len(dropped)}
    for number, name in enumerate(names, start=1):
        uri, target = storage.join(photos, name), storage.join(out, name)
        own = tuple(storage.join(str(references), n) for n in _of_photo(name, reference_names))
        try:
            made_from = _fingerprint(restorer, settings, faces, seed, (uri, *own))
            if (done := _done(target, made_from)) is not None:
                rows += done
                counts["done before"] += 1
                continue
            if own not in opened:
                opened[own] = _open(restorer, own, detector, dropped)
            photo, _ = read_photo(uri)
            result = restore_photo(restorer, photo, opened[own], detector=detector, faces=faces, uri=uri,
                                   seed=derive(seed, f"photo {name}"), settings=settings)
        except PhotoError as error:
            dropped.append(Dropped(stage=STAGE, uri=uri, row=-1, cause=error.cause, detail=error.detail))
            counts["dropped"] += 1
            say(f"[{number}/{len(names)}] {name}: dropped, {error.cause}")
            continue
        told = [{"photo": name, "face": n, "box": list(face.detection.box), "references": face.references,
                 "enlarged": face.enlarged} for n, face in enumerate(result.faces)]
        storage.write_atomic(f"{target}.png", _png(result.image))
        storage.write_atomic(f"{target}.json", json.dumps({"made_from": made_from, "faces": told}).encode())
        rows += told
        counts["restored"] += 1
        say(f"[{number}/{len(names)}] {name}: {len(told)} face(s), {len(opened[own])} reference(s)")
    storage.write_table(storage.join(out, "restored.parquet"), pa.Table.from_pylist(rows, schema=RESTORED_SCHEMA))
    storage.write_table(storage.join(out, "dropped", f"{STAGE}.parquet"),
                        pa.Table.from_pylist([row.to_row() for row in dropped], schema=DROPPED_SCHEMA))
    return counts


def _open(restorer: Restorer, uris: Sequence[str], detector: Detector, dropped: list[Dropped]) -> list[Reference]:
    """The usable references; a bad one becomes a dropped row, not the end of the photograph."""
    result = []
    for uri in uris:
        try:
            result += open_references(restorer, [uri], detector)
        except PhotoError as error:
            dropped.append(Dropped(stage=STAGE, uri=uri, row=-1, cause=f"reference: {error.cause}",
                                   detail=error.detail))
    return result


def _names(folder: str, what: str = "") -> tuple[list[str], list[Dropped]]:
    """Photographs below a folder, as paths relative to it, and rows for what is left out (records.kinds)."""
    root = storage.filesystem(folder)[1].rstrip("/")
    places = [storage.filesystem(uri)[1].removeprefix(root).lstrip("/") for uri in storage.list_files(folder)]
    names, left_out = meant(places, ("photo",))
    return names, [Dropped(stage=STAGE, uri=storage.join(folder, place).rstrip("/"), row=-1, cause=what + cause,
                           detail=detail) for place, cause, detail in left_out]


def _of_photo(name: str, reference_names: Sequence[str]) -> tuple[str, ...]:
    stem = PurePosixPath(name).stem
    own = tuple(n for n in reference_names if PurePosixPath(n).parts[0] == stem and "/" in n)
    return own or tuple(n for n in reference_names if "/" not in n)


def _done(target: str, made_from: str) -> list[dict[str, Any]] | None:
    """The faces of a photograph that stands there, made from the same things; else None."""
    if not (storage.exists(f"{target}.json") and storage.exists(f"{target}.png")):
        return None
    marker = json.loads(storage.read_bytes(f"{target}.json"))
    return marker["faces"] if marker["made_from"] == made_from else None


def _fingerprint(restorer: Restorer, settings: SamplerSettings, faces: str, seed: int, uris: Sequence[str]) -> str:
    contents = [_hash(uri) for uri in uris]
    of = {"checkpoint": restorer.checkpoint_id, "settings": asdict(settings), "faces": faces, "seed": seed,
          "files": contents}
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _hash(uri: str) -> str:
    try:
        return hashlib.sha256(storage.read_bytes(uri)).hexdigest()
    except StorageError as error:
        raise PhotoError("unreadable", uri, str(error)) from error


def _png(image: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG", compress_level=3)
    return sink.getvalue()
