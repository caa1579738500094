"""A folder of photographs, restored one by one; a rerun does what is left.

In: a folder (or URI) of photographs, or one file, and, optionally, references as `restoration.belonging` lays them out.
Out, which is never a source, whatever folder it stands in:

    {out}/{photo's path}.png       the restored photograph; what it keeps of the original: `restoration.keeping`
    {out}/{photo's path}.json      its faces, and the hash of what it was made from: the done-marker
    {out}/restored.parquet         one row per restored face: photo, face number, box, references used
    {out}/dropped/restore.parquet  what could not be used or is not clear, with causes
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, TypedDict

import pyarrow as pa

from anchorface.faces.detect import Detector
from anchorface.faces.images import read_file, read_photo
from anchorface.records import (
    DROPPED_SCHEMA,
    ConfigurationError,
    DataError,
    Dropped,
    PhotoError,
    StorageError,
    derive,
    storage,
)
from anchorface.records.console import shown as words
from anchorface.records.kinds import PICTURES, meant
from anchorface.records.state import read_state
from anchorface.restoration.belonging import belonging
from anchorface.restoration.keeping import png_bytes
from anchorface.restoration.photo import open_references, restore_photo
from anchorface.restoration.restorer import Reference, Restorer, SamplerSettings

VERSION = 2
"""Of what is written, so that a rerun makes anew what an older one made otherwise."""
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
        photos: a folder, or one file. out: another folder; it may stand in `photos`.
        references: folder of reference photographs, or one file for all photographs; None: there are none.
        faces: `all` or `largest`. seed: with the photograph's name it decides the noise.
        progress: takes one line of text at a time.

    Returns:
        Counts: `photos`, which are `restored`, `done before` or `dropped`; and `left out`, files that are none.

    Raises:
        StorageError: a folder that does not exist or cannot be written. ConfigurationError: `out` is `photos`.
    """
    say = progress or (lambda line: None)
    settings = settings or SamplerSettings()
    if storage.real_place(out) == storage.real_place(photos):
        raise ConfigurationError(f"{out}: the folder of the photographs; take another one for the restored ones")
    found = _found(photos, out)
    if not found.uris:
        raise StorageError(f"{photos}: no photographs ({', '.join(PICTURES[:9])}, ...) in this folder")
    shown = _found(references, out, "reference: ") if references else _Found()
    belongs = belonging(list(found.uris), list(shown.uris))
    dropped = [*found.rows, *shown.rows]
    dropped += [_row(found.uris[name], "references not clear", why) for name, why in belongs.doubtful.items()]
    dropped += [_row(shown.uris[name], "reference: of no photograph", why) for name, why in belongs.unused.items()]
    storage.make_folder(out)
    rows: list[dict[str, Any]] = []
    opened: dict[tuple[str, ...], list[Reference]] = {}
    hash_of = cache(lambda uri: hashlib.sha256(_readable(uri)).hexdigest())
    counts = {"photos": len(found.uris), "restored": 0, "done before": 0, "dropped": 0, "left out": found.left_out}
    for number, (name, uri) in enumerate(found.uris.items(), start=1):
        target, place = storage.join(out, name), f"[{number}/{len(found.uris)}] {words(name, lines=False)}"
        own = tuple(shown.uris[reference] for reference in belongs.own[name])
        try:
            if not storage.name_fits(f"{target}.json"):
                raise PhotoError("name too long", uri, "give it a shorter one: .json is put behind it")
            content = read_file(uri)
            hashes = [hashlib.sha256(content).hexdigest(), *map(hash_of, own)]
            made_from = _fingerprint(restorer, settings, faces, seed, hashes)
            if (done := _done(target, made_from)) is not None:
                rows += done
                counts["done before"] += 1
                continue
            if own not in opened:
                opened[own] = _open(restorer, own, detector, dropped)
            photo, info = read_photo(content, uri=uri)
            result = restore_photo(restorer, photo, opened[own], detector=detector, faces=faces, uri=uri,
                                   seed=derive(seed, f"photo {name}"), settings=settings)
            restored = png_bytes(result.image, content, uri)
        except PhotoError as error:
            dropped.append(_row(uri, error.cause, error.detail))
            counts["dropped"] += 1
            say(f"{place}: dropped, {error.cause}")
            continue
        if info.more:
            dropped.append(_row(uri, info.more, "the file holds more of them; one was restored"))
        told = [{"photo": name, "face": n, "box": list(face.detection.box), "references": face.references,
                 "enlarged": face.enlarged} for n, face in enumerate(result.faces)]
        storage.write_atomic(f"{target}.png", restored)
        storage.write_atomic(f"{target}.json", json.dumps({"made_from": made_from, "faces": told}).encode())
        rows += told
        counts["restored"] += 1
        doubt = ", not clear which references are its own" if name in belongs.doubtful else ""
        say(f"{place}: {len(told)} face(s), {len(opened[own])} reference(s){doubt}")
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
            dropped.append(_row(uri, f"reference: {error.cause}", error.detail))
    return result


@dataclass(kw_only=True)
class _Found:
    """What stands in a folder. uris: of its photographs, by their path in it. rows: for what is left out, left_out:
    how many files that is.
    """

    uris: dict[str, str] = field(default_factory=dict)
    rows: list[Dropped] = field(default_factory=list)
    left_out: int = 0


def _found(source: str, out: str, what: str = "") -> _Found:
    """The photographs below a folder, or one file; `out` is no part of it."""
    root = storage.filesystem(source)[1].rstrip("/")
    uris = {storage.filesystem(uri)[1].removeprefix(root).lstrip("/"): uri
            for uri in storage.list_sources(source, out)}
    if "" in uris:
        return _Found(uris={root.rpartition("/")[2]: uris[""]})
    names, left_out = meant(uris, ("photo",))
    rows = [_row(uris.get(place, storage.join(source, place).rstrip("/")), what + cause, detail)
            for place, cause, detail in left_out]
    return _Found(uris={name: uris[name] for name in names}, rows=rows, left_out=len(uris) - len(names))


def _row(uri: str, cause: str, detail: str) -> Dropped:
    return Dropped(stage=STAGE, uri=uri, row=-1, cause=cause, detail=detail)


class Marker(TypedDict):
    """What stands beside a restored photograph."""

    made_from: str
    faces: list[dict[str, Any]]


def _done(target: str, made_from: str) -> list[dict[str, Any]] | None:
    """The faces of a photograph that stands there, made from the same things; else None."""
    if not (storage.exists(f"{target}.json") and storage.exists(f"{target}.png")):
        return None
    try:
        marker = read_state(f"{target}.json", Marker)
        faces = pa.Table.from_pylist(marker["faces"], schema=RESTORED_SCHEMA).to_pylist()
        return faces if marker["made_from"] == made_from else None
    except (DataError, pa.ArrowException, TypeError, ValueError, OverflowError):
        return None  # a damaged marker says nothing: the photograph is restored again


def _fingerprint(restorer: Restorer, settings: SamplerSettings, faces: str, seed: int, hashes: Sequence[str]) -> str:
    of = {"version": VERSION, "checkpoint": restorer.checkpoint_id, "settings": asdict(settings), "faces": faces,
          "seed": seed, "files": hashes}
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _readable(uri: str) -> bytes:
    """A reference's bytes; none where it cannot be read, for which `_open` writes a row."""
    try:
        return read_file(uri)
    except PhotoError:
        return b""
