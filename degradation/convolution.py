"""Convolution with any kernel, as cheaply as 8-bit pictures allow. Images: uint8 or float32 [H, W] or [H, W, C].

The border is mirrored about the outermost pixel. Three ways give the dense sum itself: two passes where the kernel is
a column times a row (for bytes in fixed point), the sum written out for few weights, and the Fourier transform. A
kernel that lets hardly any fine detail through is instead carried out between the steps of a pyramid, half as fine or
coarser: against the dense sum on photographs the mean absolute error stays below 0.5 and 99.9 % of all errors below 3
levels.
"""

import math
from functools import lru_cache

import cv2
import numpy as np

from anchorface.degradation.operations.resize import resize
from anchorface.records.errors import DataError

MIRRORED = cv2.BORDER_REFLECT_101
DIRECT_AREA = 121
"""Up to so many weights the written-out sum is the cheapest way."""
SEPARABLE_SIDE = 21
"""Up to so many weights a side, two passes cost no more than a pyramid."""
SMALL_AREA = 192 * 192
"""Up to so many pixels a pyramid costs more than it saves."""
TRIMMED = 2e-3
"""Share of a kernel's weight that may be cut off at its rim: half a level at a step from black to white."""
DETAIL = 0.5
"""Levels (root mean square) of a photograph's fine detail that a kernel may let through and still go half as fine."""
FINE = 0.2
"""Where fine detail begins, cycles per pixel; a picture half as fine ends at 0.25."""
CONTRAST = 60.0
"""Standard deviation of a photograph, levels; its power falls with the square of the frequency."""
_SIDE = (1.0228, -1.6515, -0.8188, 0.8422, 0.3129, -0.3503, -0.0169, 0.0490)
HALVING = np.array([*_SIDE[::-1], 3.2212, *_SIDE], np.float32)
"""Filters a kernel before every other weight is taken, so that the way through a step of the pyramid comes nearest.

Least squares over Gaussians of 1.2 to 9 px on a photograph's power, in one dimension: with the kernel's response H, the
filtered and halved one C and the response G(f) = cos(pi f)^4 of both `pyrDown` and `pyrUp`, the error is H - G C G, and
what folds over at f + 1/2. Even and odd taps sum to 1 each, so that a plain surface stays as it is.
"""


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The weighted sum around every pixel (correlation: the kernel is not turned round).

    Args:
        image: uint8 or float32, [H, W] or [H, W, C], H and W from 1.
        kernel: float [height, width], both odd; sum 1 keeps the brightness.

    Returns:
        Like `image`; uint8 is rounded and clipped.

    Raises:
        DataError: an image or a kernel of another kind.
    """
    kernel, steps = _prepared(image, kernel)
    return _convolved(image, kernel, steps)


def convolve_and_shrink(image: np.ndarray, kernel: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """`convolve` and then a bilinear resize, without work on pixels that the resize would throw away.

    Args:
        image, kernel: as of `convolve`. height, width: of the result, px.

    Returns:
        Like `image`, [height, width] or [height, width, C].
    """
    kernel, steps = _prepared(image, kernel)
    if steps < 2 or height > image.shape[0] or width > image.shape[1]:
        return resize(_convolved(image, kernel, steps), height=height, width=width)
    # Some steps finer than the blur itself, a straight line between two samples is as good as the dense sum.
    stop = max(1, steps - 2)
    result, skipped = _through_pyramid(image, kernel, steps, stop)
    grain = 2**stop
    down, across = image.shape[0] / height, image.shape[1] / width
    places = np.array([[across / grain, 0, skipped + (across - 1) / 2 / grain],
                       [0, down / grain, skipped + (down - 1) / 2 / grain]])
    result = cv2.warpAffine(result, places, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                            borderMode=cv2.BORDER_REPLICATE)
    return _as_kind(result, image.dtype)


def _convolved(image: np.ndarray, kernel: np.ndarray, steps: int) -> np.ndarray:
    if not steps:
        return dense_sum(image, kernel)
    height, width = image.shape[:2]
    result, skipped = _through_pyramid(image, kernel, steps, 0)
    result = result[skipped:skipped + height, skipped:skipped + width]
    return np.ascontiguousarray(_as_kind(result, image.dtype))


def dense_sum(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The convolution with nothing left out, in the cheapest way; arguments as of `convolve`, the kernel float32."""
    if kernel.size == 1 and abs(kernel[0, 0] - 1) < 1e-5:
        return image
    passes = two_passes(kernel)
    if passes is not None:
        return cv2.sepFilter2D(image, -1, passes[1], passes[0], borderType=MIRRORED)
    if kernel.size <= DIRECT_AREA:
        # OpenCV sums floating-point pictures in half the time that it needs for bytes.
        return _as_kind(cv2.filter2D(image.astype(np.float32, copy=False), cv2.CV_32F, kernel, borderType=MIRRORED),
                        image.dtype)
    return _by_transform(image, kernel)


def two_passes(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The column and the row whose product is this kernel, float32; None if there are none."""
    column, row = kernel.sum(1, dtype=np.float64), kernel.sum(0, dtype=np.float64)
    total, largest = column.sum(), float(np.abs(kernel).max())
    if abs(total) < 1e-3 or np.abs(np.outer(column, row / total) - kernel).max() > 1e-6 + 1e-5 * largest:
        return None
    # Passes that are symmetric to the last bit take OpenCV half the time.
    column, row = (((side + side[::-1]) / 2 if np.abs(side - side[::-1]).max() <= 1e-6 else side)
                   for side in (column, row / total))
    return column.astype(np.float32), row.astype(np.float32)


def trimmed(kernel: np.ndarray) -> np.ndarray:
    """The kernel without rims of next to no weight; what is left has the same sum."""
    weights, total = np.abs(kernel), float(kernel.sum())
    margins = []
    for side in (weights.sum(1), weights.sum(0)):
        half = len(side) // 2
        inwards = np.cumsum(side[:half] + side[:half:-1])
        margins.append(int(np.searchsorted(inwards, TRIMMED / 2 * side.sum(), side="right")))
    (top, left), (height, width) = margins, kernel.shape
    kept = kernel[top:height - top, left:width - left]
    rest = float(kept.sum())
    return kept * (total / rest) if rest else kept


def pyramid_steps(kernel: np.ndarray, shape: tuple[int, ...]) -> int:
    """How many halvings of a picture of this shape leave all detail that the kernel lets through; 0 where none pays."""
    longest = max(kernel.shape)
    if longest <= 7 or shape[0] * shape[1] <= SMALL_AREA:
        return 0
    if longest <= SEPARABLE_SIDE and two_passes(kernel) is not None:
        return 0
    side = max(64, 1 << (longest - 1).bit_length())
    field = np.zeros((side, side), np.float32)
    field[:kernel.shape[0], :kernel.shape[1]] = kernel
    spectrum = cv2.dft(field, flags=cv2.DFT_COMPLEX_OUTPUT)
    power = np.square(spectrum).sum(2)
    steps = 0
    while longest >> steps > 4 and float(np.vdot(_fine_detail(side, steps), power)) <= DETAIL**2:
        steps += 1
    return steps


@lru_cache
def _fine_detail(side: int, steps: int) -> np.ndarray:
    """Power of a photograph at each frequency beyond what `steps` + 1 halvings keep, float32 [side, side]."""
    frequency = np.abs(np.fft.fftfreq(side))
    square = frequency**2 + frequency[:, None] ** 2
    square[0, 0] = 1.0
    # All power between one cycle per 512 px and the finest, in a plane where it falls with the square, is 1.
    density = 1.0 / (2 * math.pi * math.log(256) * square * side**2)
    fine = np.maximum(frequency, frequency[:, None]) > FINE / 2**steps
    return (CONTRAST**2 * density * fine).astype(np.float32)


def _through_pyramid(image: np.ndarray, kernel: np.ndarray, steps: int, stop: int) -> tuple[np.ndarray, int]:
    """Halve `steps` times, convolve there, double until `stop` halvings are left.

    Returns:
        The picture, uint8 or float32, with some rows and columns too many on every side, and how many at the top and
        on the left; its sample of place i lies on the image's pixel (i - that number) * 2^stop.
    """
    reach, grain, overshoots = max(kernel.shape) // 2, 2**steps, bool((kernel < 0).any())
    for _ in range(steps):
        kernel = _halved(kernel)
    kernel = trimmed(kernel)
    # What the filtered kernel reaches beyond the given one weighs so little that any mirror does.
    beyond = -(-reach // grain) + 2
    height, width = (-(-length // grain) for length in image.shape[:2])
    before = beyond * grain
    small = cv2.copyMakeBorder(image, before, (height + beyond) * grain - image.shape[0], before,
                               (width + beyond) * grain - image.shape[1], MIRRORED)
    for _ in range(steps):
        small = cv2.pyrDown(small)
    if overshoots:
        # What lies beyond black and white at a coarse sample may lie between them at the pixels around it.
        small = small.astype(np.float32, copy=False)
    small = dense_sum(small, kernel)
    skipped = 1
    small = small[beyond - skipped:beyond + height + skipped, beyond - skipped:beyond + width + skipped]
    for _ in range(steps - stop):
        small, skipped = cv2.pyrUp(small), 2 * skipped
    return small, skipped


def _halved(kernel: np.ndarray) -> np.ndarray:
    """The kernel for a picture half as fine, between `pyrDown` and `pyrUp`; float32, odd sides."""
    reach = [-(-(side // 2 + len(HALVING) // 2) // 2) for side in kernel.shape]
    (top, left) = (2 * length - side // 2 for length, side in zip(reach, kernel.shape, strict=True))
    wide = cv2.copyMakeBorder(kernel.astype(np.float32), top, top, left, left, cv2.BORDER_CONSTANT, value=0)
    return np.ascontiguousarray(
        cv2.sepFilter2D(wide, cv2.CV_32F, HALVING, HALVING, borderType=cv2.BORDER_CONSTANT)[::2, ::2])


def _by_transform(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The dense sum by Fourier transforms, one channel at a time."""
    (height, width), (tall, wide) = image.shape[:2], kernel.shape
    rows, columns = cv2.getOptimalDFTSize(height + tall - 1), cv2.getOptimalDFTSize(width + wide - 1)
    top, left = tall // 2, wide // 2
    field = np.zeros((rows, columns), np.float32)
    field[:tall, :wide] = kernel
    response = cv2.dft(field)
    results = []
    for channel in cv2.split(image):
        field = cv2.copyMakeBorder(channel, top, rows - height - top, left, columns - width - left, MIRRORED)
        spectrum = cv2.mulSpectrums(cv2.dft(field.astype(np.float32, copy=False)), response, 0, conjB=True)
        summed = cv2.dft(spectrum, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        results.append(_as_kind(summed[:height, :width], image.dtype))
    return cv2.merge(results) if image.ndim == 3 else results[0]


def _as_kind(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Rounded and clipped where bytes are wanted of floating-point values."""
    if values.dtype == kind:
        return values
    # `cv2.max` would take a picture of one pixel for a colour.
    return cv2.convertScaleAbs(cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO)[1])


def _prepared(image: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """The trimmed kernel, float32, and the steps of the pyramid; kept, as the frames of a clip share a kernel.

    Raises:
        DataError: an image or a kernel of another kind.
    """
    if image.dtype not in (np.uint8, np.float32) or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(f"image: uint8 or float32 [H, W] or [H, W, C] is needed, not {image.dtype} {list(image.shape)}")
    if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape) or not np.isfinite(kernel).all():
        raise DataError(f"kernel: finite weights of odd height and width are needed, not {list(kernel.shape)}")
    weights = np.asarray(kernel, np.float32)
    return _chosen(weights.tobytes(), weights.shape, image.shape[:2])


@lru_cache
def _chosen(weights: bytes, sides: tuple[int, int], shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    kernel = trimmed(np.frombuffer(weights, np.float32).reshape(sides))
    return kernel, pyramid_steps(kernel, shape)
