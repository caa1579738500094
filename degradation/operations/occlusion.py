"""Things before the face and marks upon the picture. Images: uint8 [H, W, 3].

Places are shares of the picture's width and height, lengths px. Shapes come from a few numbers and a seed's words.
"""

import math

import cv2
import numpy as np

from anchorface.degradation.light import by_strips, fractions, paint, smooth_field, within
from anchorface.records.errors import DataError

_BITS = 4
_FINGERS = ((-0.66, 1.05), (-0.22, 1.3), (0.22, 1.22), (0.66, 0.92))
"""Place across the palm and length of each finger, in palm widths from its middle; the thumb is set apart."""
SEGMENTS = {"0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc", "5": "afgcd", "6": "afgedc", "7": "abc",
            "8": "abcdefg", "9": "abcdfg", "-": "g", "'": "f", " ": ""}
_STROKES = {"a": ((0, 0), (1, 0)), "b": ((1, 0), (1, 1)), "c": ((1, 1), (1, 2)), "d": ((0, 2), (1, 2)),
            "e": ((0, 1), (0, 2)), "f": ((0, 0), (0, 1)), "g": ((0, 1), (1, 1))}


def occlude(image: np.ndarray, *, kind: str, x: float, y: float, size: float, angle: float, softness: float,
            red: float, green: float, blue: float, seed: int) -> np.ndarray:
    """Something before the face: a smooth thing or a hand, one colour, rounded by shade.

    Args:
        image: uint8 [H, W, 3].
        kind: object or hand.
        x, y: its middle (of the palm), -2 to 3.
        size: mean radius of the object, half the width of the palm, px, 0.5 to 10,000.
        angle: where the object's first bulge or the hand's fingers point, degrees, clockwise from the x axis.
        softness: standard deviation of the blurred edge, px, 0 to 100.
        red, green, blue: its colour in full light, levels.
        seed: of the shape.

    Raises:
        DataError: an impossible number or kind.
    """
    for field, value in (("x", x), ("y", y)):
        within(f"occlude.{field}", value, -2, 3)
    within("occlude.size", size, 0.5, 10000, "px")
    within("occlude.angle", angle, -360, 360, "degrees")
    within("occlude.softness", softness, 0, 100, "px")
    for field, value in (("red", red), ("green", green), ("blue", blue)):
        within(f"occlude.{field}", value, 0, 255)
    height, width = image.shape[:2]
    middle = np.array([x * width, y * height])
    mask, core = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    if kind == "object":
        _fill(mask, _bulged(middle, size, angle, seed))
        _fill(core, _bulged(middle, size * 0.8, angle, seed))
    elif kind == "hand":
        _hand(mask, core, middle, size, angle, seed)
    else:
        raise DataError(f"occlude.kind is {kind!r}; object or hand")
    if softness > 0.2:
        side = 2 * math.ceil(2.5 * softness) + 1
        mask = cv2.GaussianBlur(mask, (side, side), softness)
    return paint(image, mask, (red, green, blue), shade=_rounded(core, size))


def _bulged(middle: np.ndarray, size: float, angle: float, seed: int) -> np.ndarray:
    """A closed curve, r = size (1 + sum of three waves), float64 [96, 2]."""
    round_it = np.arange(96) * (2 * np.pi / 96)
    radius = np.full(96, 1.0)
    for wave, (amount, phase) in enumerate(fractions(seed, 3, 2), start=2):
        radius += 0.5 * amount / wave * np.cos(wave * round_it + (0 if wave == 2 else 2 * np.pi * phase))
    turned = round_it + math.radians(angle)
    return middle + size * (radius * np.stack([np.cos(turned), np.sin(turned)])).T


def _hand(mask: np.ndarray, core: np.ndarray, middle: np.ndarray, size: float, angle: float, seed: int) -> None:
    turn = math.radians(angle)
    ahead, aside = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    chances = fractions(seed, 6)
    thumb = 1 if chances[0] < 0.5 else -1
    spread = 0.25 * chances[1]
    lines = []
    for (place, long), chance in zip(_FINGERS, chances[2:], strict=True):
        root = middle + size * (0.5 * ahead + place * aside)
        lean = ahead + (spread * place * 2) * aside
        lines.append((root, root + size * (long * 1.25 + 0.2 * chance) * lean, 0.4))
    root = middle + size * (-0.5 * ahead + 0.8 * thumb * aside)
    lines.append((root, root + size * (0.75 * ahead + 0.75 * thumb * aside), 0.46))
    palm = middle + size * np.array([-1.0 * ahead - 0.72 * aside, 0.72 * ahead - 0.92 * aside,
                                     0.72 * ahead + 0.92 * aside, -1.0 * ahead + 0.72 * aside])
    wrist = (middle - 0.9 * size * ahead, middle - 4 * size * ahead, 1.35)
    for canvas, share in ((mask, 1.0), (core, 0.62)):
        for start, end, thick in (*lines, wrist):
            cv2.line(canvas, *(tuple(np.rint(point * 2**_BITS).astype(int).tolist()) for point in (start, end)), 255,
                     max(1, round(size * thick * share)), cv2.LINE_AA, _BITS)
        _fill(canvas, middle + (palm - middle) * (1 if share == 1 else 0.8))


def _fill(canvas: np.ndarray, outline: np.ndarray) -> None:
    cv2.fillPoly(canvas, [np.rint(outline * 2**_BITS).astype(np.int32)], 255, cv2.LINE_AA, _BITS)


def _rounded(core: np.ndarray, size: float) -> np.ndarray:
    """Shade 0.55 at the rim to 1 inside: the core, blurred coarsely; float32 [H, W]."""
    height, width = core.shape
    step = max(1, round(size / 12))
    small = cv2.resize(core, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (7, 7), 1.8)
    return 0.55 + cv2.resize(small, (width, height)).astype(np.float32) * np.float32(0.45 / 255)


def stamp(image: np.ndarray, *, kind: str, x: float, y: float, radius: float, angle: float, strength: float,
          red: float, green: float, blue: float, seed: int) -> np.ndarray:
    """A round rubber stamp, its ink uneven: the ink's colour multiplies the picture, in 8-bit levels.

    Args:
        image: uint8 [H, W, 3].
        kind: ring (two rings with strokes between, as of a frame for text) or rosette (a guilloche).
        x, y: its middle, -2 to 3.
        radius: px, 1 to 10,000.
        angle: degrees.
        strength: of the ink where it is thickest, 0 to 1.
        red, green, blue: of the ink on white, levels.
        seed: of the ink's unevenness and of the figure.

    Raises:
        DataError: an impossible number or kind.
    """
    for field, value in (("x", x), ("y", y)):
        within(f"stamp.{field}", value, -2, 3)
    within("stamp.radius", radius, 1, 10000, "px")
    within("stamp.angle", angle, -360, 360, "degrees")
    within("stamp.strength", strength, 0, 1)
    for field, value in (("red", red), ("green", green), ("blue", blue)):
        within(f"stamp.{field}", value, 0, 255)
    height, width = image.shape[:2]
    middle, chances = np.array([x * width, y * height]), fractions(seed, 3)
    mask = np.zeros((height, width), np.uint8)
    round_it = np.arange(361) * (np.pi / 180)
    start = math.radians(angle)

    def closed(reach: np.ndarray | float, share: float) -> None:
        curve = middle + radius * (reach * np.stack([np.cos(round_it + start), np.sin(round_it + start)])).T
        _stroke(mask, curve, radius * share)

    if kind == "ring":
        closed(1.0, 0.06)
        closed(0.62, 0.03)
        for place in range(count := 18 + int(12 * chances[0])):
            turn = start + 2 * math.pi * place / count
            towards = np.array([math.cos(turn), math.sin(turn)])
            _stroke(mask, np.stack([middle + radius * 0.72 * towards, middle + radius * 0.88 * towards]), radius * 0.07)
    elif kind == "rosette":
        petals = 5 + int(8 * chances[0])
        for place in range(4):
            closed(0.7 + 0.28 * np.cos(petals * round_it + place * np.pi / 2), 0.025)
        closed(1.05, 0.03)
    else:
        raise DataError(f"stamp.kind is {kind!r}; ring or rosette")
    patches = smooth_field(seed, image.shape, max(1.0, radius / 5))

    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        if not cv2.countNonZero(mask[rows]):
            return part
        ink = cv2.multiply(mask[rows], np.clip(0.75 + 0.45 * patches[rows], 0, 1), scale=strength / 255,
                           dtype=cv2.CV_32F)
        return cv2.multiply(part, cv2.merge([1 - ink * np.float32(1 - level / 255) for level in (red, green, blue)]),
                            dtype=cv2.CV_8U)

    return by_strips(image, work)


def _stroke(mask: np.ndarray, line: np.ndarray, width: float) -> None:
    cv2.polylines(mask, [np.rint(line * 2**_BITS).astype(np.int32)], False, 255 * min(1.0, width),
                  max(1, round(width)), cv2.LINE_AA, _BITS)


def date_imprint(image: np.ndarray, *, text: str, height: float, strength: float, red: float, green: float,
                 blue: float) -> np.ndarray:
    """The date that a camera burnt in, seven strokes to a digit, at the lower right.

    Args:
        image: uint8 [H, W, 3].
        text: of digits, blanks, hyphens and apostrophes, 1 to 20 of them.
        height: of a digit, px, 1 to 1,000; it stands 1.5 heights from the edges.
        strength: 0 to 1.
        red, green, blue: its colour, levels.

    Raises:
        DataError: an impossible number, or another sign.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= 20 or not set(text) <= set(SEGMENTS):
        raise DataError(f"date_imprint.text is {text!r}; 1 to 20 digits, blanks, hyphens or apostrophes")
    within("date_imprint.height", height, 1, 1000, "px")
    within("date_imprint.strength", strength, 0, 1)
    for field, value in (("red", red), ("green", green), ("blue", blue)):
        within(f"date_imprint.{field}", value, 0, 255)
    mask = np.zeros(image.shape[:2], np.uint8)
    half = height / 2
    left = image.shape[1] - 1.5 * height - len(text) * 1.6 * half
    top = image.shape[0] - 2.5 * height
    for place, sign in enumerate(text):
        for stroke in SEGMENTS[sign]:
            ends = np.array(_STROKES[stroke]) * half + (left + place * 1.6 * half, top)
            _stroke(mask, ends, height * 0.14)
    glow = cv2.GaussianBlur(mask, (5, 5), 1.0)
    return paint(image, glow, (red, green, blue), strength)


OPERATIONS = (occlude, stamp, date_imprint)
WORDS = {
    "occlude": "partly behind something ({kind}) of {size:.0f} px",
    "stamp": "a stamp ({kind}) of {radius:.0f} px radius",
    "date_imprint": "the date {text} burnt in",
}
