"""Degrading files and folders of pictures and films. An output folder:

    plans.jsonl          a line for each result: file, version, digest, explanation, plan
    photos/a.jpg-0.png   version 0 of photos/a.jpg, without further loss; of a film a.mp4, a.mp4-0.mp4
    dropped.jsonl        a line for each file that could not be used: file, cause, detail
    settings.json        what decided the plans; a run with other settings into this folder is refused
    sheet.jpg            the first pictures, the clean one beside its versions, with the explanation under each

The plan of version j of a file is drawn from rng(seed, "degrade FILE", j): it depends on no other file. Running it
again does what is left.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from anchorface.degradation.appearance import Appearance
from anchorface.degradation.clip import apply_clip, clip_profile, draw_clip
from anchorface.degradation.clip_plan import ClipPlan
from anchorface.degradation.film import film_bytes, rate_of, read_film
from anchorface.degradation.operations.resize import resize
from anchorface.degradation.plan import Plan
from anchorface.degradation.plan_lines import Key, Lines, Plans, digest_of, line_of, read_lines, write_lines
from anchorface.degradation.profiles import MINIMUM_SIZE, draw, profile
from anchorface.degradation.replay import apply
from anchorface.degradation.sheet import Cell, sheet
from anchorface.records import storage
from anchorface.records.errors import ConfigurationError, DataError, PhotoError
from anchorface.records.kinds import kind_of, meant
from anchorface.records.seeds import rng

Read = Callable[[str], np.ndarray]
"""Reads a picture as uint8 [H, W, 3], RGB; raises PhotoError."""

SAVE_EVERY, SHEET_CELLS = 50, 48


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the plans.

    profile, clip_profile: of pictures and of films. seed: other seeds, other plans. size: side to which everything is
    cut and resized first, px; 0 leaves it as it is, and a plan is drawn for its shorter side. overrides: ranges to use
    instead of the picture profile's own, (key, numbers). appearance: a pipeline's text (degradation.appearance), drawn
    before the profile, the same for all frames of a film; empty for none. plans: digest of plans given instead, empty
    if none are.
    """

    profile: str = "gfpgan"
    clip_profile: str = "video_call_clip"
    seed: int = 0
    size: int = 0
    overrides: tuple[tuple[str, Any], ...] = ()
    appearance: str = ""
    plans: str = ""

    def __post_init__(self) -> None:
        profile(self.profile).with_ranges(dict(self.overrides))
        clip_profile(self.clip_profile)
        if self.size and self.size < MINIMUM_SIZE:
            raise ConfigurationError(f"size {self.size}: 0 for none, or at least {MINIMUM_SIZE} px")

    def plan(self, key: Key, clean: np.ndarray, rate: float) -> Plan | ClipPlan:
        """The plan of a version of a file; clean: the picture [H, W, 3] or film [T, H, W, 3]."""
        numbers, side = rng(self.seed, f"degrade {key[0]}", key[1]), min(clean.shape[-3:-1])
        drawn = (draw(self.profile, numbers, side, dict(self.overrides)) if clean.ndim == 3 else
                 draw_clip(self.clip_profile, numbers, len(clean), side, rate=rate))
        if not self.appearance:
            return drawn
        return Appearance(self.appearance).before(drawn, rng(self.seed, f"appearance {key[0]}", key[1]),
                                                  *clean.shape[-3:-1])


def degrade_files(sources: Sequence[str], out: str, *, read: Read, settings: Settings, count: int = 1,
                  plans: Plans | None = None, plans_out: str = "", progress: Callable[[str], None] = print,
                  ) -> dict[str, int]:
    """Degrade the pictures and films of files and folders.

    Args:
        sources: files, or folders with all that is in them. out: the output folder. read: reads a picture.
        settings: what decides the plans. count: versions of each file.
        plans: to be used instead of drawn ones; only the files and versions that they name are made.
        plans_out: where the plans go, `plans.jsonl` in `out` if empty. progress: gets a line now and then.

    Returns:
        How many results were `made`, were `there` before, and how many files were `dropped`.

    Raises:
        ConfigurationError: settings that do not fit, or other ones than the output folder was made with.
        StorageError: a source that is not there, or an output that cannot be written.
    """
    if count < 1:
        raise ConfigurationError(f"count {count}: at least one version of each file is needed")
    if (settings.plans or None) != (digest_of(plans) if plans is not None else None):
        raise ConfigurationError(f"settings.plans {settings.plans!r} is not the digest of the plans given")
    files, dropped = named_files(sources, out)
    storage.require_writable(storage.join(out, "plans.jsonl"))
    _same_settings(settings, out)
    plans_out = plans_out or storage.join(out, "plans.jsonl")
    lines = {key: line for key, line in read_lines(plans_out).items() if storage.exists(target(out, key))
             } if storage.exists(plans_out) else {}
    counts = {"made": 0, "there": 0}
    named: dict[str, list[int]] = {}
    for file, version in sorted(plans or ()):
        named.setdefault(file, []).append(version)
    dropped += [_row(file, "no such file", "the given plans name it") for file in named if file not in files]
    try:
        for number, (file, uri) in enumerate(files.items(), 1):
            wanted = [(file, version) for version in (range(count) if plans is None else named.get(file, ()))]
            left = [key for key in wanted if key not in lines]
            counts["there"] += len(wanted) - len(left)
            try:
                if not wanted:
                    raise PhotoError("no plan", uri, "the given plans do not name it")
                if not all(storage.name_fits(target(out, key)) for key in wanted):
                    raise PhotoError("name too long", uri, "give it a shorter one: -0.png is put behind it")
                counts["made"] += _degrade_file(uri, left, out, lines, read, settings, plans) if left else 0
            except PhotoError as error:
                dropped.append(_row(file, error.cause, error.detail))
            except DataError as error:
                dropped.append(_row(file, "plan does not fit", str(error)))
            if number % SAVE_EVERY == 0:
                write_lines(plans_out, _in_order(lines, files))
                progress(f"{number} of {len(files)} files, {counts['made']} made, {len(dropped)} dropped")
    finally:
        write_lines(plans_out, _in_order(lines, files))
        write_lines(storage.join(out, "dropped.jsonl"), dropped)
    _write_sheet(out, files, lines, read, settings)
    return {**counts, "dropped": len(dropped)}


def named_files(sources: Sequence[str], out: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Every file of the sources by its name, its path inside the folder, and rows for what is left out (records.kinds).

    `out` is no source.

    Raises:
        ConfigurationError: two files of one name, or `out` is a source. StorageError: a source that is not there.
    """
    found: dict[str, str] = {}
    dropped: list[dict[str, str]] = []
    for source in sources:
        root = source.rstrip("/")
        if storage.real_place(root) == storage.real_place(out):
            raise ConfigurationError(f"{out}: the folder of the sources; take another one for the results")
        uris = {storage.name_in(root, uri) or storage.filesystem(root)[1].rpartition("/")[2]: uri
                for uri in storage.list_sources(root, out)}
        names, left_out = (list(uris), []) if root in uris.values() else meant(uris, ("photo", "film", "other"))
        dropped += [_row(*row) for row in left_out]
        for name in names:
            if name in found:
                raise ConfigurationError(f"{uris[name]} and {found[name]} are both called {name}: take a folder for "
                                         "each")
            found[name] = uris[name]
    return found, dropped


def target(out: str, key: Key) -> str:
    """Where a version of a file goes."""
    return storage.join(out, f"{key[0]}-{key[1]}{'.mp4' if _is_film(key[0]) else '.png'}")


def square(clean: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a picture [H, W, 3], or of every frame of a film [T, H, W, 3], resized to `size` px."""
    if clean.ndim == 4:
        return np.stack([square(frame, size) for frame in clean])
    height, width = clean.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = np.ascontiguousarray(clean[top:top + side, left:left + side])
    if side == size:
        return middle
    return resize(middle, height=size, width=size, interpolation="area" if side > size else "cubic")


def _degrade_file(uri: str, keys: Sequence[Key], out: str, lines: Lines, read: Read, settings: Settings,
                  plans: Plans | None) -> int:
    """Make some versions of a file, note them in `lines`, and say how many."""
    clean, seconds = _clean(uri, read, settings)
    for key in keys:
        plan = settings.plan(key, clean, rate_of(seconds)) if plans is None else plans[key]
        if isinstance(plan, ClipPlan) != (clean.ndim == 4):
            raise DataError(f"{uri}: the given plan is for a {'film' if isinstance(plan, ClipPlan) else 'picture'}")
        if isinstance(plan, ClipPlan):
            content = film_bytes(apply_clip(clean, plan), seconds)
        else:
            content = _encoded(apply(clean, plan), ".png", cv2.IMWRITE_PNG_COMPRESSION, 3)
        storage.write_atomic(target(out, key), content)
        lines[key] = line_of(key, plan)
    return len(keys)


def _clean(uri: str, read: Read, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """A file's picture or film, and when each of a film's frames is shown, in seconds."""
    clean, seconds = read_film(uri) if _is_film(uri) else (read(uri), np.empty(0))
    return (square(clean, settings.size) if settings.size else clean), seconds


def _is_film(name: str) -> bool:
    return kind_of(name) == "film"


def _same_settings(settings: Settings, out: str) -> None:
    uri, now = storage.join(out, "settings.json"), json.loads(json.dumps(asdict(settings)))
    if not storage.exists(uri):
        storage.write_atomic(uri, json.dumps(now, indent=1).encode())
        return
    try:
        before = dict(json.loads(storage.read_bytes(uri)))
    except (ValueError, TypeError) as error:
        raise DataError(f"{uri}: not the settings of an earlier run: {error}") from error
    for key in sorted(set(now) | set(before)):
        was = before.get(key, getattr(Settings, key, None))  # an older folder lacks a newer setting
        if was != now.get(key):
            raise ConfigurationError(f"{out} was made with {key} {was!r:.300}, not {now.get(key)!r:.300}: "
                                     "choose another folder, or the same settings to go on")


def _row(file: str, cause: str, detail: str) -> dict[str, str]:
    return {"file": file, "cause": cause, "detail": detail}


def _in_order(lines: Lines, files: Mapping[str, str]) -> list[dict[str, Any]]:
    places = {file: place for place, file in enumerate(files)}
    return [lines[key] for key in sorted(lines, key=lambda key: (places.get(key[0], len(places)), *key))]


def _encoded(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image[..., ::-1], options)[1].tobytes()


def _write_sheet(out: str, files: Mapping[str, str], lines: Lines, read: Read, settings: Settings) -> None:
    versions: dict[str, list[Key]] = {}
    for line in _in_order(lines, files):
        versions.setdefault(line["file"], []).append((line["file"], line["version"]))
    cells: list[Cell] = []
    widest = 1
    for file, keys in versions.items():
        if cells and len(cells) + 1 + len(keys) > SHEET_CELLS:
            break
        if file not in files:
            continue
        widest = max(widest, 1 + len(keys))
        cells.append(Cell(image=_shown(_clean(files[file], read, settings)[0]), title=file, text="as it came"))
        for key in keys:
            made = read_film(target(out, key))[0] if _is_film(file) else read(target(out, key))
            cells.append(Cell(image=_shown(made), title=f"version {key[1]}", text=lines[key]["explanation"]))
    if cells:
        page = sheet(cells, columns=min(8, widest * max(1, 4 // widest)))
        storage.write_atomic(storage.join(out, "sheet.jpg"), _encoded(page, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 92))


def _shown(made: np.ndarray) -> np.ndarray:
    """A film's middle frame; a picture itself."""
    return made[len(made) // 2] if made.ndim == 4 else made
