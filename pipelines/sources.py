"""Which photographs there are, and what sidecars say about them. Nothing here opens a picture.

In: a folder, a glob (`album/**/*.jpg`), a single file, or a URI that pyarrow or fsspec knows.
Out: `SourceFile`s in order of URI, and `Dropped` rows for what a sidecar says badly.

Sidecars stand beside the pictures or in a folder above them, and name files relative to themselves:

    metadata.jsonl   a JSON object per line: `file`, and optionally `subject`, `birth_date`, `taken` (ISO dates, or
                     only a year), `licence`, `consent`, `source`, `faces`: [{`landmarks`: five [x, y], `subject`,
                     `yaw`, `pitch`, `roll`, `age`}]
    index.csv        `file`, and optionally `person`, `points` (ten numbers), `age`, `birth_date`, `year_taken`,
                     `taken`, `licence`, `consent`, `source`. Its pose columns are estimates and are not read.

A face without landmarks says something about the photograph's subject, wherever a detector finds it.
"""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from pyarrow import fs

from records.errors import DataError, StorageError
from records.nouns import Dropped
from records.storage import filesystem, join, read_bytes

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2",
    ".heic", ".heif", ".avif",
)
"""Names taken for photographs. The last three cannot be read yet: they end in the `dropped` table, not in silence."""

SIDECARS = ("metadata.jsonl", "index.csv")
EMPTY = ("", "NA", "N/A", "nan", "None", "null")
POSE_AND_AGE = ("yaw", "pitch", "roll", "age")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that is named like a photograph.

    uri: absolute. place: the path under the source, `/` between folders. modified: nanoseconds since 1970.
    metadata: JSON-like: subject, birth_date, taken (ISO), licence, consent, source, faces; only what is known.
    """

    uri: str
    place: str
    byte_size: int
    modified: int
    metadata: Mapping[str, Any]


def find_sources(source: str, labels: bool = True) -> tuple[list[SourceFile], list[Dropped]]:
    """All photographs of a source, with what the sidecars say.

    Args:
        source: folder, glob, file or URI.
        labels: read subjects and landmarks from the sidecars; without, the photographs are an unsorted heap
            (dates, licence, consent and a stated age are read all the same).

    Returns:
        Files in order of their place, and what the sidecars say that cannot be used.

    Raises:
        StorageError: there is no such folder.
        DataError: there is no photograph in it.
    """
    root, pattern, found = _listing(source)
    photos = {
        place: info for place, info in found.items()
        if (place or root).lower().endswith(SUFFIXES) and (not pattern or _matches(place.split("/"), pattern))
    }
    if not photos:
        raise DataError(f"{source}: no file there is named like a photograph ({', '.join(SUFFIXES[:9])}, ...)")
    metadata, dropped = _read_sidecars(root, found, photos, labels)
    files = [
        SourceFile(
            uri=join(root, place) if place else root, place=place or root.rsplit("/", 1)[-1],
            byte_size=int(info.size or 0), modified=int(info.mtime_ns or 0), metadata=metadata.get(place, {}),
        )
        for place, info in sorted(photos.items())
    ]
    return files, dropped


def parse_date(value: Any) -> date | None:
    """A date from `2019-03-02`, `2019-03` or a year; the middle of the month or year where it says no more.

    Raises:
        ValueError: none of these.
    """
    text = str(value if value is not None else "").strip()
    if not text:
        return None
    parts = [int(part) for part in text[:10].split("-")]
    return date(*parts) if len(parts) == 3 else date(parts[0], parts[1] if len(parts) > 1 else 7, 15)


def _listing(source: str) -> tuple[str, list[str], dict[str, fs.FileInfo]]:
    """The root's URI, the pattern below it if there is one, and all files below it by their path under the root."""
    system, path = filesystem(source)
    info = system.get_file_info(path)
    pattern: list[str] = []
    if info.type == fs.FileType.NotFound:
        steps = source.split("/")
        first = next((n for n, step in enumerate(steps) if any(c in step for c in "*?[")), None)
        if first is None:
            raise StorageError(f"{source}: there is no such folder or file")
        source, pattern = "/".join(steps[:first]) or ("/" if source.startswith("/") else "."), steps[first:]
        system, path = filesystem(source)
        info = system.get_file_info(path)
        if info.type != fs.FileType.Directory:
            raise StorageError(f"{source}: there is no such folder (from the pattern {'/'.join(pattern)!r})")
    root = source if "://" in source else os.path.abspath(os.path.expanduser(source))
    if info.type == fs.FileType.File:
        return root, [], {"": info}
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    start = len(path.rstrip("/")) + 1
    return root.rstrip("/"), pattern, {f.path[start:]: f for f in found if f.type == fs.FileType.File}


def _matches(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not steps
    if pattern[0] == "**":
        return any(_matches(steps[n:], pattern[1:]) for n in range(len(steps) + 1))
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and _matches(steps[1:], pattern[1:])


def _read_sidecars(
    root: str, found: Mapping[str, fs.FileInfo], photos: Mapping[str, fs.FileInfo], labels: bool
) -> tuple[dict[str, dict[str, Any]], list[Dropped]]:
    """What each photograph's sidecars say; a sidecar nearer to the photograph has the last word."""
    metadata: dict[str, dict[str, Any]] = {}
    dropped: list[Dropped] = []
    sidecars = [place for place in found if place.rsplit("/", 1)[-1] in SIDECARS]
    for place in sorted(sidecars, key=lambda name: (name.count("/"), name)):
        uri, folder = join(root, place), place.rpartition("/")[0]
        read = _csv_rows if place.endswith(".csv") else _jsonl_rows
        for number, row in read(uri):
            try:
                if isinstance(row, Exception):
                    raise row
                target = f"{folder}/{row['file']}" if folder else str(row["file"])
                if target in photos:
                    metadata[target] = metadata.get(target, {}) | _normal(row, labels)
                elif target not in found:
                    detail = f"{row['file']!r} stands in the sidecar but not in the folder"
                    dropped.append(_bad(uri, number, "listed but not there", detail))
            except (ValueError, KeyError, TypeError) as error:
                dropped.append(_bad(uri, number, "unreadable metadata", f"{type(error).__name__}: {error}"))
    return metadata, dropped


def _bad(uri: str, number: int, cause: str, detail: str) -> Dropped:
    return Dropped(stage="ingest", uri=uri, row=number, cause=cause, detail=detail)


def _jsonl_rows(uri: str) -> list[tuple[int, Any]]:
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(read_bytes(uri).split(b"\n")):
        if line.strip():
            try:
                row = json.loads(line)
                rows.append((number, row if isinstance(row, dict) else ValueError("not a JSON object")))
            except ValueError as error:
                rows.append((number, error))
    return rows


def _csv_rows(uri: str) -> list[tuple[int, Any]]:
    """The rows of an `index.csv`, in the shape of metadata.jsonl."""
    reader = csv.DictReader(io.StringIO(read_bytes(uri).decode("utf-8-sig", errors="replace")))
    if "file" not in (reader.fieldnames or ()):
        return []
    rows: list[tuple[int, Any]] = []
    for number, cells in enumerate(reader):
        row: dict[str, Any] = {k: v for k, v in cells.items() if isinstance(v, str) and v.strip() not in EMPTY}
        face: dict[str, Any] = {}
        try:
            if "points" in row:
                face["landmarks"] = [float(word) for word in row["points"].split()]
            if "age" in row:
                face["age"] = float(row["age"])
        except ValueError as error:
            rows.append((number, error))
            continue
        named = {"subject": row.get("person"), "taken": row.get("taken", row.get("year_taken")), "faces": [face]}
        rows.append((number, row | named if face else row | {**named, "faces": []}))
    return rows


def _normal(row: Mapping[str, Any], labels: bool) -> dict[str, Any]:
    """A sidecar's row checked and in JSON form.

    Raises:
        ValueError, TypeError: something in it cannot be meant.
    """
    result: dict[str, Any] = {}
    for key in ("licence", "consent", "source"):
        if row.get(key) not in (None, ""):
            result[key] = str(row[key])
    for key in ("birth_date", "taken"):
        when = parse_date(row.get(key))
        if when is not None:
            result[key] = when.isoformat()
    if labels and row.get("subject") not in (None, ""):
        result["subject"] = str(row["subject"])
    faces = [_normal_face(face, labels) for face in row.get("faces") or ()]
    if any(faces):
        result["faces"] = [face for face in faces if face]
    return result


def _normal_face(face: Mapping[str, Any], labels: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    given = face.get("landmarks") or ()
    points = [float(x) for point in given for x in (point if isinstance(point, list) else [point])]
    if points and (len(points) != 10 or not all(math.isfinite(x) for x in points)):
        raise ValueError(f"landmarks must be five finite points, got {len(points)} numbers")
    if labels and points:
        result["landmarks"] = points
    if labels and face.get("subject") not in (None, ""):
        result["subject"] = str(face["subject"])
    for key in POSE_AND_AGE:
        if face.get(key) is not None and (labels or key == "age"):
            value = float(face[key])
            if not math.isfinite(value):
                raise ValueError(f"{key} is {value}")
            result[key] = value
    return result
