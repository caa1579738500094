"""A checkpoint becomes a registered model in a real store, and restores photographs through MLflow's `pyfunc`."""

import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.detect import Detection
from anchorface.faces.weights import find
from anchorface.models.build import build
from anchorface.models.checkpoint import Description, write_adapter, write_description
from anchorface.models.weights import load_backbone
from anchorface.records.addresses import sqlite_address
from anchorface.restoration import Restorer, SamplerSettings, restore_photo
from anchorface.synthetic import album, render, seed_of
from anchorface.training import tracking
from anchorface.training.networks import base_weights
from anchorface.training.recipes import recipe

NAMES = ("step-00000001", "step-00000002")


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["runs", *words], env={"COLUMNS": "400", "NO_COLOR": "1"})
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracked run of the tiny recipe with two checkpoints, the first of them the best; nothing was trained."""
    folder = tmp_path_factory.mktemp("registry") / "runs" / "run #1 50%25 what?"
    made = recipe("iconface_tiny")
    network = build(made.model.system, load_backbone(find("base_tiny"), made.model.backbone))
    for number, name in enumerate(NAMES):
        place = folder / "checkpoints" / name
        write_adapter(place, network.adapter_state())
        write_adapter(place, network.adapter_state(), ema=True)
        write_description(place, Description(
            model=made.model, weights=base_weights(made), embedder=made.embedder, anchor=made.anchor,
            base_precision=made.base_precision, recipe=made.to_dict(), manifest_id="abc", clock=16 * (number + 1),
            extra={"validation": {"validation/flow": 0.5 + number}}))
    uri = sqlite_address(folder.parent / "mlflow.db")
    begun = tracking.begin(made, uri=uri, experiment="tests", artifacts=folder.parent / "artifacts", run_id=None,
                           run_name="run", tags={}, folder=folder)
    (folder / "run.json").write_text(json.dumps({"uri": begun.uri, "run_id": begun.run_id}))
    return folder


def test_a_registered_checkpoint_restores_photographs_through_its_alias(trained: Path) -> None:
    status, text = run("register", str(trained), "--name", "restorer", "--alias", "champion")
    assert status == 0 and "restorer version 1 (champion): step-00000001" in text, text
    uri = sqlite_address(trained.parent / "mlflow.db")
    assert not mlflow.is_tracking_uri_set()
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model("models:/restorer@champion")
    finally:
        mlflow.set_tracking_uri(None)
    assert [column.name for column in model.metadata.get_input_schema().inputs] == ["image", "references", "landmarks"]
    photo = next(iter(render(each.head, each.state, 200) for each in album(seed_of(3, 1), 1)))
    written = io.BytesIO()
    Image.fromarray(photo.image).save(written, "PNG")
    landmarks = photo.landmarks.astype(float)
    rows = pd.DataFrame({"image": [written.getvalue(), b"no picture", written.getvalue()],
                         "landmarks": [landmarks.reshape(-1).tolist(), [], [1.0, 2.0]]})
    answer = model.predict(rows, params={"steps": 1, "seed": 7})
    assert answer["problem"][0] == "" and "not an image" in answer["problem"][1] and "ten" in answer["problem"][2]
    assert answer["image"][1] == answer["image"][2] == b""

    restorer = Restorer(str(trained / "checkpoints" / NAMES[0]), device="auto")
    detection = Detection(box=(0.0, 0.0, 1.0, 1.0), landmarks=landmarks, score=1.0)
    expected = restore_photo(restorer, photo.image, detections=[detection], seed=7, settings=SamplerSettings(steps=1))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer["image"][0]))), expected.image)
    assert not np.array_equal(expected.image, photo.image)

    client = mlflow.MlflowClient(tracking_uri=uri)
    version = client.get_model_version_by_alias("restorer", "champion")
    said = json.loads((trained / "run.json").read_text())
    (output,) = client.get_run(said["run_id"]).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (version.run_id, output.step) == (said["run_id"], 16) and logged.source_run_id == said["run_id"]
    assert logged.tags["manifest"] == "abc" and logged.params["feed.batch"] == "16"
    assert [(metric.key, metric.value) for metric in logged.metrics] == [("validation/flow", 0.5)]
    assert client.get_run(said["run_id"]).info.status == "RUNNING", "to register changes nothing of the run"
    assert [path.name for path in trained.parent.parent.iterdir()] == [trained.parent.name]


def test_the_alias_moves_to_a_named_checkpoint(trained: Path) -> None:
    status, text = run("register", str(trained), "--name", "moved", "--alias", "champion", "--checkpoint", NAMES[0])
    assert status == 0, text
    status, text = run("register", str(trained), "--name", "moved", "--alias", "champion", "--checkpoint", "newest")
    assert status == 0 and "version 2 (champion): step-00000002" in text, text


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--checkpoint", "step-00000009"), "complete are step-00000001, step-00000002"),
     (("--tracking", "http://me:s3cret@127.0.0.1:9"), "not at http://127.0.0.1:9")])
def test_what_cannot_be_registered_is_told(trained: Path, words: tuple[str, ...], said: str) -> None:
    status, text = run("register", str(trained), "--name", "restorer", *words)
    assert status == 2 and said in text and "s3cret" not in text and "Traceback" not in text


def test_a_run_that_was_never_tracked_has_nothing_to_hang_a_model_on(tmp_path: Path) -> None:
    status, text = run("register", str(tmp_path), "--name", "restorer")
    assert status == 2 and "never tracked" in text
