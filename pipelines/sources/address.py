"""Where a photograph stands: its `uri`, also inside archives, tables and films.

    album/one.jpg                       a file: a path, or a URI that pyarrow or fsspec knows
    shard.tar#a/one.jpg@1536+20480      a member of a tar: its name, then the first byte and the number of bytes
    table.parquet#image@17              row 17 (from 0) of the column `image`
    film.mp4#t=3.000                    the first frame that stands 3 seconds or more after the film's first one

The text behind the last `#` is an address only in one of these three forms. A member's and a column's name are
percent-encoded (UTF-8, other bytes as they are), so that they hold neither `#` nor `@`. A local file whose own name
is not UTF-8, or looks like one of these forms, is written as `file://` and its percent-encoded path. Every uri is
therefore printable, fits a table of UTF-8, and leads back to the same bytes.
"""

import os
import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

LOCAL = "file://"
WEB = ("http://", "https://")
IN_MEMORY = "memory:"
"""What only the process that wrote it can read."""
_MEMBER = re.compile(r"(?s)(.+)#([^#@]*)@(\d{1,18})\+(\d{1,18})")
_ROW = re.compile(r"(?s)(.+)#([^#@]*)@(\d{1,18})")
_FRAME = re.compile(r"(?s)(.+)#t=(\d{1,12}\.\d{3})")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A uri taken apart.

    kind: `file`, `member`, `row` or `frame`. file: the uri of the file that holds it. name: of the member or column.
    offset, size: bytes of a member. row: of a table. second: of a frame.
    """

    kind: str
    file: str
    name: str = ""
    offset: int = 0
    size: int = 0
    row: int = 0
    second: float = 0.0


def parse_address(uri: str) -> Address:
    """The uri of a photograph, taken apart. A text in no other form is a file."""
    if found := _MEMBER.fullmatch(uri):
        file, name, offset, size = found.groups()
        return Address(kind="member", file=file, name=unquote(name), offset=int(offset), size=int(size))
    if found := _FRAME.fullmatch(uri):
        return Address(kind="frame", file=found[1], second=float(found[2]))
    if found := _ROW.fullmatch(uri):
        return Address(kind="row", file=found[1], name=unquote(found[2]), row=int(found[3]))
    return Address(kind="file", file=uri)


def member_uri(file: str, name: str, offset: int, size: int) -> str:
    """The uri of a tar's member. Its name may hold surrogates for bytes that are not UTF-8."""
    return f"{file}#{quote(name.encode('utf-8', 'surrogateescape'), safe='/')}@{offset}+{size}"


def row_uri(file: str, column: str, row: int) -> str:
    """The uri of a table's row."""
    return f"{file}#{quote(column, safe='')}@{row}"


def frame_uri(file: str, second: float) -> str:
    """The uri of a film's frame."""
    return f"{file}#t={second:.3f}"


def film_of(uri: str) -> str:
    """The film that a uri is a frame of; empty if it is none."""
    address = parse_address(uri) if "#t=" in uri else None
    return address.file if address is not None and address.kind == "frame" else ""


def file_uri(path: str) -> str:
    """The uri of a local file, whose path may hold surrogates for bytes that are not UTF-8."""
    if is_text(path) and parse_address(path).kind == "file" and "://" not in path:
        return path
    return LOCAL + quote(os.fsencode(path))


def local_path(uri: str) -> str | None:
    """The local path of a file's uri, None if it stands elsewhere."""
    if uri.startswith(LOCAL):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix(LOCAL)))
    return None if "://" in uri else os.path.abspath(os.path.expanduser(uri))


def is_web(uri: str) -> bool:
    """Whether an address is of the web."""
    return uri.lower().startswith(WEB)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """A name for tables: bytes that are not UTF-8, and lone surrogates, become escapes."""
    return name if is_text(name) else name.encode("utf-8", "backslashreplace").decode("utf-8")


def inside(folder: str, name: str) -> str | None:
    """A path that `folder` says, from the source's root: `a/../b` becomes `b`; None if it leads out of the source."""
    place = posixpath.normpath(posixpath.join(folder, name))
    return None if place.startswith(("../", "/")) or place in ("..", ".") else place
