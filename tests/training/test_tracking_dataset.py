"""A training run says which dataset version it saw, in a real MLflow store on SQLite."""

import json
from pathlib import Path

import mlflow
import pytest

from anchorface.pipelines.erasure.runs import tracked_runs
from anchorface.pipelines.feed.dataset import Dataset
from anchorface.records.errors import ConfigurationError
from anchorface.records.manifest import FACE_COLUMNS, Manifest, Shard
from anchorface.training import tracking
from anchorface.training.courier import Courier
from anchorface.training.dataset_input import dataset_values
from anchorface.training.recipes import recipe


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def version(folder: Path, faces: int) -> Dataset:
    shard = Shard(
        path="shards/train-00000.tar", split="train", identities=("p1",), faces=faces, byte_size=1, sha256="0")
    manifest = Manifest(
        shards=(shard,), counts={"train": {"faces": faces, "identities": 1}}, licences={"CC0-1.0": faces},
        consents={"given": faces}, weights={"adaface_small": "1"}, settings={}, faces_sha256="2", parents=("abc",),
        code="0.1.0 ff",
    )
    return Dataset(uri=str(folder), manifest=manifest, table=None)  # its faces are not asked for


def begin(store, folder, dataset, run_id=None):
    begun = tracking.begin(
        recipe("iconface_tiny"), uri=store, experiment="tests", artifacts=folder, run_id=run_id, run_name="run",
        tags={"manifest": dataset.manifest_id}, dataset=dataset, folder=folder)
    assert Courier(folder, begun, uri=store, report=print).step()
    return begun


def test_a_run_has_its_dataset_version_as_input_and_a_resumed_run_has_it_once(store, tmp_path):
    dataset = version(tmp_path, 9)
    begun = begin(store, tmp_path, dataset)
    begin(store, tmp_path, dataset, begun.run_id)
    run = mlflow.MlflowClient(tracking_uri=store).get_run(begun.run_id)
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("anchorface", dataset.manifest_id)
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    profile = json.loads(given.dataset.profile)
    assert profile["faces"] == 9 and profile["parents"] == ["abc"] and profile["splits"] == dataset.manifest.counts
    columns = [column["name"] for column in json.loads(given.dataset.schema)["mlflow_colspec"]]
    assert columns == [*FACE_COLUMNS]
    source = mlflow.data.get_source(given)
    assert Path(source.load()) == tmp_path
    assert json.loads(dataset_values("s3://key:s3cret@bucket/faces", dataset.manifest)["source"]) == {
        "uri": "s3://bucket/faces"}
    assert run.data.tags["manifest"] == dataset.manifest_id


def test_runs_of_two_versions_have_two_inputs(store, tmp_path):
    runs = [begin(store, tmp_path / str(faces), version(tmp_path, faces)) for faces in (3, 4)]
    client = mlflow.MlflowClient(tracking_uri=store)
    digests = [client.get_run(run.run_id).inputs.dataset_inputs[0].dataset.digest for run in runs]
    assert len(set(digests)) == 2


def test_the_runs_of_a_version_are_found_for_an_erasure(store, tmp_path):
    dataset = version(tmp_path, 5)
    begun = begin(store, tmp_path, dataset)
    (found,) = tracked_runs(store, [dataset.manifest_id, "another"])
    assert (found["kind"], found["run_id"], found["manifest"]) == ("mlflow", begun.run_id, dataset.manifest_id)
    assert tracked_runs(store, ["another"]) == []
    with pytest.raises(ConfigurationError, match="no such MLflow store"):
        tracked_runs(f"sqlite:///{tmp_path}/none.db", ["another"])
