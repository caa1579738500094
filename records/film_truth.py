"""What is known of a film beside its pictures: where every pixel goes, and the face's five points; one `.npz` a film.

    flow.npy        float32 [T - 1, H, W, 2]: how far, in pixels (x, y), each pixel of frame t moves to frame t + 1; NaN
                    where its point is not seen there
    landmarks.npy   float32 [T, 5, 2], pixels of each frame

Both are written and read frame by frame, so that memory does not grow with a film's length.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from anchorface.records import storage
from anchorface.records.errors import DataError

BAD_FILE = (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, NotImplementedError, zlib.error)
LONGEST_HEADER = 4096
MOST_FRAMES, MOST_PIXELS = 5_000_000, 100_000_000


def write_truth(file: IO[bytes], flows: Iterable[np.ndarray], shape: tuple[int, int, int],
                landmarks: Sequence[np.ndarray] | np.ndarray) -> None:
    """Write a film's truth.

    Args:
        flows: T - 1 fields float32 [H, W, 2], one after the other. shape: T, H, W. landmarks: float32 [T, 5, 2],
            complete once the last field was given.
    """
    frames, height, width = shape
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open(_member("flow"), "w", force_zip64=True) as member:
            _write_header(member, (frames - 1, height, width, 2))
            for field in flows:
                member.write(np.ascontiguousarray(field, "<f4").tobytes())
        with packed.open(_member("landmarks"), "w") as member:
            _write_header(member, (frames, 5, 2))
            member.write(np.ascontiguousarray(landmarks, "<f4").tobytes())


@dataclass(frozen=True, kw_only=True)
class FilmTruth:
    """A film's truth in a file. frames, height, width: of the film. landmarks: float32 [T, 5, 2]."""

    uri: str
    frames: int
    height: int
    width: int
    landmarks: np.ndarray

    @classmethod
    def open(cls, uri: str) -> "FilmTruth":
        """Look what is in a file.

        Raises:
            DataError: not such a file. StorageError: no file, or it cannot be read.
        """
        with _packed(uri) as packed:
            with packed.open("landmarks.npy") as member:
                shape = _header(member, 3)
                if shape[1:] != (5, 2) or shape[0] > MOST_FRAMES:
                    raise ValueError(f"landmarks of shape {list(shape)}, not [T, 5, 2]")
                landmarks = _numbers(member, shape)
            with packed.open("flow.npy") as member:
                steps, height, width, axes = _header(member, 4)
            if steps != shape[0] - 1 or axes != 2 or height * width > MOST_PIXELS:
                raise ValueError(f"flow of shape {[steps, height, width, axes]} beside {shape[0]} frames' landmarks")
        return cls(uri=uri, frames=shape[0], height=height, width=width, landmarks=landmarks)

    def flows(self) -> Iterator[np.ndarray]:
        """The fields float32 [H, W, 2], one after the other; NaN where a pixel's point is not seen again.

        Raises:
            DataError: the file ends before its last field.
        """
        with _packed(self.uri) as packed, packed.open("flow.npy") as member:
            _header(member, 4)
            for _ in range(self.frames - 1):
                yield _numbers(member, (self.height, self.width, 2))


class _packed:
    """An open `.npz`; whatever is wrong with it is a DataError that names it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> zipfile.ZipFile:
        system, path = storage.filesystem(self._uri)
        with storage.told(self._uri, "read"):
            self._file = system.open_input_file(path)
        try:
            return zipfile.ZipFile(self._file)
        except BAD_FILE as error:
            self._file.close()
            raise DataError(f"{self._uri}: no truth of a film: {error}") from error

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._file.close()
        if isinstance(error, BAD_FILE):
            raise DataError(f"{self._uri}: no truth of a film: {error}") from error


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a clock: equal films have equal bytes."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _write_header(member: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _header(member: IO[bytes], axes: int) -> tuple[int, ...]:
    """The shape that an array of float32 says it has."""
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"an array of version {version}")
    size = int.from_bytes(member.read(2), "little")
    if size > LONGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")
    head = io.BytesIO(size.to_bytes(2, "little") + member.read(size))
    shape, fortran, kind = np.lib.format.read_array_header_1_0(head, max_header_size=LONGEST_HEADER)
    if fortran or kind != np.dtype("<f4") or len(shape) != axes or min(shape, default=0) < 0:
        raise ValueError(f"an array {kind} of shape {list(shape)}")
    return tuple(shape)


def _numbers(member: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    size = 4 * int(np.prod(shape))
    content = member.read(size)
    if len(content) < size:
        raise EOFError("it ends before its last number")
    return np.frombuffer(content, "<f4").reshape(shape)
