"""Where a dataset version comes from, and how two of them differ.

In: a dataset folder (`<workspace>/dataset`), or two versions' folders. Out: versions in order of descent, each after
its parents (there are no clocks in a manifest); a table with one row per difference, DIFFERENCE_SCHEMA.
An erased version leaves its id as a name: nothing of what it held.
"""

import hashlib
import importlib.metadata
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from anchorface.records.dataset import latest_version
from anchorface.records.errors import DataError
from anchorface.records.manifest import FACE_COLUMNS, Manifest
from anchorface.records.storage import exists, filesystem, join, read_table

ROOMS = ("records", "faces", "identity_index", "pipelines")
PLACE = ("face_id", "shard", "offset")
MOVES = {"identity": "moved", "split": "split"}
KINDS = ("added", "removed", "moved", "split", "changed")
DIFFERENCE_SCHEMA = pa.schema([
    ("face_id", pa.string()), ("change", pa.string()), ("column", pa.string()), ("before", pa.string()),
    ("after", pa.string()),
])


@dataclass(frozen=True, kw_only=True)
class Version:
    """One dataset version in its family. manifest: None where only the name is left. depth: steps from the oldest
    ancestor, 0 for those without parents."""

    manifest_id: str
    manifest: Manifest | None
    parents: tuple[str, ...]
    depth: int
    latest: bool


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How a dataset version comes from another. path: ids from the newer to the older, both included. erased: nothing
    but erasures lie between them, so the newer one holds only faces of the older."""

    path: tuple[str, ...]
    erased: bool

    def __str__(self) -> str:
        how = "by erasure alone" if self.erased else "with changes beside erasures"
        return f"{self.path[0]} comes from {self.path[-1]} in {len(self.path) - 1} steps, {how}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How `after` differs from `before`: rows of DIFFERENCE_SCHEMA by face id, and what the manifests say of how they
    were made, as name -> (before, after)."""

    rows: pa.Table
    made: dict[str, tuple[str, str]]

    def counts(self) -> dict[str, int]:
        """How many faces were added, removed, moved to another identity, moved to another split, or changed in at least
        one attribute."""
        found = self.rows.group_by("change").aggregate([("face_id", "count_distinct")]).to_pylist()
        counted = {row["change"]: row["face_id_count_distinct"] for row in found}
        return {kind: counted.get(kind, 0) for kind in KINDS}


@cache
def code_hash(rooms: tuple[str, ...] = ROOMS) -> str:
    """The code that makes data: `<package version> <first 16 hex digits of a SHA-256>` over the rooms' source files, as
    they stand when a process first asks."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return f"{_package_version(root)} {digest.hexdigest()[:16]}"


def versions(dataset: str) -> list[Version]:
    """All versions of a dataset folder, and the erased ones that they name, each after its parents.

    Raises:
        DataError: no dataset there, or a manifest that is damaged or no longer fits its folder's name.
    """
    found = {manifest.manifest_id: manifest for manifest in manifests(dataset)}
    latest = latest_version(dataset) if exists(join(dataset, "latest")) else ""
    parents: dict[str, tuple[str, ...]] = {}
    for manifest in found.values():
        for name, before in manifest.extra.get("ancestors", {}).items():
            parents.setdefault(name, tuple(before))
    parents |= {name: manifest.parents for name, manifest in found.items()}
    for names in list(parents.values()):
        for name in names:
            parents.setdefault(name, ())
    depths: dict[str, int] = {}
    while len(depths) < len(parents):
        ready = [name for name in sorted(parents) if name not in depths and all(p in depths for p in parents[name])]
        if not ready:
            raise DataError(f"{dataset}: versions that are their own ancestors: {sorted(set(parents) - set(depths))}")
        depths |= {name: max((depths[p] + 1 for p in parents[name]), default=0) for name in ready}
    return [
        Version(manifest_id=name, manifest=found.get(name), parents=parents[name], depth=depths[name],
                latest=name == latest)
        for name in sorted(parents, key=lambda name: (depths[name], name))
    ]


def descends(new: Manifest, old_id: str, dataset: str = "") -> Descent | None:
    """Whether one dataset version comes from another.

    Args:
        new: the version here. old_id: the id of the other, which may be gone.
        dataset: the folder with both (`<workspace>/dataset`): its manifests tell further ancestors. Empty asks the new
            version's manifest alone, which knows its parents and every version that erasures replaced on the way to it.

    Returns:
        How, or None: it is the same version, or no descendant.

    Raises:
        DataError: as for `versions`.
    """
    if old_id == new.manifest_id:
        return None
    gone = new.extra.get("ancestors", {}) if "erased" in new.extra else {}
    known = {version.manifest_id: version.parents for version in versions(dataset)} if dataset else {}
    known |= {name: tuple(before) for name, before in gone.items()} | {new.manifest_id: new.parents}
    paths: dict[str, tuple[str, ...]] = {new.manifest_id: (new.manifest_id,)}
    for name in (waiting := [new.manifest_id]):
        for parent in known.get(name, ()):
            if parent not in paths:
                paths[parent] = (*paths[name], parent)
                waiting.append(parent)
    if old_id not in paths:
        return None
    return Descent(path=paths[old_id], erased=old_id in gone)


def manifests(dataset: str) -> list[Manifest]:
    """The manifests of all versions that stand in a dataset folder, in order of id.

    Raises:
        DataError: as for `versions`.
    """
    if not exists(dataset):
        raise DataError(f"{dataset}: there is no dataset here; `anchorface curate` makes one")
    result = []
    system, path = filesystem(dataset)
    for info in sorted(system.get_file_info(fs.FileSelector(path)), key=lambda info: info.base_name):
        uri = join(dataset, info.base_name, "manifest.json")
        if info.type == fs.FileType.Directory and exists(uri):
            manifest = Manifest.read(join(dataset, info.base_name))
            if manifest.manifest_id != info.base_name:
                raise DataError(f"{uri}: its id is {manifest.manifest_id}, not its folder's name; a version is "
                                "immutable: this one was changed by hand")
            result.append(manifest)
    return result


def diff(before: str, after: str) -> Difference:
    """What changed from one version to another.

    Args:
        before, after: two version folders.

    Returns:
        Rows: faces `added` and `removed`; `moved` to another identity; `split`: on another side; `changed`: another
        value of an attribute (embeddings: their cosine; other lists: the largest step). Memory: two columns at a time.
    """
    made = _made(before, after)
    ids = [_column(uri, "face_id").to_pylist() for uri in (before, after)]
    places = [{name: row for row, name in enumerate(names)} for names in ids]
    for names, place, uri in zip(ids, places, (before, after), strict=True):
        if len(names) != len(place):
            raise DataError(f"{uri}: a face stands in more than one row")
    added = sorted(places[1].keys() - places[0].keys())
    removed = sorted(places[0].keys() - places[1].keys())
    both = sorted(places[0].keys() & places[1].keys())
    rows = [pa.array([place[name] for name in both], pa.int64()) for place in places]
    parts = [_rows(removed, "removed"), _rows(added, "added")]
    for column in FACE_COLUMNS:
        if column not in PLACE:
            old, new = (_column(uri, column).take(chosen) for uri, chosen in zip((before, after), rows, strict=True))
            parts.append(_compared(both, column, old, new))
    order = [(name, "ascending") for name in ("face_id", "change", "column")]
    return Difference(rows=pa.concat_tables(parts).sort_by(order), made=made)


def _compared(names: Sequence[str], column: str, old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Table:
    if pa.types.is_list(old.type):
        equal = [bool(np.array_equal(a, b)) for a, b in zip(_lists(old), _lists(new), strict=True)]
    else:
        same = pc.fill_null(pc.equal(old, new), False)
        equal = pc.or_(same, pc.and_(pc.is_null(old), pc.is_null(new)))
    places = np.flatnonzero(~np.asarray(equal, dtype=bool)).tolist()
    chosen = pa.array(places, pa.int64())
    before, after = old.take(chosen).to_pylist(), new.take(chosen).to_pylist()
    said = [_said(column, a, b) for a, b in zip(before, after, strict=True)]
    return _rows([names[place] for place in places], MOVES.get(column, "changed"), column, said)


def _lists(column: pa.ChunkedArray) -> Iterable[np.ndarray]:
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        borders = chunk.offsets.to_numpy()
        yield from (values[start:stop] for start, stop in pairwise(borders))


def _said(column: str, before: Any, after: Any) -> tuple[str, str]:
    if not isinstance(before, list) or not isinstance(after, list):
        return str(before), str(after)
    a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if a.shape != b.shape:
        return f"{len(a)} numbers", f"{len(b)} numbers"
    if column == "embedding":
        return "", f"cosine {a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12):.4f}"
    return "", f"by up to {np.abs(a - b).max():.3g}"


def _rows(
    names: Sequence[str], change: str, column: str = "", said: Sequence[tuple[str, str]] | None = None
) -> pa.Table:
    said = said if said is not None else [("", "")] * len(names)
    return pa.table(
        [list(names), [change] * len(names), [column] * len(names), [a for a, _ in said], [b for _, b in said]],
        schema=DIFFERENCE_SCHEMA)


def _made(before: str, after: str) -> dict[str, tuple[str, str]]:
    pair = []
    for uri in (before, after):
        if not exists(join(uri, "manifest.json")):
            raise DataError(f"{uri}: there is no dataset version here (no manifest.json); `anchorface versions` lists "
                            "those of a workspace")
        manifest = Manifest.read(uri)
        pair.append({"code": manifest.code} | _flat("weights", manifest.weights) | _flat("settings", manifest.settings))
    names = sorted(pair[0].keys() | pair[1].keys())
    return {n: (pair[0].get(n, ""), pair[1].get(n, "")) for n in names if pair[0].get(n) != pair[1].get(n)}


def _flat(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {name: str(value)}
    return {key: said for part, below in value.items() for key, said in _flat(f"{name}.{part}", below).items()}


def _column(uri: str, name: str) -> pa.ChunkedArray:
    return read_table(join(uri, "faces.parquet"), (name,)).column(name)


def _package_version(root: Path) -> str:
    if (root / "pyproject.toml").exists():
        return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    return importlib.metadata.version("anchorface")
