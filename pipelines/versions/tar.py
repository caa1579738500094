"""The tars of a dataset version, written and read.

In: files as (name, bytes), or a tar's uri. Out: a tar's bytes with the place of each JPEG, or the files again. Equal
files give equal bytes: no times, owners or random names in a tar.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator

from anchorface.records.errors import DataError
from anchorface.records.state import inside
from anchorface.records.storage import read_bytes


def members(uri: str) -> Iterator[tuple[str, bytes]]:
    """The members of one of our tars, name and bytes, in order.

    Raises:
        DataError: not a tar, or a member that is no plain file of the tar's own folder.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(read_bytes(uri)), mode="r:") as archive:
            for member in archive:
                if not member.isfile() or "/" in inside(member.name):
                    raise DataError(f"{uri}: member {member.name!r} is no plain file; this tar is not ours")
                stream = archive.extractfile(member)
                assert stream is not None
                yield member.name, stream.read()
    except tarfile.TarError as error:
        raise DataError(f"{uri}: not a readable tar: {error}") from error


def pack(files: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[tuple[int, int]]]:
    """A tar of files (name, content), and each `.jpg`'s (offset, size) in it; the same files give the same bytes."""
    buffer = io.BytesIO()
    places = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
            if name.endswith(".jpg"):
                places.append((archive.offset - -(-len(content) // 512) * 512, len(content)))
    return buffer.getvalue(), places
