"""Scratches, dust and folds, placed by the words of a seed. Images: uint8 [H, W, 3].

What one seed places covers the picture evenly, whatever its shape. Shapes thinner than a pixel are drawn a pixel wide
and as much fainter.
"""

import math

import cv2
import numpy as np

from anchorface.degradation.light import centred, fractions, normal_field, paint, scale_light, steps, within

MOST = 2000
"""Most shapes that one operation draws."""
_BITS = 4
"""Binary places after the point in drawn coordinates."""


def scratches(image: np.ndarray, *, count: int, length: float, width: float, angle: float, spread: float,
              level: float, strength: float, seed: int) -> np.ndarray:
    """Scratches: slightly bent lines that fade in and out.

    Args:
        image: uint8 [H, W, 3].
        count: 0 to 2,000.
        length: of the longest, px, 0 to 10,000; the shortest are a fifth.
        width: px, 0 to 100.
        angle, spread: their mean direction against the x axis, and how far it deviates at most, degrees.
        level: of the colour laid bare, 0 (black) to 255 (white).
        strength: of the deepest, 0 to 1.
        seed: of places, directions and depths.

    Raises:
        DataError: an impossible number.
    """
    within("scratches.count", count, 0, MOST)
    within("scratches.length", length, 0, 10000, "px")
    within("scratches.width", width, 0, 100, "px")
    within("scratches.angle", angle, -360, 360, "degrees")
    within("scratches.spread", spread, 0, 180, "degrees")
    within("scratches.level", level, 0, 255)
    within("scratches.strength", strength, 0, 1)
    height, across = image.shape[:2]
    chances = fractions(seed, max(int(count), 1), 6)[:int(count)]
    mask = np.zeros((height, across), np.uint8)
    steps = np.linspace(-0.5, 0.5, 9)
    for x, y, long, turn, bend, depth in chances:
        reach = length * (0.2 + 0.8 * long**2)
        towards = math.radians(angle + spread * (2 * turn - 1))
        along, aside = steps * reach, (4 * steps**2 - 1) * reach * 0.15 * (2 * bend - 1)
        line = np.stack([x * across + along * math.cos(towards) - aside * math.sin(towards),
                         y * height + along * math.sin(towards) + aside * math.cos(towards)], axis=1)
        _draw(mask, line, width, 0.3 + 0.7 * depth)
    # Each scratch is deeper here and shallower there.
    depth = 1 + 0.35 * normal_field(seed, -(-height // 8) + 1, -(-across // 8) + 1)
    uneven = cv2.resize(np.rint(np.clip(depth, 0, 1) * 255).astype(np.uint8), (across, height))
    return paint(image, cv2.multiply(mask, uneven, scale=1 / 255), (level, level, level), strength)


def _draw(mask: np.ndarray, line: np.ndarray, width: float, strength: float) -> None:
    points = np.rint(line * 2**_BITS).astype(np.int32)
    cv2.polylines(mask, [points], False, 255 * strength * min(1.0, width), max(1, round(width)), cv2.LINE_AA, _BITS)


def dust(image: np.ndarray, *, count: int, size: float, level: float, strength: float, seed: int) -> np.ndarray:
    """Specks, and among every five of them one bent fibre.

    Args:
        image: uint8 [H, W, 3].
        count: 0 to 2,000.
        size: radius of the largest speck, px, 0 to 1,000; most are much smaller. A fibre is six times as long.
        level: of the dust: 255 white (on a negative: printed white), 0 black (on the scanner's glass).
        strength: 0 to 1.
        seed: of places and shapes.

    Raises:
        DataError: an impossible number.
    """
    within("dust.count", count, 0, MOST)
    within("dust.size", size, 0, 1000, "px")
    within("dust.level", level, 0, 255)
    within("dust.strength", strength, 0, 1)
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for place, (x, y, large, flat, turn, depth) in enumerate(fractions(seed, max(int(count), 1), 6)[:int(count)]):
        radius = size * (0.15 + 0.85 * large**3)
        if place % 5 == 4:
            start = 360 * depth
            arc = np.radians(np.linspace(start, start + 60 + 200 * flat, 10))
            line = np.stack([x * width + 2 * size * np.cos(arc), y * height + 2 * size * np.sin(arc)], axis=1)
            _draw(mask, line, size * 0.35, 1.0)
            continue
        axes = (radius, radius * (0.4 + 0.6 * flat))
        shown = [round(max(axis, 0.5) * 2**_BITS) for axis in axes]
        faint = min(1.0, 2 * axes[0]) * min(1.0, 2 * axes[1])
        cv2.ellipse(mask, (round(x * width * 2**_BITS), round(y * height * 2**_BITS)), (shown[0], shown[1]),
                    180 * turn, 0, 360, 255 * (0.5 + 0.5 * depth) * faint, -1, cv2.LINE_AA, _BITS)
    return paint(image, mask, (level, level, level), strength)


def fold(image: np.ndarray, *, position: float, angle: float, width: float, spread: float, strength: float,
         seed: int) -> np.ndarray:
    """A crease: the surface bends towards the light on one side and away on the other, and has cracked along the line.

    Args:
        image: uint8 [H, W, 3].
        position: of the crease from the middle of the picture, in half heights, -1 to 1.
        angle: of the crease against the x axis, degrees.
        width: of the crack, px, 0 to 100.
        spread: px over which the bend's light and shade fall to a third, 0.1 to 1,000.
        strength: of light and shade as a share of the light, and of the crack's white, 0 to 1.
        seed: of the crack's wandering and gaps.

    Raises:
        DataError: an impossible number.
    """
    within("fold.position", position, -1, 1)
    within("fold.angle", angle, -360, 360, "degrees")
    within("fold.width", width, 0, 100, "px")
    within("fold.spread", spread, 0.1, 1000, "px")
    within("fold.strength", strength, 0, 1)
    height, across = image.shape[:2]
    turn = math.radians(angle)
    x, y = centred(across), centred(height)
    across_it = (x * -math.sin(turn)).astype(np.float32)
    down_it = (y * math.cos(turn) - position * height / 2).astype(np.float32)
    # 128 is the crease and 32 steps a `spread`.
    away = (np.arange(256) - 128) / 32
    shade = 1 + 0.5 * strength * np.sign(away) * np.exp(-np.abs(away))
    shade[[0, 255]] = 1.0
    table = shade.astype(np.float32)[None]

    def gain(rows: slice) -> np.ndarray:
        return cv2.LUT(steps(across_it[None] + down_it[rows, None], 32 / spread, 128), table)

    result = scale_light(image, gain)
    mask = np.zeros((height, across), np.uint8)
    middle = np.array([(across - 1) / 2, (height - 1) / 2])
    ahead, aside = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    reach = math.hypot(across, height) / 2
    wander = fractions(seed, 65, 2)
    line = (middle + np.linspace(-reach, reach, 65)[:, None] * ahead
            + (position * height / 2 + (wander[:, :1] - 0.5) * (width + 1)) * aside)
    for place in range(64):
        _draw(mask, line[place:place + 2], width * (0.4 + 0.8 * wander[place, 1]), 0.35 + 0.65 * wander[place, 1])
    return paint(result, mask, (238, 234, 224), strength)


OPERATIONS = (scratches, dust, fold)
WORDS = {
    "scratches": "{count} scratches up to {length:.0f} px long",
    "dust": "{count} specks of dust up to {size:.1f} px",
    "fold": "a fold at {angle:.0f} degrees",
}
