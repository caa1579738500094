"""How long a degradation takes: ms per image, and in units u, OpenCV's JPEG encode and decode of 512 px at quality 85.

    python benchmarks/degradation.py [--images 60] [--image photo.jpg]

One thread. Unit and profiles are measured in turns in the same run, as CPU time, so that other work on the machine
shifts both alike.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from degradation import apply, draw, profiles
from records import rng

SIZES = (512, 128)


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
    units: list[float] = []
    times: dict[tuple[str, int], list[float]] = {(name, size): [] for name in profiles() for size in SIZES}
    for position in range(options.images):
        units.append(milliseconds(lambda: unit(images[512])))
        for (name, size), spent in times.items():
            plan = draw(name, rng(0, "benchmark", position), size)
            spent.append(milliseconds(lambda image=images[size], plan=plan: apply(image, plan)))  # type: ignore[misc]
    u = float(np.mean(units))
    print(f"u = {u:.2f} ms   ({options.images} images, mean CPU time, one thread)")
    print(f"{'profile':<18}" + "".join(f"{size:>9} px       u" for size in SIZES))
    for name in profiles():
        cells = (float(np.mean(times[name, size])) for size in SIZES)
        print(f"{name:<18}" + "".join(f"{value:>9.2f} ms{value / u:>8.2f}" for value in cells))


if __name__ == "__main__":
    main()
