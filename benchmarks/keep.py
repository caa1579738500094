"""Is a good picture ever made worse? A checkpoint's default restoration of lightly damaged faces against its input.

    python benchmarks/keep.py CHECKPOINT DATASET [--judge judge_small] [--count 48]

Held-out faces of a dataset version, undamaged, made smaller and larger again, and damaged by profiles from light to
severe, are restored with three references as `restore` does it: with the share of the input that the checkpoint's ramp
keeps (models.keep). Beside it stands what is restored when nothing is kept. Values are means with 95 % intervals,
persons drawn with replacement; differences to the input are paired, picture by picture.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.degradation import apply, draw
from anchorface.evaluation import bootstrap, freeze, psnr
from anchorface.evaluation.cases import Case, cases
from anchorface.faces.embed import Embedder, embedder
from anchorface.faces.likeness import judge_crop
from anchorface.records import rng
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Reference, Restorer, SamplerSettings

Images = NDArray[np.uint8]
AT_ONCE = 8


def smaller(times: float) -> Callable[[Images, int], Images]:
    """A picture made so many times smaller, and as large as before again."""
    def made(image: Images, number: int) -> Images:
        side = round(len(image) / times)
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    return made


def by(profile: str) -> Callable[[Images, int], Images]:
    """A picture damaged by a profile."""
    return lambda image, number: apply(image, draw(profile, rng(3, f"keep {profile}", number), len(image)))


DAMAGES: dict[str, Callable[[Images, int], Images]] = {
    "none": lambda image, number: image, "resized by 1.5": smaller(1.5), "resized by 2": smaller(2),
    "resized by 4": smaller(4), "refldm-moderate": by("refldm-moderate"), "gfpgan": by("gfpgan"),
    "refldm-severe": by("refldm-severe"),
}


def shown(case: Case) -> list[Reference]:
    """A case's references, as a restorer takes them."""
    return [Reference(image=one.image, landmarks=one.landmarks) for one in case.references()]


def units(judge: Embedder, images: Sequence[Images], of: Sequence[Case]) -> NDArray[np.float32]:
    """How a judge sees pictures of some cases' targets: unit embeddings [N, D]."""
    return judge.embed(np.stack([judge_crop(image, case.target.landmarks)
                                 for image, case in zip(images, of, strict=True)]))[0]


def restored(restorer: Restorer, part: Sequence[Case], degraded: Images, keep: float | None) -> Images:
    """uint8 [N, S, S, 3]: what a checkpoint makes of faces, with their references."""
    return restorer.restore_aligned(
        degraded, [shown(case) for case in part],
        landmarks=np.stack([case.target.landmarks for case in part]), seeds=[case.row.seed for case in part],
        settings=SamplerSettings(precision="bf16", keep=keep))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("dataset", help="a dataset version; its split `test` is shown")
    parser.add_argument("--judge", default="judge_small")
    parser.add_argument("--count", type=int, default=48, help="pictures of each damage")
    options = parser.parse_args()
    restorer, judge = Restorer(options.checkpoint), embedder(options.judge)
    version = DatasetVersion.open(options.dataset)
    protocol = freeze(version, judge=options.judge, size=restorer.size, count=options.count)
    held = list(cases(version, protocol))
    targets = np.stack([case.target.image for case in held])
    who = [case.row.identity for case in held]

    truth = units(judge, targets, held)
    measures: list[tuple[int, Callable[[Images], NDArray[Any]]]] = [  # each with its digits
        (3, lambda images: (units(judge, images, held) * truth).sum(1)), (2, lambda images: psnr(images, targets))]
    print(f"{options.checkpoint}: ramp {restorer.keep}\n{len(held)} pictures of {len(set(who))} people of "
          f"{version.uri}, judge {options.judge}\n")
    print("| damage | likeness of the input | restored, nothing kept | as by default | PSNR of the input | restored, "
          "nothing kept | as by default |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name, damage in DAMAGES.items():
        degraded = np.stack([damage(image, number) for number, image in enumerate(targets)])
        made = {keep: np.concatenate([
            restored(restorer, held[start : start + AT_ONCE], degraded[start : start + AT_ONCE], keep)
            for start in range(0, len(held), AT_ONCE)]) for keep in (0.0, None)}
        cells = [name]
        for digits, of in measures:
            before = of(degraded)
            cells.append(f"{before.mean():.{digits}f}")
            for images in made.values():
                found = bootstrap(of(images) - before, who)
                assert found is not None
                cells.append(f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
