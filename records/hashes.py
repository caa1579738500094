"""What a file's bytes are called: the SHA-256 of local files and of folders such as a weight in diffusers' layout."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a local file, or over the names and hashes of a folder's files; computed once while they stay.

    Raises:
        OSError: there is no such file.
    """
    place = Path(path)
    if place.is_dir():
        lines = [f"{file.name} {sha256(file)}" for file in sorted(place.iterdir()) if file.is_file()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    state = place.stat()
    return _sha256(str(place), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _sha256(path: str, modified: int, size: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
