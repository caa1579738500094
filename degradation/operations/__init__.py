"""Everything a Plan can ask for: pure functions, uint8 [H, W, 3] RGB in, uint8 [h, w, 3] RGB out.

Each takes the image, then its parameters by name; a Plan holds them. Images stay 8-bit between operations, rounded
after each (our choice: the step after it is at least as coarse). A module lists its functions in OPERATIONS, and in
WORDS how each is said: a template over its parameters, or a function of them.
"""

from collections.abc import Callable

import numpy as np

from anchorface.degradation.operations import (
    appearance,
    blur,
    colour,
    compression,
    noise,
    occlusion,
    old_print,
    optics,
    resize,
    scene,
    screen,
    sensor,
    sharpen,
    surveillance,
    wear,
)

MODULES = (blur, resize, noise, compression, colour, sharpen, scene, optics, sensor, old_print, wear, screen,
           surveillance, occlusion, appearance)

FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for module in MODULES for function in module.OPERATIONS}

WORDS: dict[str, str | Callable[..., str]] = {name: said for module in MODULES for name, said in module.WORDS.items()}
