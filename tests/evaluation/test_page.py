"""From a checkpoint to the page: tables, a rerun that does what is left, and a file that stands alone."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from anchorface.evaluation import CONDITIONS, evaluate, freeze, write_page, write_pictures
from anchorface.evaluation.album import restore_worst
from anchorface.evaluation.measured import ROW_SCHEMA
from anchorface.evaluation.sources import face_picture
from anchorface.evaluation.tables import MEASURES, number
from anchorface.records import DROPPED_SCHEMA, ConfigurationError, DataError, Dropped, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Restorer, SamplerSettings
from tests.restoration.micro import micro_checkpoint

QUICK = SamplerSettings(steps=2, mean_draws=1)


class References(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]
        assert tag not in ("script", "link", "iframe", "object")


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    checkpoint, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    return Restorer(checkpoint, weight_finder=finder)


@pytest.fixture(scope="module")
def folder(dataset_uri: str, restorer: Restorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    evaluate(restorer.folder, dataset_uri, str(out), restorer=restorer, count=6, settings=QUICK)
    return out


def test_table_holds_every_condition_and_measure(folder: Path) -> None:
    table = json.loads((folder / "table.json").read_text())
    assert [c["slug"] for c in table["conditions"]] == [c.slug for c in CONDITIONS]
    truth = table["conditions"][0]["measures"]
    assert truth["judge_target"]["mean"] == pytest.approx(1) and truth["copied"]["mean"] == 0
    for condition in table["conditions"]:
        for measure in MEASURES:
            value = condition["measures"][measure.key]
            assert value["low"] <= value["mean"] <= value["high"] and value["rows"] == 6
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["psnr"]) for r in rows] == [c["measures"]["psnr"]["mean"] for c in table["conditions"]]
    assert storage.read_table(str(folder / "rows.parquet")).num_rows == 6 * len(CONDITIONS)


def test_a_stranger_is_another_person_and_the_same_one_in_every_condition(folder: Path, dataset_uri: str) -> None:
    rows = storage.read_table(str(folder / "rows.parquet")).to_pylist()
    by = {slug: [r for r in rows if r["condition"] == slug] for slug in ("truth", "stranger")}
    people = [r["identity"] for r in by["truth"]]
    embeddings = {r["face_id"]: r for r in DatasetVersion.open(dataset_uri).rows()}
    assert {embeddings[r["target"]]["identity"] for r in by["truth"]} == set(people) and len(set(people)) > 1
    assert all(r["judge_stranger"] is not None for r in by["stranger"])
    truth = np.array([r["judge_stranger"] for r in by["truth"]])
    own = np.array([r["judge_first"] for r in by["truth"]])
    assert truth.mean() < own.mean(), "a true photograph is nearer to its own person's"
    pictures = {slug: storage.read_table(str(folder / "conditions" / f"{slug}.parquet"))["image"].to_pylist()
                for slug in ("without", "three", "stranger")}
    assert pictures["stranger"] != pictures["three"] and pictures["stranger"] != pictures["without"]


def test_a_rerun_does_only_what_is_left(folder: Path, dataset_uri: str, restorer: Restorer) -> None:
    files = {path.name: path.stat().st_mtime_ns for path in (folder / "conditions").iterdir()}
    before = (folder / "conditions" / "three.parquet").read_bytes()
    (folder / "conditions" / "three.parquet").unlink()
    evaluate(restorer.folder, dataset_uri, str(folder), restorer=restorer, count=6, settings=QUICK)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "conditions").iterdir()}
    assert {name for name in files if files[name] != after[name]} == {"three.parquet"}
    assert (folder / "conditions" / "three.parquet").read_bytes() == before


def test_another_setting_runs_restorations_again_but_not_the_input(
    folder: Path, dataset_uri: str, restorer: Restorer, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    for settings in (QUICK, SamplerSettings(steps=1, mean_draws=1)):
        evaluate(restorer.folder, dataset_uri, str(out), restorer=restorer, count=2, settings=settings,
                 conditions=[c for c in CONDITIONS if c.slug in ("degraded", "without")])
        times = {path.name: path.stat().st_mtime_ns for path in (out / "conditions").iterdir()}
        if settings is QUICK:
            first = times
    assert times["degraded.parquet"] == first["degraded.parquet"]
    assert times["without.parquet"] != first["without.parquet"]
    page = write_page(str(out), dataset_uri, str(tmp_path / "short.html"))
    assert "With" not in re.findall("<h1>(.*?)</h1>", Path(page).read_text())[0]


def test_page_stands_alone_and_holds_every_number(folder: Path, dataset_uri: str, tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("step,loss,note\n" + "".join(f"{n},{1 / (n + 1)},text\n" for n in range(60)))
    rows = [Dropped(stage="ingest", uri="x/broken.jpg", row=-1, cause="truncated").to_row()]
    out = write_page(str(folder), dataset_uri, str(tmp_path / "page.html"), history=str(history),
                     dropped=pa.Table.from_pylist(rows, schema=DROPPED_SCHEMA), title="a <test> & more")
    text = Path(out).read_text()
    seen = References()
    seen.feed(text)
    assert seen.found and all(value.startswith(("data:image/jpeg;base64,", "#")) for value in seen.found)
    assert not re.search(r"https?://|url\(|@import", text)
    assert seen.pictures > 30 and "a &lt;test&gt; &amp; more" in text
    table = json.loads((folder / "table.json").read_text())
    for condition in table["conditions"][1:]:
        for measure in MEASURES:
            value = condition["measures"][measure.key]
            assert f">{number(value['mean'], measure)}<" in text
            assert f"{number(value['low'], measure)} – {number(value['high'], measure)}" in text
    for wanted in (table["protocol_id"], table["manifest_id"], table["judge"]["sha256"][:16], "truncated",
                   "broken.jpg", "judge_small", "refldm-severe", "steps"):
        assert wanted in text


def test_pictures_are_written_beside_the_page(folder: Path, dataset_uri: str, tmp_path: Path) -> None:
    files = write_pictures(str(folder), dataset_uri, str(tmp_path / "pictures"), count=3)
    assert len(files) == 4 and all(Path(file).stat().st_size > 1000 for file in files)


def test_history_without_a_clock_is_named(folder: Path, dataset_uri: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('[{"loss": 1}]')
    with pytest.raises(DataError, match="clock"):
        write_page(str(folder), dataset_uri, str(tmp_path / "page.html"), history=str(tmp_path / "bad.json"))


def test_judge_and_size_must_fit_the_checkpoint(dataset_uri: str, restorer: Restorer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="adaface_small"):
        evaluate(restorer.folder, dataset_uri, str(tmp_path), restorer=restorer, judge="adaface_small")
    protocol = freeze(DatasetVersion.open(dataset_uri), judge="judge_small", size=128, count=2)
    with pytest.raises(ConfigurationError, match="128 px"):
        evaluate(restorer.folder, dataset_uri, str(tmp_path), restorer=restorer, protocol=protocol)


def test_files_of_an_evaluation_from_before_other_programs_are_read_as_before(folder: Path, dataset_uri: str,
                                                                            tmp_path: Path) -> None:
    """What was written before tables held their columns, both sides, causes and further judges."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    table = json.loads((old / "table.json").read_text())
    for late in ("measures", "strata", "differences", "judges", "outputs", "notes", "dropped", "protocol"):
        del table[late]
    for condition in table["conditions"]:
        del condition["causes"]
    (old / "table.json").write_text(json.dumps(table))
    protocol = json.loads((old / "protocol.json").read_text())
    assert all(row.keys() == {"number", "identity", "target", "references", "reasons", "plan", "seed"}
               for row in protocol["rows"])
    assert storage.read_table(str(old / "rows.parquet")).column_names == [n for n in ROW_SCHEMA.names if n != "image"]
    text = Path(write_page(str(old), dataset_uri, str(tmp_path / "old.html"))).read_text()
    assert "Both sides of likeness" not in text and table["protocol_id"] in text
    assert len(write_pictures(str(old), dataset_uri, str(tmp_path / "pictures"), count=2)) == 3


def test_an_album_s_worst_pictures_come_first_with_the_best_ones_beside_them(
    folder: Path, dataset_uri: str, restorer: Restorer, tmp_path: Path
) -> None:
    dataset = DatasetVersion.open(dataset_uri)
    album = restore_worst(restorer, dataset, count=3, settings=QUICK)
    again = restore_worst(restorer, dataset, count=3, settings=QUICK)
    assert [np.array_equal(one.after, other.after) for one, other in zip(album, again, strict=True)] == [True] * 3
    assert [one.learned for one in album] == sorted(one.learned for one in album)
    sharpness = {row["identity"]: [] for row in dataset.rows()}
    for row in dataset.rows():
        sharpness[row["identity"]].append((row["sharpness"], row["face_id"]))
    for one in album:
        worst = face_picture(dataset, min(sharpness[one.identity])[1], restorer.size)
        assert np.array_equal(one.before, worst.image) and one.after.shape == one.before.shape
        best = face_picture(dataset, max(sharpness[one.identity])[1], restorer.size)
        assert np.array_equal(one.references[0], best.image)
        assert not any(np.array_equal(one.before, reference) for reference in one.references)
    text = Path(write_page(str(folder), dataset_uri, str(tmp_path / "page.html"), album=album)).read_text()
    assert text.index("Your album") < text.index("What it does")
    assert text.count("training has ") == 3
    plain = Path(write_page(str(folder), dataset_uri, str(tmp_path / "plain.html"))).read_text()
    assert "Your album" not in plain


def test_people_in_a_single_photograph_are_not_shown(dataset_uri: str, restorer: Restorer) -> None:
    class Single(DatasetVersion):
        def rows(self, split=None, columns=None):
            return [{**row, "photo_id": "the only one"} for row in super().rows(split, columns)]

    assert restore_worst(restorer, Single.open(dataset_uri), settings=QUICK) == []
