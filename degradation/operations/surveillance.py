"""What old video equipment does. Images: uint8 [H, W, 3]."""

import cv2
import numpy as np

from anchorface.degradation.light import fractions, within


def interlace(image: np.ndarray, *, offset: float) -> np.ndarray:
    """Two half pictures taken one after the other: odd rows (1, 3, ...) have moved to the right.

    Args:
        image: uint8 [H, W, 3].
        offset: of the odd rows, px, -200 to 200, between pixels by straight lines; the border is drawn out.

    Raises:
        DataError: an impossible offset.
    """
    within("interlace.offset", offset, -200, 200, "px")
    result = image.copy()
    width = image.shape[1]
    places = np.clip(np.arange(width) - offset, 0, width - 1)
    left = np.floor(places).astype(np.int64)
    share = (places - left)[None, :, None].astype(np.float32)
    rows = image[1::2]
    moved = rows[:, left] * (1 - share) + rows[:, np.minimum(left + 1, width - 1)] * share
    result[1::2] = np.rint(moved).astype(np.uint8)
    return result


def bit_depth(image: np.ndarray, *, bits: int) -> np.ndarray:
    """Few levels: each channel to the nearest of 2^bits even ones, black and white among them.

    Args:
        image: uint8 [H, W, 3].
        bits: 1 to 8.

    Raises:
        DataError: an impossible number.
    """
    within("bit_depth.bits", bits, 1, 8)
    steps = 2 ** int(bits) - 1
    table = np.rint(np.rint(np.arange(256) * (steps / 255)) * (255 / steps)).astype(np.uint8)
    return cv2.LUT(image, table[None])


def blocks(image: np.ndarray, *, block: float, share: float, seed: int) -> np.ndarray:
    """Blocks of which nothing but the mean is left, as where a video coder ran out of bits.

    Args:
        image: uint8 [H, W, 3].
        block: its side, px, 1 to 512, rounded.
        share: of the blocks that are hit, 0 to 1; which, the seed's words say.

    Raises:
        DataError: an impossible number.
    """
    within("blocks.block", block, 1, 512, "px")
    within("blocks.share", share, 0, 1)
    height, width = image.shape[:2]
    step = max(1, round(block))
    down, across = -(-height // step), -(-width // step)
    whole = cv2.copyMakeBorder(image, 0, down * step - height, 0, across * step - width, cv2.BORDER_REPLICATE)
    means = cv2.resize(whole, (across, down), interpolation=cv2.INTER_AREA)
    hit = (fractions(seed, down, across) < share).astype(np.uint8)
    mask = cv2.resize(hit, (across * step, down * step), interpolation=cv2.INTER_NEAREST_EXACT)
    flat = cv2.resize(means, (across * step, down * step), interpolation=cv2.INTER_NEAREST_EXACT)
    cv2.copyTo(flat, mask, whole)
    return np.ascontiguousarray(whole[:height, :width])


OPERATIONS = (interlace, bit_depth, blocks)
WORDS = {
    "interlace": "interlaced, fields {offset:+z.1f} px apart",
    "bit_depth": "{bits} bits per channel",
    "blocks": "{share:.0%} of blocks of {block:.0f} px reduced to their mean",
}
