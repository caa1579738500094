"""Real full disks."""

import contextlib
from pathlib import Path


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; the file to delete."""
    ballast = disk / "ballast"
    for piece in (1 << 16, 1):  # a page that is begun has room for small lines
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while file.write(bytes(piece)) == piece:
                continue
    return ballast
