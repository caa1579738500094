"""All files below a folder, without opening one for more than its first bytes.

In: a folder, a glob (`album/**/*.jpg`), a single file, or a URI that pyarrow or fsspec knows. What exists is meant as
it is named, whatever signs stand in its name; a glob walks only folders that can lead to a match.
Out: `Found` files in the filesystem's own order, and `Dropped` rows for what must not be followed: links that lead out
of the source, links to nothing, links to folders (their files are listed at their own place, so no loop can be walked),
pipes and devices, and one row for each folder of thumbnails, trash or a system's own files (records.kinds).

A file's kind is read off its name, and off its first bytes where the name says nothing. On a remote filesystem files
that are named like text are not opened for that.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from urllib.parse import quote

from pyarrow import fs

from anchorface.pipelines.sources.address import (
    LOCAL,
    file_uri,
    is_text,
    local_path,
    parse_address,
    printable,
)
from anchorface.pipelines.sources.opening import open_file
from anchorface.records.addresses import has_secret, join
from anchorface.records.errors import ConfigurationError, PhotoError, StorageError
from anchorface.records.kinds import SYSTEM, kind_of, system_folder
from anchorface.records.nouns import Dropped
from anchorface.records.storage import filesystem

STILLS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
"""Brands of pictures among the files that begin as films do."""
TEXTS = (".txt", ".json", ".jsonl", ".csv", ".md", ".xml", ".html", ".yaml", ".yml", ".npy", ".cls", ".py", ".log")
BEGINNINGS = {
    b"\xff\xd8\xff": "photo", b"\x89PNG\r\n\x1a\n": "photo", b"GIF8": "photo", b"II*\x00": "photo", b"MM\x00*": "photo",
    b"P6\n": "photo", b"P5\n": "photo", b"\x00\x00\x00\x0cjP  ": "photo", b"\x1aE\xdf\xa3": "film",
    b"PK\x03\x04": "packed", b"\x1f\x8b": "packed", b"7z\xbc\xaf": "packed", b"Rar!": "packed", b"PAR1": "table",
    b"FLV\x01": "film", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "film",
}
PACKETS = ((0, 188), (4, 192))
"""Where an MPEG transport stream's first packet begins, and how long its packets are (the second: camcorders')."""
FIRST_BYTES = 400


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file.

    place: the path under the source, printable. uri: see pipelines.sources.address. kind: see records.kinds. modified:
    nanoseconds since 1970. chosen: False if the glob does not mean it.
    """

    place: str
    uri: str
    kind: str
    byte_size: int
    modified: int
    chosen: bool = True


@dataclass(frozen=True, kw_only=True)
class Root:
    """Where to look. uri: a folder or file, a plain path if it is local. pattern: the steps of a glob below it."""

    uri: str
    is_file: bool
    pattern: tuple[str, ...] = ()


def find_root(source: str) -> Root:
    """The folder or file that a source means.

    Raises:
        StorageError: there is none. ConfigurationError: its address holds a password.
    """
    if has_secret(source):
        raise ConfigurationError(
            f"{source}: its address was given with a password, and every photograph's address is kept in the tables. "
            "Give the address without, and the password by the environment: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or FSSPEC_<PROTOCOL>_<ARGUMENT> (FSSPEC_FTP_USERNAME, FSSPEC_FTP_PASSWORD, ...)")
    info = _info(source)
    pattern: tuple[str, ...] = ()
    if info == fs.FileType.NotFound:
        steps = source.split("/")
        wild = (number for number, step in enumerate(steps) if any(c in step for c in "*?["))
        first = next((n for n in wild if _info("/".join(steps[: n + 1])) == fs.FileType.NotFound), None)
        if first is None:
            raise StorageError(f"{printable(source)}: there is no such folder or file")
        folder, pattern = "/".join(steps[:first]) or ("/" if source.startswith("/") else "."), tuple(steps[first:])
        info = _info(folder)
        if info != fs.FileType.Directory:
            raise StorageError(
                f"{printable(source)}: there is no such folder or file, nor a folder {printable(folder)} in which "
                f"{printable('/'.join(pattern))!r} could be a pattern"
            )
        source = folder
    path = local_path(source)
    uri = path if path is not None else source.rstrip("/")
    return Root(uri=uri, is_file=info != fs.FileType.Directory, pattern=pattern)


def walk(root: Root, without: str = "") -> Iterator[Found | Dropped]:
    """Every file below the root, and what is not followed.

    Memory does not grow with the number of files in a local folder; a remote filesystem lists a folder at a time.

    Args:
        root: where to look. without: a folder that is left out, such as the workspace.
    """
    if root.is_file:
        yield _only(root)
    else:
        yield from _local(root, without) if "://" not in root.uri else _remote(root, without)


def matches(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path's steps are what a glob means; `**` stands for any number of folders."""
    if not pattern:
        return not steps
    if pattern[0] == "**":
        return any(matches(steps[n:], pattern[1:]) for n in range(len(steps) + 1))
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and matches(steps[1:], pattern[1:])


def leads_on(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether something below a folder with these steps can be what a glob means."""
    if not steps:
        return bool(pattern)
    if not pattern:
        return False
    return pattern[0] == "**" or (fnmatchcase(steps[0], pattern[0]) and leads_on(steps[1:], pattern[1:]))


def _info(source: str) -> fs.FileType:
    path = local_path(source)
    if path is not None:
        if os.path.isdir(path):
            return fs.FileType.Directory
        return fs.FileType.File if os.path.exists(path) else fs.FileType.NotFound
    system, place = filesystem(source)
    return system.get_file_info(place).type


def _only(root: Root) -> Found:
    """A source that is one file."""
    if "://" in root.uri:
        system, path = filesystem(root.uri)
        info = system.get_file_info(path)
        name, uri, size, modified = root.uri.rpartition("/")[2], root.uri, int(info.size or 0), int(info.mtime_ns or 0)
    else:
        status = os.stat(root.uri)
        name, uri, size, modified = os.path.basename(root.uri), file_uri(root.uri), status.st_size, status.st_mtime_ns
    return Found(place=_shown(name), uri=uri, kind=_kind(name.lstrip("."), uri), byte_size=size, modified=modified)


def _local(source: Root, without: str) -> Iterator[Found | Dropped]:
    root = source.uri
    limit = os.path.realpath(root)
    closed = os.path.realpath(local_path(without) or root) if without else ""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    place = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if os.path.join(limit, place) == closed or not _leads_on(source, place):
                            continue
                        if what := system_folder(entry.name):
                            yield not_followed(file_uri(os.path.join(root, place)), what, SYSTEM)
                        else:
                            folders.append(place)
                    else:
                        found = _local_file(os.path.join(root, place), place, entry, limit)
                        if _is_meant(source, place):
                            yield found
                        elif isinstance(found, Found):
                            yield replace(found, chosen=False)
        except OSError as error:
            yield not_followed(file_uri(os.path.join(root, folder)), "unreadable folder", str(error))


def _local_file(path: str, place: str, entry: "os.DirEntry[str]", limit: str) -> Found | Dropped:
    uri = file_uri(path)
    try:
        if entry.is_symlink():
            problem = link_problem(path, limit)
            if problem:
                return not_followed(uri, *problem)
        status = entry.stat()
    except OSError as error:
        return not_followed(uri, "unreadable", str(error))
    if not stat.S_ISREG(status.st_mode):
        return not_followed(uri, "not a regular file", "a pipe, socket or device")
    return Found(
        place=_shown(place), uri=uri, kind=_kind(place, uri), byte_size=status.st_size, modified=status.st_mtime_ns
    )


def _is_meant(source: Root, place: str) -> bool:
    return not source.pattern or matches(place.split("/"), source.pattern)


def _leads_on(source: Root, place: str) -> bool:
    return not source.pattern or leads_on(place.split("/"), source.pattern)


def link_problem(path: str, limit: str) -> tuple[str, str] | None:
    """Why a link is not followed: cause and detail; None if it means a file below `limit` (a real path)."""
    target = os.path.realpath(path)
    if os.path.isdir(target) and (target == limit or target.startswith(limit.rstrip("/") + "/")):
        return "link to a folder", "its files are listed at their own place"
    if not os.path.exists(target) or os.path.islink(target):
        return "broken link", "it leads to nothing, or in a circle"
    if not target.startswith(limit.rstrip("/") + "/"):
        return "link leads out of the source", "copy the file into the source to use it"
    return None


def _remote(source: Root, without: str) -> Iterator[Found | Dropped]:
    system, path = filesystem(source.uri)
    closed = filesystem(without)[1].rstrip("/") if "://" in without else ""
    start = len(path.rstrip("/")) + 1
    folders = [path.rstrip("/") or path]
    while folders:
        try:
            entries = system.get_file_info(fs.FileSelector(folders.pop(), recursive=False))
        except (OSError, UnicodeDecodeError) as error:
            yield not_followed(source.uri, "unreadable folder", str(error))
            continue
        for entry in entries:
            place = entry.path[start:].rstrip("/")
            uri = join(source.uri, place)
            if entry.type == fs.FileType.Directory:
                if entry.path.rstrip("/") == closed or not _leads_on(source, place):
                    continue
                if what := system_folder(place.rpartition("/")[2]):
                    yield not_followed(uri, what, SYSTEM)
                else:
                    folders.append(entry.path)
            elif entry.type == fs.FileType.File:
                if parse_address(uri).kind != "file" or "::" in uri:
                    yield not_followed(uri, "unreadable", "its name would mean another file here; rename it")
                    continue
                chosen = _is_meant(source, place)
                kind = _kind(place, uri) if chosen and not place.lower().endswith(TEXTS) else kind_of(place)
                yield Found(place=place, uri=uri, kind=kind, byte_size=int(entry.size or 0),
                            modified=int(entry.mtime_ns or 0), chosen=chosen)


def _kind(place: str, uri: str) -> str:
    """A file's kind by its name, and by its first bytes where the name says nothing, or `.ts`."""
    kind = kind_of(place)
    return _look(uri) if kind == "other" or place.lower().endswith(".ts") else kind


def _shown(place: str) -> str:
    """A place that fits a table of UTF-8."""
    return place if is_text(place) else quote(os.fsencode(place))


def _look(uri: str) -> str:
    """A file's kind by its first bytes: a photograph may have lost its ending."""
    try:
        with open_file(uri) as file:
            first = file.read(FIRST_BYTES)
    except (PhotoError, OSError):
        return "other"
    if (first[:4] == b"RIFF" and first[8:12] == b"WEBP") or (first[:2] == b"BM" and first[6:10] == bytes(4)):
        return "photo"
    if first[4:8] == b"ftyp":
        return "photo" if first[8:12] in STILLS else "film"
    if found := next((kind for beginning, kind in BEGINNINGS.items() if first.startswith(beginning)), None):
        return found
    return "film" if any(first[start::size][:3] == b"GGG" for start, size in PACKETS) else "other"


def not_followed(uri: str, cause: str, detail: str) -> Dropped:
    """A row for something that the walk leaves out."""
    return Dropped(stage="ingest", uri=uri, row=-1, cause=cause, detail=printable(detail).replace(LOCAL, ""))
