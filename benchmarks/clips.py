"""What degrading a clip costs beside its codec passes alone: CPU time, one thread, per profile.

    python benchmarks/clips.py [--clips 12] [--frames 24] [--size 512] [--video clip.mp4] [--profile vfhq ...]

Each clip is degraded as a whole, then its codec passes run alone on the very frames that they had; in turns, so that
other work on the machine shifts all alike, and of several rounds the shortest counts. Ratios are of the sums over all
clips:

    passes            video passes of a plan, on average
    video             encoding and decoding of the video alone, on planes made beforehand
    ours / video      all else over that: turning RGB into planes and back, blur, noise, sizes, and each frame's JPEG
    JPEG              the published JPEG of each frame alone, itself a codec pass: there and back, RGB to RGB
    with JPEG         all else over video and JPEG, where JPEG counts as a pass
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.degradation import codecs
from anchorface.degradation.clip import apply_clip, clip_profiles, draw_clip, stages
from anchorface.degradation.clip_plan import ClipOperation, ClipPlan
from anchorface.degradation.operations import compression
from anchorface.degradation.plan import Operation, Plan
from anchorface.degradation.replay import carried
from anchorface.records import rng


def footage(path: str, count: int, size: int) -> np.ndarray:
    """The first frames of a video, its middle square; uint8 [count, size, size, 3]."""
    frames: list[np.ndarray] = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            height, width = picture.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            frames.append(cv2.resize(picture[top:top + side, left:left + side], (size, size),
                                     interpolation=cv2.INTER_AREA))
            if len(frames) == count:
                return np.stack(frames)
    raise SystemExit(f"{path}: only {len(frames)} frames")


def scene(count: int, size: int) -> np.ndarray:
    """Soft noise at several scales, swaying by a few pixels, with grain; uint8 [count, size, size, 3]."""
    draws = rng(0, "benchmark")
    large = size + 32
    image = np.zeros((large, large, 3), np.float32)
    for side in (8, 32, 128, 512):
        layer = draws.standard_normal((side, side, 3)).astype(np.float32) * 40 / side**0.3
        image += cv2.resize(layer, (large, large), interpolation=cv2.INTER_CUBIC)
    frames = []
    for place in range(count):
        x, y = 16 + 15 * np.sin(place / 5), 16 + 15 * np.cos(place / 7)
        moved = cv2.warpAffine(image, np.array([[1, 0, -x], [0, 1, -y]], np.float32), (size, size))
        frames.append((moved + 128 + draws.standard_normal(moved.shape)).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


Pass = Callable[[], object]


def passes(frames: np.ndarray, plan: ClipPlan) -> tuple[list[Pass], list[Pass]]:
    """The video passes of a plan, each ready to run alone on the planes of the frames that come to it, and each frame's
    JPEG, ready to run alone on the pixels that come to it."""
    video: list[Pass] = []
    pictures: list[Pass] = []
    for stage in stages(list(frames), plan):
        if stage.operation is None:
            for place, frame in enumerate(stage.before):
                pictures += _pictures(frame, tuple(step.at(place) for step in stage.run), plan, frames.shape[1:3])
        elif stage.operation.name == "codec":
            video.append(_ready(stage.operation, stage.before, plan))
    return video, pictures


def _pictures(frame: np.ndarray, steps: tuple[Operation, ...], plan: ClipPlan, shape: tuple[int, int]) -> list[Pass]:
    one = Plan(profile=plan.profile, size=plan.size, operations=steps)
    return [partial(compression.jpeg, carried(frame, steps[:place], one, shape), **step.values)
            for place, step in enumerate(steps) if step.name == "jpeg"]


def _ready(operation: ClipOperation, before: list[np.ndarray], plan: ClipPlan) -> Pass:
    values = {"bit_rate": 0, "quality": -1, "rate": plan.rate, "speed": "medium", "keyframes": 0} | operation.values
    asked = codecs.check_codec(values.pop("codec"))
    lost, corrupt, seed = (values.pop(key, 0) for key in ("lost", "corrupt", "seed"))
    height, width = before[0].shape[:2]
    planes = [codecs.to_planes(cv2.resize(one, (width, height)), asked.smallest) for one in before]

    def run() -> object:
        packets = codecs.encode(planes, asked, live=bool(lost or corrupt), **values)
        if lost or corrupt:
            packets = codecs.damage(packets, lost, corrupt, seed, asked.conceals)
        return codecs.decode(packets, asked, planes[0].shape, len(planes))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="clips per profile")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=512, help="px")
    parser.add_argument("--video", help="real footage instead of the made scene")
    parser.add_argument("--profile", nargs="*", default=clip_profiles(), choices=clip_profiles())
    parser.add_argument("--rounds", type=int, default=3, help="of each clip")
    parser.add_argument("--each", action="store_true", help="a line per clip")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = (footage(options.video, options.frames, options.size) if options.video
              else scene(options.frames, options.size))
    print(f"{options.clips} clips of {options.frames} frames at {options.size} px; CPU time per clip, one thread")
    print(f"{'profile':<18}{'passes':>8}{'whole':>12}{'video':>12}{'ours / video':>14}{'JPEG':>11}{'with JPEG':>11}"
          f"{'draw':>10}")
    for name in options.profile:
        whole, video, pictures, drawn, count = [], [], [], [], 0
        for position in range(options.clips):
            start = time.process_time()
            plan = draw_clip(name, rng(0, "benchmark", position), options.frames, options.size)
            drawn.append(time.process_time() - start)
            coded, stored = passes(frames, plan)
            count += len(coded)
            one, two, three = [], [], []
            for _ in range(options.rounds):
                one.append(seconds(partial(apply_clip, frames, plan)))
                two.append(sum(map(seconds, coded)))
                three.append(seconds(lambda stored=stored: [run() for run in stored]))  # type: ignore[misc]
            whole.append(min(one))
            video.append(min(two))
            pictures.append(min(three))
            if options.each:
                print(f"  {whole[-1] * 1e3:8.0f} ms, video {video[-1] * 1e3:8.0f} ms, "
                      f"{whole[-1] / video[-1] - 1:6.2f}  {[step.name for step in plan.operations]}")
        both = sum(video) + sum(pictures)
        print(f"{name:<18}{count / options.clips:>8.1f}{np.mean(whole) * 1e3:>9.0f} ms{np.mean(video) * 1e3:>9.0f} ms"
              f"{sum(whole) / sum(video) - 1:>14.2f}{np.mean(pictures) * 1e3:>8.0f} ms{sum(whole) / both - 1:>11.2f}"
              f"{np.mean(drawn) * 1e3:>7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
