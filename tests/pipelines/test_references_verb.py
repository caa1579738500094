"""`anchorface references` on a workspace and on a dataset version: tables, files, one face beside its references."""

import json

import cv2
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index import MismatchPolicy
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.records import rng


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["references", *map(str, words)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.fixture
def data(line, request):
    return {"workspace": line.out, "dataset": line.out / "dataset", "version": line.version}[request.param]


@pytest.mark.parametrize("data", ["workspace", "dataset", "version"], indirect=True)
def test_shares_are_told_drawn_and_written(data, line, tmp_path):
    status, text = run(data, "--k", 2, "--plot", tmp_path / "shares.png", "--out", tmp_path / "rows.parquet")
    assert status == 0, text
    assert "15 to 25°" in text and "30.0%" in text and "targets without any reference" in text
    assert cv2.imread(str(tmp_path / "shares.png")).shape[1] > 1000
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {row["mode"] for row in rows} == {"asked", "random"}
    assert all("(asked " in row["reason"] for row in rows if row["mode"] == "asked" and row["rank"])
    assert {row["target"] for row in rows} == set(open_dataset(str(line.version)).columns["face_id"].tolist())


@pytest.mark.parametrize("data", ["workspace", "version"], indirect=True)
def test_one_face_is_drawn_beside_its_references(data, line, tmp_path):
    dataset = open_dataset(str(line.version))
    target = str(dataset.columns["face_id"][dataset.rows_of(dataset.columns["identity"][0])[0]])
    status, text = run(data, "--mode", "mismatch", "--target", target, "--sheet", tmp_path / "sheet.jpg")
    assert status == 0, text
    assert target in text and "gap" in text
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet.shape[1] == 4 * (256 + 14) + 14, "the target and three references"


def test_rows_as_csv_and_fewer_targets(line, tmp_path):
    status, text = run(line.version, "--count", 5, "--mode", "random", "--out", tmp_path / "rows.csv")
    assert status == 0, text
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0].startswith("target,identity,mode,rank,reference,reason") and len(lines) > 5
    assert "for 5 targets" in text


def test_fitted_shares_are_printed_ready_for_the_recipe(line):
    status, text = run(line.version, "--fit", "--set", "yaw_asked=[0,0,0,0.5,0.5]")
    assert status == 0, text
    fitted = json.loads(text.partition("'drawn=")[2].partition("'")[0])
    status, text = run(line.version, "--set", "yaw_asked=[0,0,0,0.5,0.5]", "--set", f"drawn={json.dumps(fitted)}")
    assert status == 0, text
    assert sum(fitted.get("yaw", [1.0])) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mode", "nearest"), "asked"),
        (("--set", "yaw_askd=[1]"), "yaw_asked"),
        (("--set", "yaw_asked=[1]"), "5"),
        (("--set", "yaw_asked=half"), "JSON"),
        (("--target", "nobody-0"), "nobody-0"),
        (("--k", "0"), "k 0"),
    ],
)
def test_what_cannot_be_chosen_is_told(line, words, said):
    status, text = run(line.version, *words)
    assert status == 2
    assert said in text and "Traceback" not in text


def test_a_folder_that_is_neither_is_named(tmp_path):
    status, text = run(tmp_path)
    assert status == 2 and "neither a workspace" in text and "Traceback" not in text


def test_the_feed_knows_how_many_references_each_face_can_have(line):
    dataset, policy = open_dataset(str(line.version)), MismatchPolicy(minimum_sharpness=300.0)
    rows = dataset.split_rows("train")
    counts = dataset.admissible(policy)[rows]
    assert counts.tolist() == [len(dataset.references(row, policy, 99, rng(0, "all", row))) for row in rows.tolist()]
    assert (counts < dataset.admissible(MismatchPolicy())[rows]).any()
