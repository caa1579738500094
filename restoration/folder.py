"""A folder of photographs and films, restored one by one; a rerun does what is left.

In: a folder (or URI) of photographs and films, or one file, and, optionally, references (photographs) as
`restoration.belonging` lays them out. Out, which is never a source, whatever folder it stands in:

    {out}/{photo's path}.png       the restored photograph; what it keeps of the original: `restoration.keeping`
    {out}/{film's path}.mp4        the restored film (`restoration.film`), or .mkv where its sound asks for it
    {out}/{file's path}.json       its faces, and the hash of what it was made from: the done-marker
    {out}/restored.parquet         one row per restored face: photo (or film), face number, box, references used, its
                                   likeness to them (cosine) and how far they were believed; of a film one per track,
                                   with the seconds in which it is there
    {out}/dropped/restore.parquet  what could not be used or is not clear, with causes
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import Any, TypedDict

import pyarrow as pa

from anchorface.faces.detect import Detector
from anchorface.faces.images import read_file, read_photo
from anchorface.models.ip_fvr.blending import BlendingSettings
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
from anchorface.records.kinds import PICTURES, kind_of, meant
from anchorface.records.state import read_state
from anchorface.restoration.belonging import belonging
from anchorface.restoration.clips import blending_of
from anchorface.restoration.film import find_faces, open_film, restore_film
from anchorface.restoration.film_faces import LEAST, strangers
from anchorface.restoration.keeping import png_bytes
from anchorface.restoration.photo import open_references, restore_photo
from anchorface.restoration.restorer import Reference, Restorer
from anchorface.restoration.sampler_settings import SamplerSettings

VERSION = 3
"""Of what is written, so that a rerun makes anew what an older one made otherwise."""
STAGE = "restore"
RESTORED_SCHEMA = pa.schema([
    ("photo", pa.string()), ("face", pa.int32()), ("box", pa.list_(pa.float32())), ("references", pa.int32()),
    ("enlarged", pa.float32()), ("start", pa.float64()), ("end", pa.float64()), ("likeness", pa.float32()),
    ("trust", pa.float32()),
])
FILM_ENDINGS = {"mp4": ".mp4", "matroska": ".mkv"}
READ = ("photo", "film")
CHUNK = 2**23
EVEN = 0.5
"""Trust below which references are said to be of another person."""
PATIENCE = 30.0
"""Seconds of a film's restoration from one line to the next."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How every file of a folder is restored; see restore_folder."""

    restorer: Restorer
    detector: Detector
    faces: str
    seed: int
    settings: SamplerSettings
    blending: BlendingSettings | None
    say: Callable[[str], None]


def restore_folder(restorer: Restorer, photos: str, out: str, *, detector: Detector, references: str | None = None,
                   faces: str = "all", seed: int = 42, settings: SamplerSettings | None = None,
                   clip_length: int | None = None, overlap: int | None = None, beta: float | None = None,
                   progress: Callable[[str], None] | None = None) -> dict[str, int]:
    """Restore every photograph and film of a folder.

    Args:
        photos: a folder, or one file. out: another folder; it may stand in `photos`.
        references: folder of reference photographs, or one file for all photographs; None: there are none.
        faces: `all` or `largest`. seed: with the photograph's name it decides the noise.
        clip_length, overlap, beta: of films, as restoration.clips.blending_of.
        progress: takes one line of text at a time.

    Returns:
        Counts: `photos` (and films), which are `restored`, `done before` or `dropped`; and `left out`, files that are
        none.

    Raises:
        StorageError: a folder that does not exist or cannot be written. ConfigurationError: `out` is `photos`, or
            settings that the checkpoint does not take.
    """
    use = Use(restorer=restorer, detector=detector, faces=faces, seed=seed, settings=settings or SamplerSettings(),
              blending=blending_of(restorer.settings.system, clip_length, overlap, beta),
              say=progress or (lambda line: None))
    if storage.real_place(out) == storage.real_place(photos):
        raise ConfigurationError(f"{out}: the folder of the photographs; take another one for the restored ones")
    found = _found(photos, out, READ)
    if not found.uris:
        raise StorageError(f"{photos}: no photographs ({', '.join(PICTURES[:9])}, ...) and no films in this folder")
    shown = _found(references, out, READ[:1], "reference: ") if references else _Found()
    belongs = belonging(list(found.uris), list(shown.uris))
    dropped = [*found.rows, *shown.rows]
    dropped += [_row(found.uris[name], "references not clear", why) for name, why in belongs.doubtful.items()]
    dropped += [_row(shown.uris[name], "reference: of no photograph", why) for name, why in belongs.unused.items()]
    storage.make_folder(out)
    storage.delete_unfinished(out)
    rows: list[dict[str, Any]] = []
    opened: dict[tuple[str, ...], dict[str, Reference]] = {}
    hash_of = cache(_hash)
    counts = {"photos": len(found.uris), "restored": 0, "done before": 0, "dropped": 0, "left out": found.left_out}
    for number, (name, uri) in enumerate(found.uris.items(), start=1):
        target, place = storage.join(out, name), f"[{number}/{len(found.uris)}] {words(name, lines=False)}"
        own = tuple(shown.uris[reference] for reference in belongs.own[name])
        one = replace(use, seed=derive(seed, f"photo {name}"), say=partial(_said, use.say, place))
        is_film = kind_of(name) == "film"
        try:
            if not storage.name_fits(f"{target}.json"):
                raise PhotoError("name too long", uri, "give it a shorter one: .json is put behind it")
            content = b"" if is_film else read_file(uri)
            own_hash = _hash(uri) if is_film else hashlib.sha256(content).hexdigest()
            made_from = _fingerprint(use, is_film, [own_hash, *map(hash_of, own)])
            if (done := _done(target, made_from, is_film)) is not None:
                rows += done
                counts["done before"] += 1
                continue
            if own not in opened:
                opened[own] = _open(restorer, own, detector, dropped)
            make = _film if is_film else partial(_photo, content=content)
            told, said = make(one, uri, target, opened[own], dropped)
        except PhotoError as error:
            dropped.append(_row(uri, error.cause, error.detail))
            counts["dropped"] += 1
            one.say(f"dropped, {error.cause}")
            continue
        told = [{"photo": name, **face} for face in told]
        storage.write_atomic(f"{target}.json", json.dumps({"made_from": made_from, "faces": told}).encode())
        rows += told
        counts["restored"] += 1
        doubt = ", not clear which references are its own" if name in belongs.doubtful else ""
        one.say(f"{said}, {len(opened[own])} reference(s){doubt}")
    storage.write_table(storage.join(out, "restored.parquet"), pa.Table.from_pylist(rows, schema=RESTORED_SCHEMA))
    storage.write_table(storage.join(out, "dropped", f"{STAGE}.parquet"),
                        pa.Table.from_pylist([row.to_row() for row in dropped], schema=DROPPED_SCHEMA))
    return counts


Told = tuple[list[dict[str, Any]], str]
"""Rows of RESTORED_SCHEMA without the file's name, and a few words."""


def _photo(use: Use, uri: str, target: str, references: dict[str, Reference], dropped: list[Dropped], *,
           content: bytes) -> Told:
    """Restore a photograph."""
    photo, info = read_photo(content, uri=uri)
    result = restore_photo(use.restorer, photo, list(references.values()), detector=use.detector, faces=use.faces,
                           uri=uri, seed=use.seed, settings=use.settings)
    storage.write_atomic(f"{target}.png", png_bytes(result.image, content, uri))
    if info.more:
        dropped.append(_row(uri, info.more, "the file holds more of them; one was restored"))
    told = [{"face": number, "box": list(face.detection.box), "references": face.references, "enlarged": face.enlarged,
             "likeness": face.likeness, "trust": face.trust} for number, face in enumerate(result.faces)]
    doubted = [face for face in result.faces
               if use.settings.trust is None and face.trust is not None and face.trust < EVEN]
    dropped += [_row(uri, "references: of another person?",
                     f"cosine {face.likeness:.2f} with its face: believed by {100 * (face.trust or 0):.0f} %; "
                     "`--trust 1` uses them all the same") for face in doubted]
    return told, f"{len(told)} face(s)" + ", whose references seem to show another person" * bool(doubted)


def _film(use: Use, uri: str, target: str, references: dict[str, Reference], dropped: list[Dropped]) -> Told:
    """Restore a film."""
    shown = list(references.values())
    with open_film(uri) as film:
        found = find_faces(use.restorer, film, use.detector.detect, shown)
        use.say(f"{len(found.seconds)} frames, {len(found.tracks)} face(s) followed")
        result = restore_film(
            use.restorer, film, found, lambda container: storage.writing(target + FILM_ENDINGS[container]), shown,
            faces=use.faces, seed=use.seed, settings=use.settings, blending=use.blending,
            progress=_now_and_then(use.say))
    for container, ending in FILM_ENDINGS.items():
        if container != result.container:
            storage.delete(target + ending)
    if found.alone:
        dropped.append(_row(uri, "faces without a track", f"{found.alone} face(s) that were seen in fewer than {LEAST} "
                                                          "frames are as they were"))
    if result.silent:
        dropped.append(_row(uri, "sound not kept", result.silent))
    uris, others = list(references), strangers(found.tracks, use.restorer.raw_embeddings(shown))
    dropped += [_row(uris[place], "reference: of another person?", f"cosine {cosine:.2f} with the face in {uri}")
                for place, cosine in others.items()]
    told = [{"face": number, "box": list(track.box), "references": len(references) * track.owner,
             "enlarged": track.enlarged(use.restorer.size), "start": float(found.seconds[track.first]),
             "end": float(found.seconds[track.stop - 1]), "likeness": track.likeness,
             "trust": use.restorer.trusted(track.likeness or 0.0, use.settings) if references and track.owner else None}
            for number, track in enumerate(result.tracks)]
    said = [f"{len(told)} face(s) restored"] + ["not all of its sound"] * bool(result.silent)
    said += [f"{len(others)} reference(s) seem to show another person"] * bool(others)
    return told, ", ".join(said)


def _said(say: Callable[[str], None], place: str, line: str) -> None:
    say(f"{place}: {line}")


def _now_and_then(say: Callable[[str], None]) -> Callable[[float], None]:
    """Takes the share that is done, and says it once in PATIENCE seconds."""
    last = time.monotonic()

    def progress(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > PATIENCE:
            last = time.monotonic()
            say(f"{100 * share:.0f} %")

    return progress


def _open(restorer: Restorer, uris: Sequence[str], detector: Detector, dropped: list[Dropped]
          ) -> dict[str, Reference]:
    """The usable references by their addresses; a bad one becomes a dropped row, not the end of the photograph."""
    result = {}
    for uri in uris:
        try:
            result[uri], = open_references(restorer, [uri], detector)
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


def _found(source: str, out: str, kinds: Sequence[str], what: str = "") -> _Found:
    """The photographs (and films, by `kinds`) below a folder, or one file; `out` is no part of it."""
    uris = {storage.name_in(source, uri): uri for uri in storage.list_sources(source, out)}
    if "" in uris:
        return _Found(uris={storage.filesystem(source)[1].rpartition("/")[2]: uris[""]})
    names, left_out = meant(uris, kinds)
    rows = [_row(uris.get(place, storage.join(source, place).rstrip("/")), what + cause, detail)
            for place, cause, detail in left_out]
    return _Found(uris={name: uris[name] for name in names}, rows=rows, left_out=len(uris) - len(names))


def _row(uri: str, cause: str, detail: str) -> Dropped:
    return Dropped(stage=STAGE, uri=uri, row=-1, cause=cause, detail=detail)


class Marker(TypedDict):
    """What stands beside a restored photograph."""

    made_from: str
    faces: list[dict[str, Any]]


def _done(target: str, made_from: str, is_film: bool) -> list[dict[str, Any]] | None:
    """The faces of a photograph or film that stands there, made from the same things; else None."""
    endings = FILM_ENDINGS.values() if is_film else (".png",)
    if not (storage.exists(f"{target}.json") and any(storage.exists(target + ending) for ending in endings)):
        return None
    try:
        marker = read_state(f"{target}.json", Marker)
        faces = pa.Table.from_pylist(marker["faces"], schema=RESTORED_SCHEMA).to_pylist()
        return faces if marker["made_from"] == made_from else None
    except (DataError, pa.ArrowException, TypeError, ValueError, OverflowError):
        return None  # a damaged marker says nothing: the photograph is restored again


def _fingerprint(use: Use, is_film: bool, hashes: Sequence[str]) -> str:
    of = {"version": VERSION, "checkpoint": use.restorer.checkpoint_id, "settings": asdict(use.settings),
          "faces": use.faces, "seed": use.seed, "files": hashes}
    if is_film:
        of["clips"] = None if use.blending is None else asdict(use.blending)
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _hash(uri: str) -> str:
    """Of a file's bytes; of none where it cannot be read, for which whoever opens it writes a row."""
    digest = hashlib.sha256()
    system, path = storage.filesystem(uri)
    with suppress(OSError), system.open_input_stream(path) as file:
        while content := file.read(CHUNK):
            digest.update(content)
    return digest.hexdigest()
