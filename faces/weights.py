"""Where the weights of the table are on this machine, and whether they are what they should be.

A name stands for one file, or for a folder in diffusers' layout (config.json beside safetensors). They are looked for,
in this order, in the folders of $ANCHORFACE_WEIGHTS (separated as $PATH is), in `weights/` of this repository, in
`../shared/data/models` beside it, in `~/.insightface/models`, `~/.cache/anchorface` ($XDG_CACHE_HOME moves it), and the
model hub's own cache.
A known hash is checked before the file is used. What only asks for names pays for no network: the model hub's client is
imported where it is asked.
"""

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anchorface.faces.weight_table import WEIGHTS, Weight
from anchorface.records.download import part_of
from anchorface.records.errors import ConfigurationError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.records.homes import cache_home

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What `survey` found for one weight. state: `verified`, `hash not known`, `wrong hash`, `fetched in part` or
    `missing`.
    """

    weight: Weight
    path: Path | None
    state: str


def weight(name: str, kind: str = "") -> Weight:
    """The table's entry for a name; a pack's name (`buffalo_l`) with a kind gives that member of the pack.

    Raises:
        WeightsError: no such name, or a name of another kind.
    """
    for entry in WEIGHTS:
        if name in (entry.name, entry.name.partition("/")[0]) and kind in ("", entry.kind):
            return entry
    known = ", ".join(entry.name for entry in WEIGHTS if kind in ("", entry.kind))
    raise WeightsError(f"no {kind or 'weight file'} named {name!r}; known: {known}")


def folders() -> tuple[Path, ...]:
    """The folders where weights are looked for, in order, whether they exist or not."""
    named = tuple(Path(f).expanduser() for f in os.environ.get("ANCHORFACE_WEIGHTS", "").split(os.pathsep) if f)
    return (*named, REPOSITORY / "weights", REPOSITORY.parent / "shared" / "data" / "models", *_at_home())


def _at_home() -> Iterator[Path]:
    """The folders of this user, who need not have a home."""
    with contextlib.suppress(RuntimeError):
        yield Path.home() / ".insightface" / "models"
    with contextlib.suppress(ConfigurationError):
        yield cache_home()


def find(name: str, kind: str = "") -> Path:
    """The path of a weight file, its hash checked where one is known.

    Raises:
        WeightsError: an unknown name, no such file (says where it looked), or a file of another hash.
    """
    entry = weight(name, kind)
    path = locate(entry)
    if path is None:
        looked = "\n  ".join(str(folder) for folder in folders())
        half = "only a part of it was fetched: there is " if in_part(entry) else ""
        raise WeightsError(
            f"{name}: {half}no {'folder' if entry.is_folder else 'file'} {entry.file} ({entry.licence}; published at "
            f"{entry.url_hint}) in\n  {looked}\n"
            "Put it into one of these folders, or name its folder in $ANCHORFACE_WEIGHTS"
            + (f"; `anchorface fetch {name}` downloads {'the rest' if half else 'it'}." if entry.is_fetched else
               f", or install {entry.url_hint}." if entry.package else ".")
        )
    expected = expected_sha256(entry, path)
    if expected is not None and sha256(path) != expected:
        raise WeightsError(
            f"{path}: its SHA-256 is {sha256(path)}, but {name} has {expected}. The file is damaged or another one: "
            "replace it, or move it out of the folders that are searched."
        )
    return path


def survey() -> tuple[Survey, ...]:
    """Every entry of the table with where it is and whether its hash is right, for `anchorface doctor`."""
    rows = []
    for entry in WEIGHTS:
        path = locate(entry)
        if path is None:
            state = "fetched in part" if in_part(entry) else "missing"
        elif (expected := expected_sha256(entry, path)) is None:
            state = "hash not known"
        else:
            state = "verified" if sha256(path) == expected else "wrong hash"
        rows.append(Survey(weight=entry, path=path, state=state))
    return tuple(rows)


def cache() -> Path:
    """The folder that `anchorface fetch` writes to: the first of $ANCHORFACE_WEIGHTS, else `~/.cache/anchorface`.

    Raises:
        WeightsError: neither is named, and this user has no home.
    """
    if os.environ.get("ANCHORFACE_WEIGHTS", "").strip(os.pathsep):
        return folders()[0]
    try:
        return cache_home()
    except ConfigurationError as error:
        raise WeightsError(f"weights are kept nowhere: {error}; or name their folder in $ANCHORFACE_WEIGHTS") from error


def fetched_file(entry: Weight) -> Path:
    """Where `anchorface fetch` puts a weight's file, or its pack's archive."""
    return cache() / (f"{entry.pack}.zip" if entry.pack else entry.copy or entry.file)


def in_part(entry: Weight) -> bool:
    """Whether a fetch of this weight was begun and has not ended."""
    with contextlib.suppress(WeightsError):  # nowhere to begin one
        if os.path.isfile(part_of(fetched_file(entry))):
            return True
    return entry.hub != "" and _in_hub_cache(entry, whole=False) is not None


def expected_sha256(entry: Weight, path: Path) -> str | None:
    """The hash a file must have: the table's, or for carried files the line in weights/SHA256SUMS."""
    if entry.copy and path.name == entry.copy:
        return entry.copy_sha256
    if entry.sha256 is not None:
        return entry.sha256
    sums = REPOSITORY / "weights" / "SHA256SUMS"
    if not entry.url_hint.startswith("carried") or not sums.is_file():
        return None
    for line in sums.read_text().splitlines():
        digest, _, file = line.partition(" ")
        if file.strip(" *") == entry.file:
            return digest
    return None


def present(name: str) -> bool:
    """Whether a weight is here, with the hash that it must have."""
    try:
        find(name)
    except WeightsError:
        return False
    return True


def locate(entry: Weight) -> Path | None:
    """Where a weight is, whatever its hash."""
    if entry.package and (found := _in_package(entry)) is not None:
        return found
    if entry.is_folder:
        return next((folder / entry.file for folder in folders() if _is_whole(folder / entry.file)), None) \
            or _in_hub_cache(entry)
    names = (entry.file, entry.file.rpartition("/")[2], *filter(None, (entry.copy,)))
    candidates = (folder / name for folder in folders() for name in names)
    return next((path for path in candidates if os.path.isfile(path)), None)  # no where it may not be looked


def _in_package(entry: Weight) -> Path | None:
    found = importlib.util.find_spec(entry.package)
    places = (Path(place) / entry.file for place in (found and found.submodule_search_locations) or ())
    return next((place for place in places if place.exists()), None)


def _in_hub_cache(entry: Weight, whole: bool = True) -> Path | None:
    """The folder in the hub's cache, if all of it (or, with `whole` off, some of it) was downloaded."""
    if not entry.hub:
        return None
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(entry.hub, revision=entry.revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    folder = Path(snapshot) / entry.part
    return folder if (_is_whole(folder) if whole else folder.is_dir()) else None


def _is_whole(folder: Path) -> bool:
    """Whether a folder in diffusers' layout has its description and all files that belong to it."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return False
    if (folder / "tokenizer_config.json").is_file():
        return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "tokenizer.model"))
    if not (folder / "config.json").is_file():
        return False
    try:
        wanted = {name for index in folder.glob("*.safetensors.index.json")
                  for name in json.loads(index.read_bytes())["weight_map"].values()}
        return all((folder / name).is_file() for name in wanted) if wanted else any(folder.glob("*.safetensors"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
