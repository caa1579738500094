"""Photographs with a reference each, restored by other means and by us, in one table of `anchorface evaluate`.

    python benchmarks/triples.py --ours NAME=CHECKPOINT [--ours ...] [--judge mobilefacenet_y1_ms1m_112]

RestorerID's samples (shared/data/photos/triples): photographs of 512 px, clean and degraded, and another photograph of
the person. Methods, each a folder of files that the verb is given: the degraded photograph as it is (`input`), the same
at half its size and enlarged again (`enlarged`: area, then bicubic), OpenCV's non-local means (`denoised`, its default
strength for colour), and each checkpoint's `anchorface restore` with the reference (NAME) and without (NAME-alone).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.keep import smaller

ROOT = Path(__file__).resolve().parents[1]
TRIPLES = ROOT.parent / "shared" / "data" / "photos" / "triples"
SIZE = 512
METRICS = ("flip", "niqe", "landmarks")


MEANS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "input": lambda image: image, "enlarged": lambda image: smaller(2)(image, 0),
    "denoised": lambda image: cv2.fastNlMeansDenoisingColored(image, None, 3, 3, 7, 21),
}


def squared(image: np.ndarray) -> np.ndarray:
    """A reference amid black, as the protocol's pictures are squares."""
    side = max(image.shape[:2])
    down, right = (side - length for length in image.shape[:2])
    return cv2.copyMakeBorder(image, down // 2, down - down // 2, right // 2, right - right // 2, cv2.BORDER_CONSTANT)


def written(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def prepared(folder: Path) -> Path:
    """The triples as the protocol `own` has them, and the answers that need no network."""
    for triple in sorted(TRIPLES.iterdir()):
        clean, degraded = (cv2.imread(str(triple / f"{name}.png")) for name in ("gt", "lq"))
        written(folder / "own" / "gt" / f"{triple.name}.png", clean)
        written(folder / "own" / "lq" / f"{triple.name}.png", degraded)
        for reference in triple.glob("ref*.png"):
            written(folder / "own" / "references" / triple.name / reference.name, squared(cv2.imread(str(reference))))
        for name, answer in MEANS.items():
            written(folder / "outputs" / name / f"{triple.name}.png", answer(degraded))
    return folder / "own"


def verb(*words: str) -> None:
    """Run `anchorface` with these words."""
    environment = os.environ | {"PYTHONPATH": str(ROOT.parent), "NO_ALBUMENTATIONS_UPDATE": "1"}
    subprocess.run([sys.executable, "-m", "anchorface", *words], check=True, env=environment)


def main() -> None:
    """Restore, judge, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--judge", default="mobilefacenet_y1_ms1m_112")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "triples")
    options = parser.parse_args()
    own, outputs = prepared(options.folder), options.folder / "outputs"
    methods = list(MEANS)
    for name, checkpoint in (word.split("=", 1) for word in options.ours):
        verb("restore", checkpoint, str(own / "lq"), str(outputs / f"{name}-alone"))
        verb("restore", checkpoint, str(own / "lq"), str(outputs / name), "--references", str(own / "references"))
        methods += [f"{name}-alone", name]
    given = [word for name in methods for word in ("--outputs", f"{name}={outputs / name}")]
    judged = options.folder / "judged"
    verb("evaluate", "none", str(own), str(judged), "--judge", options.judge, "--metrics", ",".join(METRICS),
         "--size", str(SIZE), *given)
    print((judged / "table.md").read_text())


if __name__ == "__main__":
    main()
