"""Published layouts: each look-alike becomes a protocol, and what is missing is named."""

from pathlib import Path

import numpy as np
import pytest

from anchorface.degradation import Plan
from anchorface.evaluation import Protocol, write_inputs
from anchorface.evaluation.cases import cases
from anchorface.evaluation.protocols import freeze_folder
from anchorface.evaluation.protocols.layouts import ast_list
from anchorface.evaluation.protocols.ntire import SETS, THRESHOLDS, gate, judge_ntire, read_layout, score
from anchorface.evaluation.sources import ALIGNED
from anchorface.records import DataError, storage
from tests.evaluation import layouts

MADE = {"ffhq-ref-moderate": layouts.ffhq_ref, "celeba-test-ref": layouts.celeba_test_ref,
        "celebhqref100": layouts.celeba_hq, "own": layouts.own}


def frozen(name: str, root: Path, **more):
    return freeze_folder(name, str(root), **{"judge": "judge_small", "size": 128, "landmarks": ALIGNED, **more})


@pytest.mark.parametrize(("name", "rows", "references"), [
    ("ffhq-ref-moderate", 6, 2), ("celeba-test-ref", 3, 1), ("celebhqref100", 3, 3), ("own", 4, 1)])
def test_a_look_alike_becomes_a_protocol_that_reads_back(name: str, rows: int, references: int, tmp_path: Path) -> None:
    root = MADE[name](tmp_path)
    protocol, source, _ = frozen(name, root)
    assert len(protocol.rows) == rows and {len(row.references) for row in protocol.rows} == {references}
    assert Protocol.from_json(protocol.to_json()) == protocol
    assert frozen(name, root)[0].to_json() == protocol.to_json()
    for case in cases(source, protocol):
        assert case.target.image.shape == case.degraded.shape == (128, 128, 3)
        assert np.abs(case.degraded.astype(int) - case.target.image).mean() > 0.5
        assert case.row.target not in case.row.references


def test_severe_is_another_folder_of_the_same_list(tmp_path: Path) -> None:
    root = layouts.ffhq_ref(tmp_path, level="severe")
    assert len(frozen("ffhq-ref-severe", root)[0].rows) == 6
    with pytest.raises(DataError, match="moderate_degrad"):
        frozen("ffhq-ref-moderate", root)


def test_pictures_that_share_references_show_one_person(tmp_path: Path) -> None:
    protocol, _, _ = frozen("ffhq-ref-moderate", layouts.ffhq_ref(tmp_path))
    assert len({row.identity for row in protocol.rows}) == 3
    assert len({(row.identity, row.target[-9:-6]) for row in protocol.rows}) == 3


def test_celebhqref100_is_degraded_by_strengths_4_to_10_and_its_own_seeds(tmp_path: Path) -> None:
    root = layouts.celeba_hq(tmp_path)
    protocol, _, dropped = frozen("celebhqref100", root)
    strengths = [int(Plan.from_json(row.plan).profile.rsplit("-", 1)[1]) for row in protocol.rows]
    assert all(4 <= strength <= 10 for strength in strengths)
    assert [row.plan for row in frozen("celebhqref100", root, seed=5)[0].rows] == [row.plan for row in protocol.rows]
    assert [row.cause for row in dropped] == ["one picture: a target needs a reference"]


def test_what_is_missing_is_named_row_by_row_and_nothing_else_is_lost(tmp_path: Path) -> None:
    root = layouts.ffhq_ref(tmp_path)
    (root / "images512x512" / "00100.png").unlink()
    (root / "FFHQ-Ref" / "test_images" / "moderate_degrad" / "00201.png").unlink()
    (root / "images512x512" / "00001.png").write_bytes(b"no picture")
    protocol, _, dropped = frozen("ffhq-ref-moderate", root)
    said = " ".join(f"{row.uri} {row.cause}" for row in dropped)
    assert "no 00100.png in images1024x1024" in said and "no 00201.png in FFHQ-Ref" in said
    assert "00001.png not an image" in said
    assert {row.name for row in protocol.rows} == {"00000", "00101", "00200"}
    assert all("00001" not in path for row in protocol.rows for path in row.references)


def test_a_missing_list_or_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test_references\.csv"):
        frozen("ffhq-ref-moderate", tmp_path)
    with pytest.raises(DataError, match="gt/"):
        (tmp_path / "x").mkdir()
        frozen("own", tmp_path / "x")


def test_a_reference_that_equals_its_target_is_dropped_with_its_cause(tmp_path: Path) -> None:
    root = layouts.own(tmp_path)
    (root / "references" / "case1" / "0.png").write_bytes((root / "gt" / "case1.png").read_bytes())
    protocol, _, dropped = frozen("own", root)
    assert [row.cause for row in dropped] == ["a reference that equals the target"]
    assert {row.name: len(row.references) for row in protocol.rows} == {"case0": 1, "case1": 0, "case2": 1, "case3": 1}


def test_a_picture_without_a_face_is_dropped_with_its_cause(tmp_path: Path, shared_data: Path) -> None:
    root = layouts.own(tmp_path, people=2)
    layouts.write(root / "gt" / "case1.png", np.full((128, 128, 3), 127, np.uint8))
    protocol, _, dropped = frozen("own", root, landmarks="scrfd_2.5g_kps")
    assert [row.name for row in protocol.rows] == ["case0"]
    assert ("no face", True) in [(row.cause, row.uri.endswith("gt/case1.png")) for row in dropped]


def test_a_list_in_a_table_is_data_and_never_run() -> None:
    assert ast_list("['a.png', 'b.png']", "row") == ["a.png", "b.png"]
    for text in ("__import__('os').getcwd()", "[1]", "", "'a.png'", "[" * 5000):
        with pytest.raises(DataError, match="row"):
            ast_list(text, "row")


def test_inputs_of_a_protocol_are_a_folder_that_own_reads(tmp_path: Path) -> None:
    protocol, source, _ = frozen("celebhqref100", layouts.celeba_hq(tmp_path / "a"))
    out = write_inputs(source, protocol, str(tmp_path / "b"))
    again, folder, _ = frozen("own", Path(out))
    assert [row.name for row in again.rows] == [row.name for row in protocol.rows]
    for one, other in zip(cases(source, protocol), cases(folder, again), strict=True):
        np.testing.assert_array_equal(one.degraded, other.degraded)
        np.testing.assert_array_equal(one.target.image, other.target.image)
        assert len(one.row.references) == len(other.row.references)


def test_the_challenges_score_is_its_formula() -> None:
    means = {"clipiqa": 0.7, "maniqa": 0.5, "musiq": 75.0, "niqe": 4.0, "qalign": 4.5, "fid_ffhq": 40.0}
    assert score(means) == pytest.approx(0.7 + 0.5 + 0.75 + 0.6 + 0.9 + 0.6)
    assert score({**means, "niqe": 12.0, "fid_ffhq": 130.0}) == pytest.approx(0.7 + 0.5 + 0.75 + 0 + 0.9 + 0)


def test_the_two_published_thresholds_disagree_and_eleven_failures_disqualify() -> None:
    cosines = [("Wider-Test", 0.25)] * 11 + [("CelebA", 0.9)] * 20
    assert gate(cosines, THRESHOLDS["README"]) == (11, False)
    assert gate(cosines, THRESHOLDS["script"]) == (0, True)
    assert gate(cosines[1:], THRESHOLDS["README"]) == (10, True)
    assert sum(SETS.values()) == 450


def test_outputs_are_held_against_the_challenges_gate(tmp_path: Path) -> None:
    root = layouts.ntire(tmp_path / "data", each=2)
    places, _ = read_layout(str(root))
    for case in places[1:]:
        name = tmp_path / "outputs" / case["dataset"] / f"{case['name']}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(Path(case["file"]).read_bytes())
    result = judge_ntire(str(root), {"copycat": str(tmp_path / "outputs")}, str(tmp_path / "out"), judge="judge_small")
    method, = result["methods"]
    assert method["missing"] == 1 and method["gate"] == {w: {"below": 1, "passes": True} for w in THRESHOLDS}
    assert method["score"] is None and "clipiqa" in method["score_lacks"]
    rows = storage.read_table(str(tmp_path / "out" / "rows.parquet")).to_pylist()
    assert [row["cause"] for row in rows] == ["missing"] + [None] * 9
    assert all(row["identity"] == pytest.approx(1, abs=1e-5) for row in rows[1:])
    text = (tmp_path / "out" / "table.md").read_text()
    assert "passes (README)" in text and "pyiqa cannot be imported" in text and "judge_small" in text
    (root / "test_2026_face.csv").unlink()
    with pytest.raises(DataError, match=r"no test_2026_face\.csv"):
        read_layout(str(root))
