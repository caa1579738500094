"""Photographs to a trained run on a Ray of this process's own, tracked: python tracked_line.py FOLDER

FOLDER/photos, workspace and run are made; MLflow is the environment's.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from anchorface.cli.app import INTERRUPTED
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.records import Interrupted
from anchorface.synthetic import write_corpus
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import recipe


def line(folder: str) -> None:
    """Do all of it, in small batches, and train until a signal ends it."""
    photos, workspace = f"{folder}/photos", f"{folder}/workspace"
    write_corpus(photos, identities=9, photos_each=4, seed=5, size=144)
    ingest(photos, workspace, concurrency=1)
    find_faces(workspace, detector="given", crop_size=128, concurrency=0)
    group(workspace, labels=True, splits=(0.7, 0.3, 0.0))
    dataset = shards(workspace, concurrency=0)
    made = recipe("iconface_tiny")
    made = replace(made, positions=20_000, warmup=20, cooldown=40, precision="fp32", checkpoint_every=8, log_every=2,
                   grid_every=0, feed=replace(made.feed, batch=2), validation=replace(made.validation, every=0))
    train(made, dataset, f"{folder}/run", Execution(workers=1, threads=1),
          tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


if __name__ == "__main__":
    try:
        line(sys.argv[1])
    except Interrupted as ended:
        print(ended)
        sys.exit(INTERRUPTED)
