"""How long a degradation takes: ms per image, and in units u, OpenCV's JPEG encode and decode of 512 px at quality 85.

    python benchmarks/degradation.py [--images 60] [--image photo.jpg]

One thread. Everything is measured in turns in the same run, as CPU time, so that other work on the machine shifts all
alike. Per profile, at 512 px:

    plain       the plain reference of the tests on the same plans: floating point, dense kernels, all at full size, as
                public code does it; and how many times longer it takes. A dash: there is no plain form.
    floor       what the plan's codec passes, resizes and noise cost alone, on the very pictures that they get
    over        our time, in floors
    slowest     the costliest of the plans, in u

Then single operations beside the library albumentations, each by the transform of its own that does about the same at
about the same strength, drawing included: ours, the library's, the library's from a plan, and how many times longer
than ours the library takes.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.degradation import Plan, apply, draw, profiles
from anchorface.degradation.operations import FUNCTIONS, compression, noise, resize
from anchorface.degradation.operations.appearance import albumentations, drawn_values, library
from anchorface.degradation.replay import carry_out
from anchorface.records import rng
from tests.degradation import plain

SIZES = (512, 128)
LEVEL = 10 / 255
BESIDE: tuple[tuple[str, dict[str, object], str, dict[str, object]], ...] = (
    ("noise", {"level": 10.0, "seed": 1}, "GaussNoise", {"std_range": [LEVEL, LEVEL]}),
    ("poisson", {"scale": 1.0, "seed": 1}, "ShotNoise", {}),
    ("sensor_noise", {"iso": 800.0, "seed": 1}, "ISONoise", {}),
    ("jpeg", {"quality": 60}, "ImageCompression", {"quality_range": [60, 60]}),
    ("blur", {"sigma_x": 2.0, "sigma_y": 2.0, "angle": 0.0, "kernel": 13}, "GaussianBlur",
     {"sigma_limit": [2, 2], "blur_limit": [13, 13]}),
    ("blur", {"sigma_x": 3.0, "sigma_y": 1.0, "angle": 30.0, "kernel": 21}, "AdvancedBlur",
     {"sigma_x_limit": [3, 3], "sigma_y_limit": [1, 1], "blur_limit": [21, 21]}),
    ("defocus", {"radius": 5.0}, "Defocus", {"radius": [5, 5]}),
    ("motion", {"length": 15.0, "angle": 30.0}, "MotionBlur", {"blur_limit": [15, 15]}),
    ("sinc", {"cutoff": math.pi / 3, "kernel": 15}, "RingingOvershoot",
     {"blur_limit": [15, 15], "cutoff": [math.pi / 3, math.pi / 3]}),
    ("sharpen", {"amount": 0.5, "sigma": 3.0, "kernel": 19, "threshold": 10.0}, "UnsharpMask",
     {"alpha": [0.5, 0.5], "sigma_limit": [3, 3], "blur_limit": [19, 19]}),
    ("hue", {"turn": 20.0}, "HueSaturationValue", {"hue_shift_limit": [10, 10], "sat_shift_limit": [0, 0]}),
    ("contrast", {"factor": 1.2}, "RandomBrightnessContrast", {"contrast_limit": [0.2, 0.2]}),
    ("shift_colour", {"red": 9.0, "green": -4.0, "blue": 2.0}, "RGBShift", {}),
    ("fringe", {"red": 1.004, "blue": 0.997}, "ChromaticAberration", {}),
    ("vignette", {"field_angle": 30.0}, "Illumination", {"mode": "corner"}),
    ("occlude", {"kind": "object", "x": 0.4, "y": 0.6, "size": 50.0, "angle": 0.0, "softness": 0.0, "red": 90.0,
                 "green": 60.0, "blue": 40.0, "seed": 1}, "CoarseDropout", {"num_holes_range": [1, 1]}))
"""Our operation and its numbers, the library's transform and its settings."""
FLOOR = {"sensor_noise", *(operation.__name__ for module in (compression, resize, noise)
                           for operation in module.OPERATIONS)}
"""What no implementation of a plan can leave out."""


def hue_turned(image: np.ndarray, turn: float) -> np.ndarray:
    """Hue as public code turns it, by OpenCV in floating point: the definition in NumPy would be no fair rival."""
    values = cv2.cvtColor(np.clip(image, 0, 255).astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    values[..., 0] = (values[..., 0] + turn) % 360
    return 255 * cv2.cvtColor(values, cv2.COLOR_HSV2RGB)


RIVAL = {**plain.OPERATIONS, "hue": hue_turned}


def scene(size: int) -> np.ndarray:
    """Soft noise at several scales, much like a photograph to a JPEG encoder; uint8 [size, size, 3]."""
    draws = rng(0, "benchmark")
    image = np.zeros((size, size, 3), np.float32)
    for side in (8, 32, 128, 512):
        layer = draws.standard_normal((side, side, 3)).astype(np.float32) * 40 / side**0.3
        image += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
    return (image + 128).clip(0, 255).astype(np.uint8)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def unit(image: np.ndarray) -> None:
    """One u of work."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def floor(image: np.ndarray, plan: Plan) -> float:
    """Milliseconds of the plan's codec passes, resizes and noise, each alone."""
    spent, result = 0.0, image
    for operation in plan.operations:
        work = partial(carry_out, result, operation, plan, image.shape[:2])
        if operation.name in FLOOR:
            spent += milliseconds(work)
        result = work()
    return spent


def has_plain(name: str) -> bool:
    """Whether the plain reference knows every operation that the profile's plans hold."""
    drawn = (draw(name, rng(0, "benchmark", position)) for position in range(100))
    return {operation.name for plan in drawn for operation in plan.operations} <= set(plain.OPERATIONS)


def beside(image: np.ndarray, count: int) -> None:
    """Print what single operations and their counterparts cost."""
    compose, times = library().Compose, defaultdict[tuple[int, str], list[float]](list)
    made = [getattr(library(), name)(**settings, p=1.0) for _, _, name, settings in BESIDE]
    for turn in range(count + 1):
        for place, (ours, values, theirs, settings) in enumerate(BESIDE):
            rival, text = compose([made[place]], seed=turn), json.dumps(settings)
            held = drawn_values(theirs, text, turn, image.shape[:2])
            for kind, work in (("ours", partial(FUNCTIONS[ours], image, **values)),
                               ("theirs", partial(rival, image=image)),
                               ("plan", partial(albumentations, image, transform=theirs, settings=text, **held))):
                spent = milliseconds(work)
                if turn:  # The first makes tables.
                    times[place, kind].append(spent)
    print(f"{'operation':<14}{'ours':>9}  {'albumentations':<26}{'theirs':>9}{'a plan':>9}{'times':>7}")
    for place, (ours, _, theirs, _) in enumerate(BESIDE):
        mine, other, held = (float(np.mean(times[place, kind])) for kind in ("ours", "theirs", "plan"))
        print(f"{ours:<14}{mine:>6.2f} ms  {theirs:<26}{other:>6.2f} ms{held:>6.2f} ms{other / mine:>7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="images per profile and size")
    parser.add_argument("--image", help="a square photograph instead of the made scene")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    first = cv2.imread(options.image) if options.image else scene(512)
    if first is None:
        parser.error(f"{options.image}: not a readable image")
    images = {size: cv2.resize(first, (size, size), interpolation=cv2.INTER_AREA) for size in SIZES}
    rivals = [name for name in profiles() if has_plain(name)]
    units: list[float] = []
    times: dict[tuple[str, int | str], list[float]] = defaultdict(list)
    for name in profiles():  # Tables that are made once per process.
        for size, image in images.items():
            apply(image, draw(name, rng(1, "benchmark"), size))
    for position in range(options.images):
        for name in profiles():
            plans = {size: draw(name, rng(0, "benchmark", position), size) for size in SIZES}
            units.append(milliseconds(partial(unit, images[512])))
            for size in SIZES:
                times[name, size].append(milliseconds(partial(apply, images[size], plans[size])))
            times[name, "floor"].append(floor(images[512], plans[512]))
            if name in rivals:
                times[name, "plain"].append(milliseconds(partial(plain.apply, images[512], plans[512], RIVAL)))
    u = float(np.mean(units))
    print(f"u = {u:.2f} ms   ({options.images} images, mean CPU time, one thread)")
    print(f"{'profile':<18}{'512 px':>11}{'u':>7}{'slowest':>9}{'floor u':>9}{'over':>6}{'plain u':>9}{'times':>7}"
          f"{'128 px':>11}{'u':>7}")
    for name in profiles():
        ours, small, least = (float(np.mean(times[name, key])) for key in (512, 128, "floor"))
        rival = float(np.mean(times[name, "plain"])) if name in rivals else None
        beside = f"{'-':>9}{'-':>7}" if rival is None else f"{rival / u:>9.1f}{rival / ours:>7.1f}"
        print(f"{name:<18}{ours:>8.2f} ms{ours / u:>7.2f}{max(times[name, 512]) / u:>9.1f}{least / u:>9.2f}"
              f"{ours / least:>6.1f}{beside}{small:>8.2f} ms{small / u:>7.2f}")
    print()
    beside(images[512], options.images)


if __name__ == "__main__":
    main()
