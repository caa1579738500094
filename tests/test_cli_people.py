"""What a person says with the commands is kept, told, and true after the next group; mistakes are told in words."""

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.images import encode_jpeg
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.clustering.decisions import read_decisions
from anchorface.pipelines.audit import photo_reader
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group, regroup
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import PhotoError
from anchorface.records.storage import read_table
from anchorface.synthetic import write_corpus

LABELLED = ("s000000", "s000001", "s000002")
PHOTOS = 4


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "300", "NO_COLOR": "1"})
    return result.exit_code, result.output.replace("\n", " ")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled persons and three without a label, whose faces only decisions bring together."""
    source, out = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("work") / "out"
    write_corpus(source, identities=6, photos_each=PHOTOS, seed=5, size=160, workers=1)
    rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        for each in (row, *row["faces"]):
            each["subject"] = each.get("subject") if row["subject"] in LABELLED else None
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source / "broken.jpg").write_bytes(encode_jpeg(np.zeros((64, 64, 3), np.uint8))[:200])
    ingest(str(source), str(out), concurrency=0)
    find_faces(str(out), crop_size=128, concurrency=0)
    group(str(out), labels=True, threshold=0.999)
    return out


@pytest.fixture
def work(grouped: Path, tmp_path: Path) -> Path:
    """A copy of the grouped workspace to decide in."""
    shutil.copytree(grouped, tmp_path / "work")
    return tmp_path / "work"


def persons(work: Path) -> dict[str, list[str]]:
    """Identity -> face ids, as the last group left them."""
    rows = read_table(str(work / "identities" / "part-00000.parquet")).to_pylist()
    return {row["identity"]: row["face_ids"] for row in rows}


def labelled(work: Path, label: str) -> str:
    rows = read_table(str(work / "identities" / "part-00000.parquet")).to_pylist()
    return next(row["identity"] for row in rows if row["subject"] == label)


def strangers(work: Path) -> dict[str, list[str]]:
    """Photograph's person -> the identities of the faces that came without a label."""
    faces = IdentityIndex.open(str(work / "index")).faces(["uri", "identity", "subject"]).to_pylist()
    found: dict[str, set[str]] = defaultdict(set)
    for row in faces:
        if row["subject"] is None:
            found[Path(row["uri"]).parent.name].add(row["identity"])
    return {person: sorted(names) for person, names in found.items()}


def test_merged_identities_are_one_person_after_the_next_group(work: Path) -> None:
    names = strangers(work)["s000004"]
    assert len(names) > 1
    before = persons(work)
    status, text = run("merge", str(work), *names, "--note", "same scarf")
    assert status == 0 and "When the faces are grouped again" in text and f"{PHOTOS} faces" in text, text
    assert persons(work) == before, "nothing happens before the next group"
    regroup(str(work))
    after = persons(work)
    merged = sorted(face for name in names for face in before[name])
    assert merged in [sorted(faces) for faces in after.values()]
    untouched = {name: faces for name, faces in before.items() if name not in names}
    assert untouched.items() <= after.items(), "everybody else is as before, under the same name"
    decision, = read_decisions(str(work))
    assert (decision.kind, decision.note, list(decision.face_ids)) == ("merge", "same scarf", merged)
    assert decision.made.startswith("20") and decision.made.endswith("+00:00")


def test_faces_split_off_are_another_person_at_once_with_now(work: Path) -> None:
    name = labelled(work, "s000001")
    faces = persons(work)[name]
    status, text = run("split", str(work), name, "--faces", f"{faces[0][:10]}, {faces[1]}", "--now")
    assert status == 0 and "2 faces leave" in text and "2 stay" in text, text
    after = persons(work)
    assert sorted(after[name]) == sorted(faces[2:])
    assert sorted(faces[:2]) in [sorted(each) for each in after.values()]


def test_rejected_faces_leave_the_index_and_are_listed_as_dropped(work: Path) -> None:
    face = persons(work)[labelled(work, "s000002")][0]
    status, text = run("reject", str(work), face[:12], "--now")
    assert status == 0, text
    assert face not in IdentityIndex.open(str(work / "index")).faces(["face_id"])["face_id"].to_pylist()
    assert face not in [each for faces in persons(work).values() for each in faces]
    causes = [row["cause"] for row in dropped(str(work)).to_pylist() if row["stage"] == "group"]
    assert causes == ["rejected by a person"]


def test_identities_with_one_label_become_one_person(work: Path) -> None:
    first, second, *_ = strangers(work)["s000005"]
    before = persons(work)
    for name in (first, second):
        status, text = run("label", str(work), name, "Ann O'Hara <b>")
        assert status == 0, text
    regroup(str(work))
    assert sorted(persons(work)[labelled(work, "Ann O'Hara <b>")]) == sorted(before[first] + before[second])


def test_decisions_are_listed_in_order(work: Path) -> None:
    assert "nothing was decided" in run("decisions", str(work))[1]
    name = labelled(work, "s000000")
    run("label", str(work), name, "Ann [bold]")
    run("reject", str(work), persons(work)[name][0], "--note", "a poster")
    status, text = run("decisions", str(work))
    assert status == 0 and text.index("label") < text.index("reject") < text.index("a poster")
    assert "Ann [bold]" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("merge", "{work}", "{ann}", "p00001"), "no identity 'p00001'; did you mean p0000"),
        (("merge", "{work}", "{ann}", "{ann}"), "two different identities"),
        (("merge", "{work}", "{ann}", "{ben}"), "give them one label instead"),
        (("merge", "{work}", "s000001", "{ann}"), "the label 's000001' belongs to {ben}"),
        (("split", "{work}", "{ann}", "--faces", "{face}z"), "no face '{face}z'; the nearest are {face}"),
        (("split", "{work}", "{ann}", "--faces", "{face}", "--now"), "is with {ben}, not with {ann}"),
        (("split", "{work}", "{ben}", "--faces", "{all}"), "nothing would be left"),
        (("split", "{work}", "{ben}", "--faces", ","), "no face is named"),
        (("reject", "{work}", ""), "is the beginning of 24 face ids"),
        (("label", "{work}", "{ann}", "\u202e"), "printable"),
        (("label", "{work}", "{ann}", " "), "printable"),
        (("reject", "{work}", "{face}", "--note", "\udcff"), "printable"),
        (("merge", "{work}/nowhere", "a", "b"), "no identities here"),
        (("audit", "{work}/nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_decided(work: Path, words: tuple[str, ...], said: str) -> None:
    ann, ben = labelled(work, "s000000"), labelled(work, "s000001")
    faces = persons(work)[ben]
    values = {"work": str(work), "ann": ann, "ben": ben, "face": faces[0], "all": ",".join(faces)}
    status, text = run(*(word.format(**values) for word in words))
    assert status == 2 and said.format(**values) in text and "Traceback" not in text, text
    assert read_decisions(str(work)) == []


def test_the_audit_command_shows_the_workspace_its_dropped_photographs_and_decisions(work: Path) -> None:
    run("reject", str(work), persons(work)[labelled(work, "s000000")][0], "--note", "a poster")
    status, text = run("audit", str(work), "--per-page", "5", "--identities", "0")
    assert status == 0 and str(work / "audit" / "index.html") in text, text
    sheets = "".join(path.read_text() for path in (work / "audit").glob("identities-*.html"))
    assert sheets.count('<article class="person"') == len(persons(work))
    assert "broken.jpg" in (work / "audit" / "dropped.html").read_text()
    assert "a poster" in (work / "audit" / "index.html").read_text()
    assert "data:image/jpeg" in (work / "audit" / "references.html").read_text()


def test_no_dropped_photograph_is_read_that_could_do_harm(tmp_path: Path) -> None:
    picture = encode_jpeg(np.full((40, 60, 3), 200, np.uint8))
    (tmp_path / "fine #1.jpg").write_bytes(picture)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "fine #1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 30)
    read = photo_reader()
    assert read(str(tmp_path / "fine #1.jpg")).shape == (40, 60, 3)
    for uri, cause in (
        ("http://127.0.0.1:9/a.jpg", "not fetched"), (str(tmp_path / "link.jpg"), "a link"),
        (str(tmp_path / "pipe.jpg"), "no regular file"), (str(tmp_path), "no regular file"),
        (str(tmp_path / "gone.jpg"), "no such file any more"), (str(tmp_path / "huge.jpg"), "too large"),
    ):
        with pytest.raises(PhotoError) as caught:
            read(uri)
        assert caught.value.cause == cause
