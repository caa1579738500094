"""Train one of the carried networks and write it with its model card.

    python -m anchorface.training.small_networks autoencoder --corpus runs/carried/corpus --photos ../shared/data/photos

Two processes of one thread learn faster than one of two (the base alone can be shared):
`torchrun --nproc-per-node 2 -m anchorface.training.small_networks base --threads 1 --corpus runs/carried/corpus`.

The identity network learns from pictures that teachers have looked at; they are made once, `--dlib` naming
the first teacher's file (see `teachers`). With `--sitting M` a process saves and ends after M minutes, and the same
command goes on:

    python -m anchorface.training.small_networks pictures --corpus runs/carried/corpus --dlib <file>
    python -m anchorface.training.small_networks adaface --corpus runs/carried/corpus --sitting 60

The synthetic corpus is written first, for example in folders of 20 identities (see `corpus`):
`synthetic.write_corpus(folder, 20, PHOTOS_EACH, CORPUS_SEED, PHOTO_SIDE, first_identity=k)`.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import distributed

from anchorface.training.small_networks import report
from anchorface.training.small_networks.autoencoder import AutoencoderRecipe
from anchorface.training.small_networks.base import BaseRecipe
from anchorface.training.small_networks.distil import DistilRecipe
from anchorface.training.small_networks.embedder import JudgeRecipe
from anchorface.training.small_networks.face_encoder import FaceEncoderRecipe
from anchorface.training.small_networks.run import begin_again, place

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = {"autoencoder": AutoencoderRecipe, "adaface": DistilRecipe, "judge": JudgeRecipe,
           "face_encoder": FaceEncoderRecipe, "base": BaseRecipe}


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(prog="python -m anchorface.training.small_networks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=(*RECIPES, "pictures"))
    parser.add_argument("--minutes", type=float, help="wall clock at most; the recipe's own if absent")
    parser.add_argument("--steps", type=int, help="steps at most; the recipe's own if absent")
    parser.add_argument("--sitting", type=float, help="minutes after which this process saves and ends")
    parser.add_argument("--dlib", type=Path, help="the first teacher's file, for `pictures`")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of synthetic corpus folders")
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared" / "data" / "photos")
    parser.add_argument("--work", type=Path, default=Path("runs/carried/work"), help="states to go on from, sheets")
    parser.add_argument("--weights", type=Path, default=REPOSITORY / "weights", help="where the networks are written")
    parser.add_argument("--device", default="cpu", help="where networks compute: cpu, cuda")
    parser.add_argument("--makers", type=int, default=0, help="processes that make samples ahead of the training")
    parser.add_argument("--batch", type=int, help="samples of a step; the recipe's own if absent")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--part", type=int, default=0,
                        help="which part of the base's pool, or of the pictures, this process makes")
    parser.add_argument("--parts", type=int, default=1, help="in how many parts processes share them")
    parser.add_argument("--pool-only", action="store_true", help="stop when that part of the pool is made")
    parser.add_argument("--again", action="store_true", help="another cycle from the finished state of the last one")
    parser.add_argument("--report-only", action="store_true", help="measure and save from the state as it is")
    arguments = parser.parse_args()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
        arguments.part, arguments.parts = place()
    cv2.setNumThreads(1)
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    if arguments.network == "pictures":
        report.make_pictures(DistilRecipe(), arguments)
        return
    recipe: Any = RECIPES[arguments.network]()
    asked = {name: getattr(arguments, name) for name in ("minutes", "steps", "sitting", "batch")}
    limits = {name: value for name, value in asked.items() if value is not None}
    recipe = replace(recipe, batch=limits.pop("batch", recipe.batch), budget=replace(recipe.budget, **limits))
    if arguments.again and place()[0] == 0:
        begin_again(arguments.work / f"{getattr(recipe, 'name', arguments.network)}.state.pt")
    report.train_and_save(arguments.network, recipe, arguments)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
