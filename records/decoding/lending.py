"""Pixels that one process makes and another uses, in memory that both see, so that none are copied or sent.

    Lender      where they are made: pieces of memory, filled again once nobody uses what stands in them
    Borrower    where they are used: arrays in these pieces, each given back when the array and its views are gone
"""

import fcntl
import math
import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2**28
"""Bytes of all pieces that are filled again, at most: 256 MiB. A piece beyond that is given away for good."""
STEP = 2**20
COPIED = 2**20
"""Pictures of fewer bytes are copied, and do not keep a piece."""


class Lender:
    """The pieces, in the process that fills them."""

    def __init__(self) -> None:
        self._free: dict[int, mmap.mmap] = {}  # the longest unused first
        self._lent: dict[int, mmap.mmap] = {}
        self._gone: list[int] = []
        self._unsent: dict[int, int] = {}  # the files of pieces that the other process has not seen
        self._made = 0
        self._current: tuple[int, mmap.mmap] | None = None
        self._array: NDArray[np.uint8] | None = None

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array to be filled, of any content; one at a time.

        Raises:
            MemoryError: there is not so much memory.
        """
        self.take_back(())
        size = max(1, math.prod(shape))
        fits = min((number for number in self._free if len(self._free[number]) >= size),
                   key=lambda number: len(self._free[number]), default=None)
        if fits is not None:
            self._current = fits, self._free.pop(fits)
        else:
            self._current = self._new(-(-size // STEP) * STEP)
        self._array = np.ndarray(shape, np.uint8, buffer=self._current[1])
        return self._array

    def lend(self, pixels: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
        """What to say of an array that was filled, and the file to send with it, -1 for none; to be closed then.

        Args:
            pixels: what `empty` gave, or any array, which is copied.
        """
        if pixels is not self._array:
            np.copyto(self.empty(pixels.shape), pixels)
        assert self._current is not None
        number, memory = self._current
        kept = self._total() + len(memory) <= MOST
        if kept:
            self._lent[number] = memory
        descriptor = self._unsent.pop(number, -1)
        said = {"number": number, "shape": pixels.shape, "kept": kept, "gone": self._gone}
        self._gone, self._current, self._array = [], None, None
        return said, descriptor

    def take_back(self, numbers: list[int] | tuple[int, ...]) -> None:
        """Pieces that are no longer used, and one that was not lent."""
        self._array = None
        if self._current is not None:
            number, memory = self._current
            self._current = None
            if self._total() + len(memory) <= MOST:
                self._free[number] = memory
            else:
                self._let_go(number)
        for number in numbers:
            self._free[number] = self._lent.pop(number)

    def _new(self, size: int) -> tuple[int, mmap.mmap]:
        while self._free and self._total() + size > MOST:
            oldest = next(iter(self._free))
            del self._free[oldest]
            self._let_go(oldest)
        self._made += 1
        descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.truncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except OSError as error:
            os.close(descriptor)
            raise MemoryError(f"{size} bytes for a picture: {error}") from error
        self._unsent[self._made] = descriptor
        return self._made, memory

    def _let_go(self, number: int) -> None:
        """A piece that is filled no more: its file is closed, or the other process is told to drop it."""
        if number in self._unsent:
            os.close(self._unsent.pop(number))
        else:
            self._gone.append(number)

    def _total(self) -> int:
        return sum(map(len, [*self._free.values(), *self._lent.values()]))


class Borrower:
    """The pieces, in the process that uses what stands in them."""

    def __init__(self) -> None:
        self._memory: dict[int, mmap.mmap] = {}
        self._unused: list[int] = []

    def array(self, said: dict[str, Any], descriptor: int) -> NDArray[np.uint8]:
        """What was lent, as uint8 of its shape, this process's own as long as it or a view of it is used.

        Args:
            said, descriptor: as `Lender.lend` gave them; the descriptor is closed.
        """
        number, kept = said["number"], said["kept"]
        for gone in said["gone"]:
            self._memory.pop(gone, None)
        if descriptor >= 0:
            try:
                memory = mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            finally:
                os.close(descriptor)
            if kept:
                self._memory[number] = memory
        else:
            memory = self._memory[number] if kept else self._memory.pop(number)
        pixels: NDArray[np.uint8] = np.ndarray(said["shape"], np.uint8, buffer=memory)
        if pixels.nbytes < COPIED:
            if kept:
                self._unused.append(number)
            return pixels.copy()
        if kept:
            weakref.finalize(pixels, self._unused.append, number).atexit = False
        return pixels

    def unused(self) -> list[int]:
        """The pieces that came out of use since this was asked last."""
        found = []
        while self._unused:
            found.append(self._unused.pop())
        return found
