"""Whether a norm is a quality: measured, stored with what it was measured on, and heard by the anchor."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.embed import embedder
from anchorface.faces.quality import NormCalibration, calibration_path, read_calibration
from anchorface.faces.weights import find
from anchorface.pipelines.calibration.damage_ladders import LADDERS, plans
from anchorface.pipelines.calibration.norm_calibration import Measurements, calibrate_norm, measure, portraits, ranks
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.records.errors import ConfigurationError, DataError, WeightsError
from anchorface.records.hashes import sha256

FEW = ("gaussian blur", "refldm-severe")
NAME = "adaface_small"


@pytest.fixture(scope="module")
def measured() -> tuple[NormCalibration, Measurements]:
    return calibrate_norm(NAME, count=10, seed=3, ladders=FEW)


def made(**changes) -> NormCalibration:
    values = {
        "weights": NAME, "sha256": sha256(find(NAME)), "norms": (10.0, 20.0), "qualities": (0.2, 0.9), "held_out": 0.8,
        "sharpness": 0.5, "error": 0.1, "flat_error": 0.2, "faces": 8, "pictures": 80, "source": "synthetic",
        "seed": 0, "plans": (("jpeg", "ab"),),
    }
    return NormCalibration(**{**values, **changes})


def test_the_map_never_falls_and_stays_between_the_qualities_seen(measured) -> None:
    calibration, rows = measured
    grid = calibration.quality(np.linspace(0.5 * rows.norm.min(), 2 * rows.norm.max(), 200))
    assert (np.diff(grid) >= 0).all()
    assert grid.min() >= 1e-3 and grid.max() <= rows.cosine.max() + 1e-9
    assert calibration.pictures == len(rows.norm) == 10 * (1 + 5 + 4) and calibration.faces == 10


def test_damage_is_what_was_measured(measured) -> None:
    _, rows = measured
    clean = rows.ladder == -1
    np.testing.assert_allclose(rows.cosine[clean], 1.0, atol=1e-5)
    blur = rows.ladder == 0
    for face in range(10):
        here = blur & (rows.face == face)
        order = np.argsort(rows.strength[here])
        assert (np.diff(rows.psnr[here][order]) < 0).all() and (np.diff(rows.sharpness[here][order]) < 0).all()
    by_name = {row.ladder: row for row in ranks(rows, FEW)}
    assert by_name["gaussian blur"].sharpness_cosine > 0.8 and by_name["gaussian blur"].sharpness_within > 0.95
    assert set(by_name) == {*FEW, "all"}


def test_measuring_again_gives_the_same_file(measured) -> None:
    assert calibrate_norm(NAME, count=10, seed=3, ladders=FEW)[0].to_json() == measured[0].to_json()
    with pytest.raises(ConfigurationError, match="ladder"):
        next(plans("frost", 256, 0, 0))


def test_other_seeds_draw_other_plans_and_the_file_says_so() -> None:
    for ladder in LADDERS:
        one, again, other = ([plan for _, plan in plans(ladder, 256, seed, 4)] for seed in (0, 0, 1))
        assert one == again
        assert (one == other) == (ladder in ("gaussian blur", "downsampling", "jpeg"))


def test_a_network_whose_norm_follows_quality_is_told_from_one_whose_norm_does_not() -> None:
    faces = portraits(None, 12, 5)
    follows = {}
    for name in (NAME, "judge_small"):
        rows, _ = measure(name, faces, 5, ("downsampling", "noise"))
        follows[name] = ranks(rows, ("downsampling", "noise"))[-1].cosine
    assert follows[NAME] > 0.5 > 0.3 > follows["judge_small"]


def test_a_calibration_survives_its_file_and_serves_its_own_weights_alone(tmp_path: Path) -> None:
    path = tmp_path / "norm.json"
    path.write_text(made().to_json())
    assert read_calibration(NAME, path) == made()
    path.write_text(made(sha256="0" * 64).to_json())
    with pytest.raises(WeightsError, match="measure again"):
        read_calibration(NAME, path)
    path.write_text(made().to_json()[:80])
    with pytest.raises(DataError, match=r"norm\.json"):
        read_calibration(NAME, path)
    with pytest.raises(WeightsError, match="anchorface norm"):
        read_calibration(NAME, tmp_path / "none.json")
    assert calibration_path(NAME).name == f"{find(NAME).name}.norm.json"
    with pytest.raises(DataError, match="rise"):
        made(qualities=(0.9, 0.2))


def test_faces_of_a_workspace_are_measured_and_too_few_are_refused(line, tmp_path: Path) -> None:
    found = portraits(str(line.out), 9, 0)
    assert len(found) == 9 and all(face.crop.shape == (256, 256, 3) for face in found)
    assert [face.name for face in portraits(str(line.out), 20, 0)][:9] == [face.name for face in found]
    crops = np.stack([_small(face) for face in found])
    units, _ = embedder(line.embedder).embed(crops)
    assert units.shape[0] == 9
    (tmp_path / "photos").mkdir()
    one = next(iter(sorted(line.source.rglob("*.jpg"))))
    (tmp_path / "photos" / "one.jpg").write_bytes(one.read_bytes())
    (tmp_path / "photos" / "metadata.jsonl").write_text(json.dumps({"file": "one.jpg"}) + "\n")
    ingest(str(tmp_path / "photos"), str(tmp_path / "out"), concurrency=0)
    find_faces(str(tmp_path / "out"), detector="given", concurrency=0)
    with pytest.raises(DataError, match="at least 8"):
        portraits(str(tmp_path / "out"), 9, 0)


def _small(face):
    from anchorface.faces.align import arcface_matrix, warp

    return warp(face.crop, arcface_matrix(face.landmarks), 112)


def test_the_verb_prints_a_table_and_stores_the_map(tmp_path: Path) -> None:
    arguments = ["norm", "--weights", NAME, "--count", "8", "--out", str(tmp_path / "n.json"), "--plot",
                 str(tmp_path / "n.png")]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "gaussian" in answer.output and "quality: rank correlation" in answer.output
    stored = read_calibration(NAME, tmp_path / "n.json")
    assert stored.faces == 8 and dict(stored.plans).keys() == set(LADDERS)
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
    assert replace(stored, seed=1) != stored
