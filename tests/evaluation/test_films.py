"""Films judged: the truth wins, each fault of time shows in its own column, and what cannot be judged says why."""

import json
import re
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.degradation.film import film_bytes, read_film
from anchorface.evaluation.films import evaluate_films, write_film_inputs, write_film_page
from anchorface.evaluation.films.evaluate import MEASURES
from anchorface.evaluation.films.folder import FilmCase, film_cases, frames
from anchorface.evaluation.films.known import Eyes, look
from anchorface.evaluation.films.measured import Measurer
from anchorface.evaluation.sources import ALIGNED
from anchorface.faces.embed import embedder
from anchorface.records import ConfigurationError, DataError, rng, storage

FRAMES, CLIP, SIZE = 6, 3, 128
FIRST, SECOND = "s000000-00", "s000001-00"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's films, with exact flow and one reference each."""
    root = tmp_path_factory.mktemp("true films")
    words = {"identities": 2, "frames": FRAMES, "photos": 1, "size": SIZE, "seed": 5, "workers": 1}
    run = CliRunner().invoke(app, ["corpus", str(root), *(f"--{key}={value}" for key, value in words.items())])
    assert run.exit_code == 0 and "2 films" in run.output, run.output
    return root


def film_of(folder: Path, name: str) -> np.ndarray:
    return read_film(str(folder / "gt" / f"{name}.mkv"))[0]


def write(place: Path, pictures: np.ndarray) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(film_bytes(pictures, 25.0))


@pytest.fixture(scope="module")
def outputs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One fault of time each, in both people's films."""
    out = tmp_path_factory.mktemp("outputs")
    clean = {name: film_of(folder, name) for name in (FIRST, SECOND)}
    for name, other in ((FIRST, SECOND), (SECOND, FIRST)):
        own, strange = clean[name].astype(float), clean[other].astype(float)
        shares = np.linspace(0, 1, CLIP)[np.arange(FRAMES) % CLIP][:, None, None, None]
        later = (np.arange(FRAMES) >= CLIP)[:, None, None, None]
        bright = own + 12 * (np.arange(FRAMES) % 2)[:, None, None, None]
        for kind, pictures in (
            ("perfect", own), ("frozen", np.repeat(own[:1], FRAMES, axis=0)), ("flickering", bright),
            ("drifting", own * (1 - shares) + strange * shares), ("jumping", np.where(later, strange, own)),
        ):
            write(out / kind / f"{name}.mp4", np.clip(pictures, 0, 255).astype(np.uint8))
    return {kind.name: str(kind) for kind in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def judged(folder: Path, outputs: dict[str, str], shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged")
    evaluate_films(str(folder), str(out), outputs=outputs, clip=CLIP)
    return out


def means_of(judged: Path) -> dict[str, dict[str, float]]:
    table = json.loads((judged / "table.json").read_text())
    return {c["slug"]: {key: value["mean"] for key, value in c["measures"].items() if value}
            for c in table["conditions"]}


def test_the_truth_has_no_fault_and_its_own_films_come_next(judged: Path) -> None:
    means = means_of(judged)
    truth, perfect = means["truth"], means["perfect"]
    assert truth["judge_target"] == pytest.approx(1) and truth["psnr"] == 100 and truth["faces"] == 1
    assert truth["tof"] == truth["flicker"] == truth["akd"] == 0
    assert truth["drift_slope"] == pytest.approx(0, abs=1e-6)
    assert perfect["judge_target"] > 0.98 and perfect["psnr"] > 38 and perfect["tof"] < 0.1
    others = [means[slug] for slug in ("frozen", "flickering", "drifting", "jumping")]
    assert all(perfect["judge_target"] >= other["judge_target"] - 0.01 for other in others)
    assert set(truth) == {m.key for m in MEASURES}


def test_each_fault_shows_in_its_own_column(judged: Path) -> None:
    means = means_of(judged)
    truth = means["truth"]
    assert means["frozen"]["tof"] > 0.1 and means["jumping"]["vidd"] > 2 * truth["vidd"]
    assert means["frozen"]["akd"] > means["perfect"]["akd"]
    assert means["flickering"]["flicker"] == pytest.approx(12, abs=1.5) and means["perfect"]["flicker"] < 2
    assert means["flickering"]["warping"] > truth["warping"] + 0.5 * (12 / 255) ** 2
    assert means["drifting"]["drift_slope"] < -2 < -0.5 < means["perfect"]["drift_slope"]
    assert means["jumping"]["jump"] > truth["jump"] + 0.3
    assert means["jumping"]["judge_target"] < 0.8 * means["perfect"]["judge_target"]


def test_likeness_to_references_is_laid_beside_the_truths_own(judged: Path) -> None:
    rows = storage.read_table(str(judged / "rows.parquet")).to_pylist()
    for row in rows:
        assert row["surplus"] == pytest.approx(row["judge_mean"] - row["truth_mean"])
        assert row["flow"] == "exact" and len(row["likeness"]) == len(row["seconds"]) == FRAMES
    table = json.loads((judged / "table.json").read_text())
    sources = {m["key"]: m["source"] for m in table["measures"]}
    assert sources["warping"] == "exact flow" and sources["tof"].startswith("OpenCV DIS")
    found, = (d for d in table["differences"] if (d["from"], d["to"], d["measure"]) == (
        "flickering", "perfect", "flicker"))
    assert found["high"] < -8 and found["rows"] == 2
    assert "intervals over films" in (judged / "table.md").read_text()


def test_a_rerun_measures_only_what_is_new(judged: Path, folder: Path, outputs: dict[str, str], shared_data: Path,
                                           tmp_path: Path) -> None:
    shutil.copytree(judged, tmp_path / "out")
    said: list[str] = []
    few = {name: outputs[name] for name in ("perfect", "frozen")}
    evaluate_films(str(folder), str(tmp_path / "out"), outputs=few, clip=CLIP, progress=said.append)
    assert said == ["truth: done before", "perfect: done before", "frozen: done before"]
    assert means_of(tmp_path / "out") == {slug: means_of(judged)[slug] for slug in ("truth", *few)}
    said.clear()
    shutil.copytree(few["frozen"], tmp_path / "perfect")
    evaluate_films(str(folder), str(tmp_path / "out"), outputs={**few, "perfect": str(tmp_path / "perfect")}, clip=CLIP,
                   progress=said.append)
    assert "perfect: 2 films" in said and "frozen: done before" in said
    means = means_of(tmp_path / "out")
    assert means["perfect"] == means["frozen"]


def test_what_cannot_be_judged_keeps_its_row_with_the_cause(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    clean = film_of(folder, FIRST)
    whole = film_bytes(clean, 25.0)
    shown: dict[str, np.ndarray | bytes | None] = {
        "missing": None, "5 frames, not 6": clean[:-1], "more than 6 frames": np.concatenate([clean, clean[:1]]),
        "96 x 96 px, not 128 x 128": clean[:, :96, :96], "not a film": b"#EXTM3U\n/etc/passwd\n",
        "no face": np.full_like(clean, 90), "cut": whole[:2 * len(whole) // 3],
    }
    eyes = Eyes(embedder("judge_small"))
    known, dropped = look(film_cases(str(folder))[0], eyes)
    assert not dropped
    place, rows = tmp_path / "film.mp4", []
    for content in shown.values():
        if content is not None:
            place.write_bytes(content if isinstance(content, bytes) else film_bytes(content, 25.0))
        rows.append(Measurer(eyes=eyes, clip=CLIP).row(known, None if content is None else str(place)))
    assert [row["cause"] for row in rows[:6]] == list(shown)[:6]
    assert rows[6]["cause"] in ("truncated", "not a film")
    assert all(row.get("judge_target") is None for row in rows)
    assert ["psnr" in row for row in rows] == [False] * 5 + [True, False]


def test_a_truth_that_nobody_can_be_judged_by_stops_no_other(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "films"
    write(root / "gt" / "grey.mp4", np.full((3, 64, 64, 3), 90, np.uint8))
    write(root / "gt" / "other.mp4", film_of(folder, FIRST)[:3])
    write(root / "gt" / "plain.mp4", film_of(folder, SECOND)[:3])
    (root / "truth").mkdir()
    shutil.copy(folder / "truth" / f"{FIRST}.npz", root / "truth" / "other.npz")
    (root / "references" / "plain").mkdir(parents=True)
    cv2.imwrite(str(root / "references" / "plain" / "0.png"), np.full((64, 64, 3), 90, np.uint8))
    (root / "references" / "plain" / "1.jpg").write_bytes(b"no picture")
    result = evaluate_films(str(root), str(tmp_path / "out"), outputs={"same": str(root / "gt")})
    causes = {Path(row["uri"]).name: row["cause"] for row in result["dropped"]}
    assert causes["grey.mp4"] == "no face" and "of 6 frames" in causes["other.mp4"]
    assert causes["0.png"] == "no face" and causes["1.jpg"] == "not an image"
    rows = {r["identity"]: r for r in storage.read_table(str(tmp_path / "out" / "rows.parquet")).to_pylist()
            if r["condition"] == "same"}
    assert rows["grey"]["cause"] == "the truth: no face" and rows["other"]["judge_target"] is None
    page = Path(write_film_page(str(tmp_path / "out"), str(tmp_path / "page.html"))).read_text()
    assert "the truth: no face" in page and "0.png: no face" in page
    plain = rows["plain"]
    assert plain["judge_target"] == pytest.approx(1) and plain["judge_mean"] is None and plain["flow"] == "estimated"
    assert "estimated flow of the truth: OpenCV DIS" in (tmp_path / "out" / "table.md").read_text()


def test_folders_that_cannot_be_judged_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    with pytest.raises(DataError, match="no film in gt/"):
        evaluate_films(str(tmp_path), str(tmp_path / "out"), outputs={"a": str(folder / "gt")})
    for ending in (".mp4", ".mkv"):
        (tmp_path / "gt" / f"a{ending}").write_bytes(b"")
    with pytest.raises(DataError, match=r"two true films for case 'a'.*a\.mkv.*a\.mp4"):
        evaluate_films(str(tmp_path), str(tmp_path / "out"), outputs={})
    with pytest.raises(DataError, match=rf"{FIRST}\.mp4"):
        evaluate_films(str(folder), str(tmp_path / "out"), outputs={"empty": str(tmp_path / "gt")})
    with pytest.raises(ConfigurationError, match="clip 1"):
        evaluate_films(str(folder), str(tmp_path / "out"), outputs={}, clip=1)
    with pytest.raises(ConfigurationError, match="fid_truth"):
        evaluate_films(str(folder), str(tmp_path / "out"), outputs={}, metrics=("fid_truth",))
    assert not (tmp_path / "out").exists()


def test_the_page_plays_every_film_in_step_and_stands_alone(judged: Path, tmp_path: Path) -> None:
    page = Path(write_film_page(str(judged), str(tmp_path / "page.html"), shown=1)).read_text()
    assert "<script" not in page and "http" not in re.sub(r"base64,[\w+/=]*", "", page)
    film, = re.findall(r'<div class="film" id="film\d" style="(.*?)"', page)
    assert f"--frames:{FRAMES};" in film and "--seconds:0.2400;" in film
    assert len(re.findall(r"background-image:url\(data:image/jpeg", page)) == 6
    reels = set(re.findall(r'class="reel (w\d)"', page))
    assert reels == {f"w{n}" for n in range(6)}
    assert page.count('class="slide"') == 2 and page.count('class="cursor"') == 1
    assert 'class="pause"' in page and "likeness to the truth" in page
    assert write_film_page(str(judged), str(tmp_path / "all.html")) and (tmp_path / "all.html").read_text().count(
        'class="film"') == 2


def test_inputs_are_degraded_alike_each_time_and_judged(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["evaluate", "none", str(folder), "out", "--protocol", "films", "--inputs",
                                   str(tmp_path / "in")], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert run.exit_code == 0, run.output
    assert write_film_inputs(str(folder), str(tmp_path / "again")) == []
    files = sorted(path.relative_to(tmp_path / "in") for path in (tmp_path / "in").rglob("*") if path.is_file())
    assert [str(file) for file in files] == sorted([
        "plans.jsonl", *(f"{place}/{name}{ending}" for name in (FIRST, SECOND) for place, ending in (
            ("gt", ".mkv"), ("lq", ".mp4"), ("truth", ".npz"))), *(f"references/{n}/0.jpg" for n in (FIRST, SECOND))])
    assert all((tmp_path / "in" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    run = CliRunner().invoke(app, ["evaluate", "none", str(tmp_path / "in"), str(tmp_path / "out"), "--protocol",
                                   "films", "--clip-length", "3", "--outputs", f"idle={tmp_path / 'in' / 'lq'}"],
                             env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert run.exit_code == 0, run.output
    means = means_of(tmp_path / "out")
    assert means["idle"] == means["degraded"] and means["idle"]["judge_target"] < means["truth"]["judge_target"]
    assert (tmp_path / "out" / "report.html").exists()
    run = CliRunner().invoke(app, ["evaluate", "checkpoint", str(folder), "out", "--protocol", "films", "--outputs",
                                   "a=b"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert run.exit_code != 0 and "films judges --outputs" in run.output


def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path: Path) -> None:
    """Of a film only numbers stay: 60 frames more would be 1.5 MB of pixels in truth and output."""
    wide = cv2.GaussianBlur(rng(0, "long film").integers(0, 255, (64, 400, 3)).astype(np.uint8), (0, 0), 3)
    eyes = Eyes(embedder("judge_small"), ALIGNED)
    eyes.detector = None
    most = {}
    for count in (5, 60, 120):
        place = tmp_path / f"{count}.mp4"
        write(place, np.stack([wide[:, n:n + 64] for n in range(count)]))
        tracemalloc.start()
        known, _ = look(FilmCase(name="long", film=str(place)), eyes)
        row = Measurer(eyes=eyes, clip=24).row(known, str(place))
        most[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert row["frames"] == count and row["judge_target"] == pytest.approx(1)
    assert most[120] - most[60] < 5e5


def test_frames_come_one_after_the_other_with_their_times(folder: Path) -> None:
    found = list(frames(str(folder / "gt" / f"{FIRST}.mkv")))
    assert [second for second, _ in found] == pytest.approx(np.arange(FRAMES) / 25)
    assert (np.stack([picture for _, picture in found]) == film_of(folder, FIRST)).all()
