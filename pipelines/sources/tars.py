"""Photographs in a tar: listed without reading them, never extracted.

In: the uri of an uncompressed tar. Out: `Member`s with the place of their bytes, and `Dropped` rows for what the
archive holds and must not hold: names with `..` or from the root, links, devices, archives in the archive, bytes after
a damaged header.

A WebDataset sample is what shares a name up to the first dot (webdataset.github.io, "The WebDataset Format"): a JSON
member says something about its sample's pictures. Sidecars with the names of pipelines.sources.sidecars may stand in
the archive too, with names relative to themselves.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from anchorface.pipelines.sources.address import inside, member_uri, printable
from anchorface.pipelines.sources.opening import open_file
from anchorface.pipelines.sources.sidecars import BAD_ROW, file_of, is_sidecar, normal, said_rows
from anchorface.records.errors import PhotoError
from anchorface.records.kinds import Others, kind_of, not_read, passed_over
from anchorface.records.nouns import Dropped

LARGEST_HEADER = 2**20
LARGEST_JSON = 2**22
LARGEST_SIDECAR = 2**30
FORGET = 1000


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of a tar. offset, size: its bytes in the tar. says: as sidecars.normal gives it."""

    uri: str
    name: str
    size: int
    says: dict[str, Any]


def tar_photos(uri: str, labels: bool = True) -> Iterator[Member | Dropped]:
    """The pictures of a tar in the order in which they stand in it.

    Args:
        uri: of the tar. labels: read subjects and landmarks.

    Yields:
        Members, and a row for each thing that is left out or badly said.
    """
    try:
        with open_file(uri) as file:
            yield from _photos(uri, file, labels)
    except PhotoError as error:
        yield _left_out(uri, error.cause, error.detail)


def _photos(uri: str, file: BinaryIO, labels: bool) -> Iterator[Member | Dropped]:
    spoken: dict[str, dict[str, Any]] = {}
    listed: set[str] = set()
    yield from _sidecars(uri, file, labels, spoken)
    sample: list[tuple[tarfile.TarInfo, dict[str, Any]]] = []
    others, beside = Others(), list[str]()
    key, says = "", dict[str, Any]()
    for member in _members(uri, file, quiet=False):
        if isinstance(member, Dropped):
            yield member
            continue
        folder, _, base = member.name.rpartition("/")
        if f"{folder}/{base.partition('.')[0]}" != key:
            yield from _emit(uri, sample, says)
            others.add(*(() if sample else beside))  # what shares its name with a picture belongs to it
            key, says, sample, beside = f"{folder}/{base.partition('.')[0]}", {}, [], []
        kind = "system" if passed_over(member.name) else kind_of(base)
        place = inside("", member.name) or ""
        if kind == "photo":
            sample.append((member, spoken.get(place, {})))
            listed.add(place) if place in spoken else None
        elif base.lower().endswith(".json"):
            try:
                says, problems = _json(file, member, labels)
            except BAD_ROW as error:
                problems = (printable(f"{type(error).__name__}: {error}"),)
            if problems:
                yield _left_out(_uri(uri, member), "unreadable metadata", "; ".join(problems))
        elif kind == "unread":
            yield _left_out(_uri(uri, member), *not_read(base))
        elif kind in ("system", "hidden", "other"):
            beside += [] if is_sidecar(base) else [base]
        else:
            yield _left_out(_uri(uri, member), f"{kind} in an archive", "unpack the archive first")
    yield from _emit(uri, sample, says)
    others.add(*(() if sample else beside))
    if others:
        yield _left_out(uri, "other files", str(others))
    for place in sorted(spoken.keys() - listed):
        yield _left_out(uri, "listed but not there", f"{printable(place)!r} stands in a sidecar but not in the archive")


def _emit(
    uri: str, sample: list[tuple[tarfile.TarInfo, dict[str, Any]]], says: dict[str, Any]
) -> Iterator[Member]:
    for member, spoken in sample:
        yield Member(uri=_uri(uri, member), name=member.name, size=member.size, says=says | spoken)


def _sidecars(
    uri: str, file: BinaryIO, labels: bool, spoken: dict[str, dict[str, Any]]
) -> Iterator[Dropped]:
    """Fill `spoken` (place -> what is said) from the archive's own sidecars, nearer ones last."""
    found = [
        member for member in _members(uri, file, quiet=True)
        if isinstance(member, tarfile.TarInfo) and is_sidecar(member.name.rpartition("/")[2])
    ]
    for member in sorted(found, key=lambda member: (member.name.count("/"), member.name)):
        if member.size > LARGEST_SIDECAR:
            yield _left_out(_uri(uri, member), "unreadable metadata", f"more than {LARGEST_SIDECAR} bytes")
            continue
        file.seek(member.offset_data)
        content = io.BytesIO(file.read(member.size))
        for number, row in said_rows(member.name, content):
            try:
                if isinstance(row, Exception):
                    raise row
                place = inside(member.name.rpartition("/")[0], file_of(row))
                if place is None:
                    raise ValueError(f"{row['file']!r} leads out of the archive")
                says, problems = normal(row, labels)
                spoken[place] = spoken.get(place, {}) | says
            except BAD_ROW as error:
                problems = (printable(f"{type(error).__name__}: {error}"),)
            if problems:
                yield _left_out(_uri(uri, member), "unreadable metadata", "; ".join(problems), number)


def _json(file: BinaryIO, member: tarfile.TarInfo, labels: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    if member.size > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON} bytes")
    place = file.tell()
    file.seek(member.offset_data)
    content = json.loads(file.read(member.size))
    file.seek(place)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return normal(content, labels)


def _members(uri: str, file: BinaryIO, quiet: bool) -> Iterator[tarfile.TarInfo | Dropped]:
    """The regular files with plain names; unless `quiet`, rows for the others and for a damaged end."""
    file.seek(0, os.SEEK_END)
    end = file.tell()
    file.seek(0)
    archive, problem, number = None, "", 0
    try:
        archive = tarfile.TarFile(fileobj=_Headers(file), errors="surrogateescape")  # type: ignore[arg-type]
        while (member := archive.next()) is not None:
            number += 1
            if number % FORGET == 0:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all it has seen
            left_out = _why_not(uri, member, end)
            if left_out is None:
                if not member.isdir():
                    yield member
            elif not quiet:
                yield left_out
    except (tarfile.TarError, OSError, *BAD_ROW) as error:
        problem = printable(str(error))
    if quiet:
        return
    reached = archive.offset if archive is not None else 0
    if archive is not None and not problem and reached < end:
        file.seek(reached)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            problem = "a header is damaged"
    if problem:
        cause = "truncated" if "end of data" in problem or "truncated" in problem else "damaged archive"
        yield _left_out(uri, cause, f"{problem}; nothing was read after byte {min(reached, end)} of {end}")


def _why_not(uri: str, member: tarfile.TarInfo, end: int) -> Dropped | None:
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts or "\0" in member.name:
        return _left_out(_uri(uri, member), "unsafe name", "it leads out of the archive")
    if member.isdir():
        return None
    if member.issym() or member.islnk():
        return _left_out(_uri(uri, member), "link in an archive", f"to {printable(member.linkname)!r}")
    if not member.isreg() or member.sparse is not None:
        return _left_out(_uri(uri, member), "not a regular file", "a device, pipe or sparse file in an archive")
    if member.offset_data + member.size > end:
        return _left_out(_uri(uri, member), "truncated", "the archive ends before this member does")
    return None


def _uri(uri: str, member: tarfile.TarInfo) -> str:
    return member_uri(uri, member.name, max(member.offset_data, 0), max(member.size, 0))


def _left_out(uri: str, cause: str, detail: str, row: int = -1) -> Dropped:
    return Dropped(stage="ingest", uri=uri, row=row, cause=cause, detail=detail)


class _Headers(io.RawIOBase):
    """What tarfile reads headers from: a header cannot ask for more memory than a name needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._place = file, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes; the place is kept here, since others read the same file in between."""
        if size < 0 or size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self._file.seek(self._place)
        content = self._file.read(size)
        self._place += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; only from the start."""
        if whence != os.SEEK_SET or offset < 0 or offset > 2**62:
            raise tarfile.ReadError(f"a member at byte {offset}")
        self._place = offset
        return offset

    def tell(self) -> int:
        """The place."""
        return self._place
