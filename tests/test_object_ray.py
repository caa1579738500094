"""A run of Ray Train whose dataset, run folder and Ray's own state stand in a bucket."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchorface.records import storage
from anchorface.synthetic import write_corpus
from tests.conftest import ROOT
from tests.object_store import SECRET

RUN = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[2])
from anchorface.models.checkpoint import load_adapters, read_description
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.cluster import connect
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from tests.training.micro import micro

def weights(checkpoint):
    state = load_adapters(f"{checkpoint}/ema.safetensors", read_description(checkpoint))
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()

if __name__ == "__main__":
    there = sys.argv[1]
    connect(num_cpus=2)
    ingest(f"{there}/photos", f"{there}/work")
    find_faces(f"{there}/work", detector="given", crop_size=128)
    group(f"{there}/work", labels=True, splits=(0.5, 0.5, 0.0))
    dataset = shards(f"{there}/work")
    runs = {name: train(micro(), dataset, f"{there}/{name}", Execution(threads=1, **how), tracking_uri=sys.argv[3])
            for name, how in (("ray", {"workers": 1}), ("here", {"workers": 0, "feed": "inline"}))}
    print(json.dumps({name: weights(checkpoint) for name, checkpoint in runs.items()}))
"""


@pytest.mark.cluster
def test_stages_feed_and_training_on_ray_in_a_bucket_give_the_weights_of_one_process(
    bucket: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tracked = tmp_path_factory.mktemp("tracked")
    write_corpus(f"{bucket}/photos", identities=4, photos_each=4, seed=5, size=144)
    words = [sys.executable, "-c", RUN, bucket, str(ROOT), f"sqlite:///{tracked}/mlflow.db"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ray"] == found["here"]
    assert SECRET not in done.stdout + done.stderr and not list(tmp_path.iterdir())
    for name in storage.list_files(f"{bucket}/ray"):
        assert SECRET.encode() not in storage.read_bytes(name), name
    told = (tracked / "mlflow.db").read_bytes()
    assert f"{bucket}/ray/checkpoints/".encode() in told and SECRET.encode() not in told
