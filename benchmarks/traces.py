"""Where byte patterns occur in the files under a folder: the proof that something is gone.

Every byte offset of every file is looked at, for tens of thousands of patterns in one pass.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CHUNK = 2**24
BITS = 24
SPREAD = np.uint64(0x9E3779B97F4A7C15)


def traces(folder: Path, patterns: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
    """How many of the patterns of each kind stand in some file; a pattern has at least eight bytes."""
    heads = {pattern[:8] for kind in patterns.values() for pattern in kind}
    keys = np.sort(np.frombuffer(b"".join(sorted(heads)), "<u8"))
    possible = np.zeros(2**BITS, np.bool_)
    possible[_place(keys)] = True
    whole: dict[bytes, set[bytes]] = {}
    for kind in patterns.values():
        for pattern in kind:
            whole.setdefault(pattern[:8], set()).add(pattern)
    longest = max(len(pattern) for kind in patterns.values() for pattern in kind)
    seen: set[bytes] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
            for start in range(0, len(content), CHUNK):
                seen |= _found(content[start : start + CHUNK + longest].tobytes(), keys, possible, whole)
    return {name: sum(pattern in seen for pattern in kind) for name, kind in patterns.items()}


def _place(words: np.ndarray) -> np.ndarray:
    return (words * SPREAD) >> np.uint64(64 - BITS)


def _found(piece: bytes, keys: np.ndarray, possible: np.ndarray, whole: Mapping[bytes, set[bytes]]) -> set[bytes]:
    seen: set[bytes] = set()
    for shift in range(8):
        count = (len(piece) - shift) // 8
        if count <= 0:
            break
        words = np.frombuffer(piece, "<u8", count, shift)
        near = np.flatnonzero(possible[_place(words)])
        near = near[np.isin(words[near], keys)]
        for at in (near * 8 + shift).tolist():
            seen |= {pattern for pattern in whole[piece[at : at + 8]] if piece.startswith(pattern, at)}
    return seen
