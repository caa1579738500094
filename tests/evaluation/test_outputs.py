"""Other programs' pictures beside ours: one table, one page, and a cause for whatever cannot be judged."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.evaluation import evaluate, write_inputs, write_page, write_pictures
from anchorface.evaluation.evaluate import frozen
from anchorface.evaluation.outputs import Outputs, named_folders
from anchorface.evaluation.sources import ALIGNED
from anchorface.records import ConfigurationError, DataError, storage
from anchorface.restoration import Restorer, SamplerSettings
from tests.evaluation import layouts
from tests.restoration.micro import micro_checkpoint


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of five persons; the first has two references."""
    root = layouts.own(tmp_path_factory.mktemp("own"), people=5)
    layouts.write(root / "references" / "case0" / "1.png", layouts.face(0, 2))
    return root


def judged(root: Path, outputs: dict[str, Path], out: Path, **more):
    return evaluate(None, str(root), str(out), outputs={name: str(folder) for name, folder in outputs.items()},
                    size=128, landmarks=ALIGNED, **more)


@pytest.fixture(scope="module")
def evaluation(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth under another name, the reference as an answer, and a denoiser; some answers cannot be judged."""
    out = tmp_path_factory.mktemp("outputs")
    for n in range(5):
        truth = cv2.imread(str(root / "gt" / f"case{n}.png"))
        (out / "perfect").mkdir(exist_ok=True)
        cv2.imwrite(str(out / "perfect" / f"case{n}.png"), truth)
        (out / "copycat" / "inner").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / "copycat" / "inner" / f"case{n}.png"),
                    cv2.imread(str(root / "references" / f"case{n}" / "0.png")))
        (out / "broken").mkdir(exist_ok=True)
        if n == 0:
            cv2.imwrite(str(out / "broken" / "case0.png"), truth)
        elif n == 1:
            cv2.imwrite(str(out / "broken" / "case1.png"), truth[:64, :64])
        elif n == 2:
            (out / "broken" / "case2.png").write_bytes(b"not a picture")
    cv2.imwrite(str(out / "broken" / "nobody.png"), truth)
    judged(root, {name: out / name for name in ("perfect", "copycat", "broken")}, out / "evaluation",
           metrics=("flip", "lpips_alex", "niqe"))
    return out / "evaluation"


def test_what_restore_wrote_answers_by_the_name_of_what_was_restored(tmp_path: Path) -> None:
    for name in ("case0.JPG.png", "case1.mp4.png", "case2.old.png", "case3.png"):
        (tmp_path / name).touch()
    found = Outputs.open(str(tmp_path), [f"case{n}" for n in range(4)])
    assert {name: Path(file).name for name, file in found.files.items()} == {
        "case0": "case0.JPG.png", "case1": "case1.mp4.png", "case3": "case3.png"}
    assert [Path(file).name for file in found.extra] == ["case2.old.png"]
    (tmp_path / "case3.jpg.png").touch()
    with pytest.raises(DataError, match="two outputs for case 'case3'"):
        Outputs.open(str(tmp_path), ["case3"])


def test_every_answer_is_a_row_or_a_cause(evaluation: Path) -> None:
    rows = [r for r in storage.read_table(str(evaluation / "rows.parquet")).to_pylist() if r["condition"] == "broken"]
    assert [r["cause"] for r in rows] == [None, "64 x 64 px, not 128 x 128", "not an image", "missing", "missing"]
    assert rows[0]["psnr"] == 100 and [r["psnr"] for r in rows[1:]] == [None] * 4
    table = json.loads((evaluation / "table.json").read_text())
    broken, = (c for c in table["conditions"] if c["slug"] == "broken")
    assert broken["causes"]["missing"] == 2 and broken["measures"]["psnr"]["rows"] == 1
    assert table["outputs"]["broken"]["extra"] == 1


def test_the_truth_wins_and_the_copycat_is_found_out(evaluation: Path) -> None:
    table = json.loads((evaluation / "table.json").read_text())
    of = {c["slug"]: c["measures"] for c in table["conditions"]}
    assert of["perfect"]["judge_target"]["mean"] == pytest.approx(1) and of["perfect"]["surplus"]["mean"] == 0
    assert of["copycat"]["copied"]["mean"] == 1 and of["copycat"]["surplus"]["mean"] > 0.1
    assert of["copycat"]["judge_target"]["mean"] < of["perfect"]["judge_target"]["mean"]
    assert of["perfect"]["flip"]["mean"] == 0 < of["copycat"]["flip"]["mean"]
    found, = (d for d in table["differences"] if (d["from"], d["to"], d["measure"]) == (
        "perfect", "copycat", "judge_target"))
    assert found["high"] < 0 and found["p"] < 0.01 and found["rows"] == 5


def test_a_column_without_weights_says_so_and_how_to_get_them(evaluation: Path) -> None:
    table = json.loads((evaluation / "table.json").read_text())
    measures = {m["key"]: m for m in table["measures"]}
    assert "alexnet-owt-7be5be79.pth" in measures["lpips_alex"]["absent"]
    assert "192 px" in measures["niqe"]["absent"]
    assert measures["flip"]["source"].startswith("flip-evaluator 1.") and not measures["flip"]["absent"]
    assert table["judge"]["sha256"][:16] in measures["judge_target"]["source"]
    assert measures["psnr"]["source"].startswith("torchmetrics ")
    assert all(c["measures"]["lpips_alex"] is None for c in table["conditions"])
    for name in ("table.md", "table.tex"):
        assert "alexnet-owt-7be5be79.pth" in (evaluation / name).read_text()


def test_exports_hold_every_mean_in_markdown_and_latex(evaluation: Path) -> None:
    table = json.loads((evaluation / "table.json").read_text())
    markdown, latex = ((evaluation / name).read_text() for name in ("table.md", "table.tex"))
    for condition in table["conditions"]:
        mean = condition["measures"]["judge_target"]
        assert f"{mean['mean']:.3f}" in markdown and f"{mean['mean']:.3f}" in latex
    assert r"\textbf{" in latex and r"copy rate, \%" in latex and "**" in markdown
    assert "Differences over the same pictures" in markdown


def test_the_page_shows_every_program_and_why_a_picture_lacks(evaluation: Path, root: Path, tmp_path: Path) -> None:
    text = Path(write_page(str(evaluation), str(root), str(tmp_path / "page.html"))).read_text()
    for wanted in ("perfect", "copycat", "64 x 64 px, not 128 x 128", "as published: lq/case0.png", 'class="slide"',
                   "alexnet-owt-7be5be79.pth", 'id="sort0h"', "by number of references", "any two methods",
                   "chosen by the results of <b>perfect</b>"):
        assert wanted in text, wanted
    assert "<script" not in text and "whom the restorer never saw" not in text
    files = write_pictures(str(evaluation), str(root), str(tmp_path / "pictures"), count=2)
    assert len(files) == 3


def test_two_outputs_for_one_case_are_an_error_that_names_both(root: Path, tmp_path: Path) -> None:
    picture = layouts.face(0, 0)
    for name in ("case0.png", "case0.jpg"):
        layouts.write(tmp_path / "twice" / name, picture)
    with pytest.raises(DataError, match=r"two outputs for case 'case0'.*case0\.jpg.*case0\.png"):
        judged(root, {"twice": tmp_path / "twice"}, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"case0\.png"):
        judged(root, {"empty": tmp_path / "empty"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_answer_without_a_face_keeps_its_pixels_and_says_so(root: Path, tmp_path: Path, shared_data: Path) -> None:
    for n in range(5):
        grey = np.full((128, 128, 3), 127, np.uint8) if n else layouts.face(0, 0)
        layouts.write(tmp_path / "grey" / f"case{n}.png", grey)
    judged(root, {"grey": tmp_path / "grey"}, tmp_path / "out")
    table = storage.read_table(str(tmp_path / "out" / "rows.parquet"))
    rows = [r for r in table.to_pylist() if r["condition"] == "grey"]
    assert [r["cause"] for r in rows] == [None] + ["no face"] * 4
    assert all(r["psnr"] is not None and (r["judge_target"] is None) == bool(r["cause"]) for r in rows)


def test_names_are_checked_before_anything_runs() -> None:
    assert named_folders(["a-1=x/y", "b=z=w"]) == {"a-1": "x/y", "b": "z=w"}
    for words in (["x"], ["=y"], ["../up=y"], ["a=1", "a=2"], ["truth=x"]):
        with pytest.raises(ConfigurationError, match="--outputs"):
            named_folders(words)
    with pytest.raises(ConfigurationError, match="nothing to judge"):
        evaluate(None, "x", "y")


def test_ours_and_another_program_stand_in_one_table(dataset_uri: str, tmp_path: Path) -> None:
    checkpoint, finder = micro_checkpoint(tmp_path / "micro")
    restorer = Restorer(checkpoint, weight_finder=finder)
    source, protocol, _ = frozen(dataset_uri, judge="judge_small", size=restorer.size, count=3)
    inputs = Path(write_inputs(source, protocol, str(tmp_path / "inputs")))
    assert len(list((inputs / "lq").iterdir())) == 3
    result = evaluate(checkpoint, dataset_uri, str(tmp_path / "out"), restorer=restorer, count=3,
                      outputs={"idle": str(inputs / "lq")}, settings=SamplerSettings(steps=1, mean_draws=1))
    of = {c["slug"]: c["measures"] for c in result["conditions"]}
    assert of["idle"]["psnr"]["mean"] == pytest.approx(of["degraded"]["psnr"]["mean"])
    assert "three" in {d["to"] for d in result["differences"]}
    assert {s["by"] for s in result["strata"]} == {"pose_gap", "age_gap", "input_quality", "references"}


def test_further_judges_have_columns_of_their_own_and_may_not_have_trained(root: Path, tmp_path: Path, dataset_uri: str
                                                                          ) -> None:
    result = judged(root, {"idle": root / "lq"}, tmp_path / "out", judges=("adaface_small",), count=3)
    of = {c["slug"]: c["measures"] for c in result["conditions"]}
    assert of["truth"]["judge_target:adaface_small"]["mean"] == pytest.approx(1)
    assert of["idle"]["judge_target:adaface_small"]["mean"] != of["idle"]["judge_target"]["mean"]
    checkpoint, finder = micro_checkpoint(tmp_path / "micro")
    with pytest.raises(ConfigurationError, match="adaface_small"):
        evaluate(checkpoint, dataset_uri, str(tmp_path / "other"), judges=("adaface_small",),
                 restorer=Restorer(checkpoint, weight_finder=finder))
