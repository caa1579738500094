"""What a sensor does, in linear light; each as the function of its name in `operations.sensor`."""

import math
from typing import Any

import numpy as np

from anchorface.degradation.batch.light import along, from_light, scaled, to_light
from anchorface.degradation.batch.noise import image_words, normal_quantiles
from anchorface.degradation.batch.stack import Stack, send
from anchorface.degradation.batch.tables import look_up
from anchorface.degradation.light import LIGHT, WHITE


def sensor_noise(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Shot and read noise at a sensitivity."""
    deviations = []
    for one in values:
        electrons = one["full_well"] * 100 / one["iso"]
        deviation = np.sqrt(LIGHT * electrons + one["read_noise"] ** 2) * (WHITE / electrons)
        deviations.append(np.repeat(deviation.astype(np.float32)[:, None], 3, axis=1))
    field = normal_quantiles(stack.device)[image_words(stack, values)].float()
    field *= look_up(stack.pixels, send(np.stack(deviations), stack.device))
    return from_light(stack, field.add_(to_light(stack)))


def banding(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Rows with more and less light by turns."""
    rows = [(1 + one["amplitude"] * np.cos(2 * np.pi * np.arange(height) / one["period"] + math.radians(one["phase"])))
            .astype(np.float32) for (height, _), one in zip(stack.sizes, values, strict=True)]
    return scaled(stack, along(stack, rows, 0))
