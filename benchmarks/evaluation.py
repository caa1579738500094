"""What judging costs beside the metrics themselves: `python benchmarks/evaluation.py`.

A folder of synthetic faces at 512 px in the layout of `own`, and outputs of another program, are judged with the
metrics that need no weights, PSNR, SSIM, and the carried judge. Printed are the time of the whole evaluation in CPU
seconds, the sum of what the metrics and networks alone take for as many pictures, their ratio, and how many MB of
memory more the second half of the pictures needs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from anchorface.evaluation import evaluate
from anchorface.evaluation.metrics import open_metrics, psnr, ssim
from anchorface.evaluation.metrics.landmarks import DETECTOR
from anchorface.evaluation.sources import ALIGNED
from anchorface.faces.align import ffhq_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.embed import embedder
from anchorface.faces.images import encode_jpeg
from anchorface.faces.weights import survey
from anchorface.synthetic import album, render, seed_of

SIZE = 512
METRICS = ("flip", "niqe")
FACES = 24
"""Different pictures; the rest repeat them under other names, with a pixel changed."""
SHOWN = 2
"""Conditions beside the outputs that are judged: the truth and the input."""


def pictures() -> list[np.ndarray]:
    """Aligned synthetic faces."""
    found = []
    for person in range(FACES):
        one = next(iter(album(seed_of(17, person), 1)))
        shot = render(one.head, one.state, 640)
        found.append(warp(shot.image, ffhq_matrix(shot.landmarks, SIZE), SIZE))
    return found


def write(folder: Path, faces: list[np.ndarray], count: int) -> None:
    """`count` cases with one reference each, and as many outputs."""
    for number in range(count):
        truth, other = faces[number % FACES].copy(), faces[(number + 1) % FACES]
        truth[0, 0] = (number % 256, number // 256, 0)
        for place, picture in (("gt", truth), ("lq", cv2.GaussianBlur(truth, (0, 0), 6)),
                               ("outputs", cv2.GaussianBlur(truth, (0, 0), 2)), (f"references/{number:05d}", other)):
            path = folder / place / (f"{number:05d}.png" if "/" not in place else "0.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])


def alone(faces: list[np.ndarray]) -> float:
    """CPU seconds that the metrics and networks take for one answer in each of the three conditions, the references'
    and the targets' embeddings included, without reading, writing or anything else.
    """
    images, targets = np.stack(faces[:8]), np.stack(faces[1:9])
    crops = np.stack([cv2.resize(face, (112, 112), interpolation=cv2.INTER_AREA) for face in faces[:8]])
    network = embedder("judge_small")
    passes: list[tuple[int, Callable[[], object]]] = [
        (SHOWN + 1, lambda: psnr(images, targets)), (SHOWN + 1, lambda: ssim(images, targets)),
        (SHOWN + 3, lambda: network.embed(crops)),
        (SHOWN + 1, lambda: [encode_jpeg(image, 92) for image in images])]
    for opened in open_metrics(METRICS, SIZE):
        if opened.values is not None:
            passes.append((SHOWN + 1, lambda values=opened.values: values(images, targets)))  # type: ignore[misc]
    if any(found.weight.name == DETECTOR and found.path for found in survey()):
        finder = Detector(DETECTOR)
        passes.append((1, lambda: finder.detect(list(images))))
    total = 0.0
    for times, run in passes:
        run()
        started = time.process_time()
        run()
        total += times * (time.process_time() - started) / len(images)
    return total


def judged(folder: Path, out: Path, count: int) -> tuple[float, int]:
    """CPU seconds of an evaluation of `count` cases, and the most memory that the process held, bytes."""
    started = time.process_time()
    evaluate(None, str(folder), str(out), outputs={"blurred": str(folder / "outputs")}, metrics=METRICS, size=SIZE,
             count=count, landmarks=ALIGNED)
    return time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print the table of the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--one", default="", help="FOLDER OUT COUNT, for the processes that this program starts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if arguments.one:
        folder, out, count = arguments.one.split(",")
        print(json.dumps(judged(Path(folder), Path(out), int(count))))
        return
    faces = pictures()
    with tempfile.TemporaryDirectory() as place:
        folder, half, whole = Path(place) / "own", arguments.pictures // 2, arguments.pictures
        write(folder, faces, whole)
        measured = {}
        for count in (half, whole):
            words = [sys.executable, __file__, "--one", f"{folder},{Path(place) / str(count)},{count}"]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            measured[count] = json.loads(said.splitlines()[-1])
        networks = alone(faces) * whole
        seconds, memory = measured[whole]
        print(f"{whole} pictures of {SIZE} px, three conditions: {seconds:.0f} s CPU; metrics and networks alone "
              f"{networks:.0f} s; ratio {seconds / networks:.2f}")
        print(f"most memory: {memory / 1e6:.0f} MB; {(memory - measured[half][1]) / 1e6:+.0f} MB over half as many")


if __name__ == "__main__":
    main()
