"""What the doctor proposes to fetch, for a machine and a purpose."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces import weights
from anchorface.faces.fetch import KLEIN_GIB, proposed, wanted
from anchorface.infra.doctor.machine import examine, proposal
from anchorface.records.errors import ConfigurationError


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a model hub's cache without weights, and no shared ones."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("ANCHORFACE_WEIGHTS", raising=False)
    folders = weights.folders()
    monkeypatch.setattr(weights, "folders", lambda: tuple(f for f in folders if "shared" not in f.parts))


def test_one_command_gets_the_proposal_and_asks_for_acceptance_only_where_it_is_needed() -> None:
    *lines, command, = (line for line in proposal("curate") if not line.startswith("pip "))
    assert command == "anchorface fetch scrfd_2.5g_kps fsanet_1x1 fsanet_var --accept-licence"
    assert any("scrfd_2.5g_kps: InsightFace: non-commercial research" in line for line in lines)
    assert "anchorface fetch fsanet_1x1 fsanet_var" in proposal("curate", commercial=True)


@pytest.mark.parametrize("commercial", [False, True])
@pytest.mark.parametrize("purpose", ["", "curate", "train", "evaluate"])
def test_whatever_is_proposed_can_be_fetched_and_allows_the_purpose(purpose: str, commercial: bool) -> None:
    lines = proposal(purpose, commercial)
    names = [name for line in lines if line.startswith("anchorface fetch ")
             for name in line.split()[2:] if not name.startswith("--")]
    entries = wanted(names)
    assert [entry.name for entry in entries] == names
    assert not commercial or all(entry.commercial for entry in entries)
    assert len(names) == len(set(names))


def test_a_large_network_is_proposed_to_a_machine_that_can_train_it() -> None:
    assert proposed("train", True, KLEIN_GIB - 1) == ()
    names = {entry.name for entry in proposed("train", True, KLEIN_GIB)}
    assert {"flux2_klein_base_4b", "flux2_vae", "adaface_ir50_ms1mv2"} <= names


def test_what_is_here_is_not_proposed(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (shared_data / "models",))
    assert not [line for line in proposal("curate") if line.startswith("anchorface fetch")]
    assert any("nothing to fetch" in line for line in proposal("curate"))


def test_the_verb_takes_purpose_and_licence_and_names_the_known_purposes() -> None:
    with pytest.raises(ConfigurationError, match="curate, train, evaluate"):
        proposal("nothing")
    result = CliRunner().invoke(app, ["doctor", "--for", "evaluate", "--commercial"], env={"COLUMNS": "200"})
    assert "with commercial licences" in result.output
    assert "anchorface fetch niqe_pris_params vgg16_imagenet alexnet_imagenet inception_fid" in result.output


def test_a_second_opencv_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "opencv-python" not in {row.subject for row in examine()}
    about = tmp_path / "opencv_python-5.0.0.93.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 5.0.0.93\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (row,) = (row for row in examine() if row.subject == "opencv-python")
    assert row.state == "note" and "libGL" in row.detail


def test_a_machine_that_lacks_an_engine_can_be_looked_at() -> None:
    program = ("import sys, anchorface.infra.doctor.machine\n"
               "print({'ray', 'mlflow', 'lance', 'pandas', 'anchorface.training'} & sys.modules.keys())")
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip() == "set()"
