"""`anchorface evaluate`: the sampler's settings go from the command to the restorer, and the report states them."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.weights import find
from anchorface.models.build import build
from anchorface.models.checkpoint import BaseWeight, Description, read_description, write_adapter, write_description
from anchorface.models.configuration import tiny
from anchorface.models.weights import tiny_backbone


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *words], env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny twin over the carried base, its adapters as they are before training."""
    folder, settings = tmp_path_factory.mktemp("run") / "step-00000000", tiny()
    write_adapter(folder, build(settings.system, tiny_backbone(find("base_tiny"))).adapter_state(), ema=True)
    write_description(folder, Description(
        model=settings, embedder="adaface_small",
        weights={role: BaseWeight(name=name, sha256="")
                 for role, name in (("autoencoder", "autoencoder_tiny"), ("backbone", "base_tiny"))}))
    return str(folder)


def test_sampler_settings_reach_the_restorer_and_are_reported(checkpoint: str, dataset_uri: str, tmp_path: Path
                                                              ) -> None:
    said = ("--steps", "1", "--guidance", "2.5", "--reference-guidance", "1.5", "--precision", "bf16")
    status, text = run(checkpoint, dataset_uri, str(tmp_path), "--count", "1", *said)
    assert status == 0, text
    settings = json.loads((tmp_path / "table.json").read_text())["settings"]
    assert (settings["steps"], settings["guidance"], settings["reference_guidance"], settings["precision"]) == (
        1, 2.5, 1.5, "bf16")
    report = (tmp_path / "report.html").read_text()
    assert ("Samples: Euler steps 1, guidance 2.5, reference guidance 1.5, trust in references as the checkpoint says, "
            "bf16") in report


@pytest.mark.parametrize(
    ("words", "said"), [(("--steps", "0"), "steps 0"), (("--precision", "fp8"), "'fp32' or 'bf16'")]
)
def test_what_the_sampler_cannot_do_is_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    status, text = run("checkpoint", "dataset", str(tmp_path / "out"), *words)
    assert status == 2
    assert said in text and "Traceback" not in text


def test_a_judge_that_stood_in_the_loss_alone_is_refused(checkpoint: str, dataset_uri: str, tmp_path: Path) -> None:
    said = read_description(checkpoint)
    apart = {"loss_embedder": BaseWeight(name="judge_small", sha256="0" * 64)}
    shutil.copytree(checkpoint, tmp_path / "step-00000000")
    write_description(tmp_path / "step-00000000", dataclasses.replace(said, weights=said.weights | apart))
    status, text = run(str(tmp_path / "step-00000000"), dataset_uri, str(tmp_path / "out"), "--judge", "judge_small")
    assert status != 0 and "judge 'judge_small' is 'judge_small', in the restorer's anchor or loss" in text
