"""A recipe's demands of licence, consent and source are met by every face that a run may read, or it does not begin;
consent that was withdrawn takes a photograph out of whatever is made from then on.
"""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import lance
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.feed.batches import batches
from anchorface.pipelines.feed.consent import require_allowed
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.pipelines.ingest import ingest, not_understood
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.pipelines.versions.plan import shard_settings
from anchorface.records.dataset import DatasetVersion
from anchorface.records.errors import ConfigurationError, ConsentError, DataError
from anchorface.records.manifest import Manifest
from anchorface.records.storage import list_files, read_table
from anchorface.synthetic import write_corpus
from anchorface.training.recipes import recipe
from tests.pipelines.whole_line import run_line

SIGNED = {"licence": ("CC BY 4.0",), "consent": ("signed 2026-03",)}


def settings(line, **changes) -> FeedSettings:
    return FeedSettings(dataset=str(line.version), size=64, **changes)


def faces(line) -> list[dict]:
    """Every face of the workspace, as the index has it."""
    return IdentityIndex.open(str(line.out / "index")).faces(["face_id", "split", "identity", "licence", "consent"]
                                                             ).to_pylist()


def test_recipes_demand_nothing_unless_told(line):
    assert recipe("iconface").feed.requires == () and recipe("iconface_tiny").feed.requires == ()
    require_allowed(str(line.version), settings(line))


def test_what_is_not_allowed_is_counted_and_the_command_leaves_it_out(line, tmp_path):
    out = Path(shutil.copytree(line.out, tmp_path / "a workspace"))
    uri = open_dataset(str(out / "dataset")).uri
    wanted = settings(line, requires=SIGNED)
    with pytest.raises(ConsentError) as caught:
        require_allowed(uri, wanted, also=("val", "test"))
    every = faces(line)
    unsigned = [row for row in every if row["consent"] != "signed 2026-03"]
    said = str(caught.value)
    assert f"{len(unsigned)} of {len(every)} faces, of {len({row['identity'] for row in unsigned})} persons" in said
    assert f"consent {unsigned[0]['consent']!r} {len(unsigned)}" in said and "licence " in said

    words = shlex.split(next(text for text in said.splitlines() if "anchorface shards" in text))
    assert words[2] == str(out)
    answer = CliRunner().invoke(app, words[1:])
    assert answer.exit_code == 0, answer.output
    left = open_dataset(str(out / "dataset"))
    assert set(left.columns["consent"].tolist()) == {"signed 2026-03"} and len(left) == len(every) - len(unsigned)
    require_allowed(left.uri, wanted, also=("val", "test"))
    assert left.manifest.settings["shards"]["only"] == {name: list(words) for name, words in SIGNED.items()}
    assert left.manifest.parents == (Path(uri).name,)


def test_only_what_the_run_reads_counts(line):
    every = faces(line)
    split = {row["split"] for row in every if row["consent"] == "signed 2026-03"}.pop()
    person = next(row["identity"] for row in every if row["consent"] == "signed 2026-03")
    wanted = settings(line, requires=SIGNED, split=split, identities=(person,))
    require_allowed(str(line.version), wanted, also=())
    for others in ({"identities": None}, {"requires": {"source": ["elsewhere"]}}):
        with pytest.raises(ConsentError):
            require_allowed(str(line.version), replace(wanted, **others), also=())
    unseen = next(row["split"] for row in every if row["split"] != split)
    with pytest.raises(ConsentError):
        require_allowed(str(line.version), wanted, also=(unseen,))


def test_a_version_of_everything_is_what_it_was(line):
    made = json.loads((line.version / "manifest.json").read_text())["settings"]["shards"]
    assert "only" not in made and shard_settings(made["shard_bytes"], {}) == made


def test_classes_that_nobody_has_and_columns_that_are_none_are_refused(line, tmp_path):
    out = str(shutil.copytree(line.out, tmp_path / "out"))
    with pytest.raises(DataError, match="no face is of the classes"):
        shards(out, only={"licence": ["nobody's"]}, concurrency=0)
    for only in ({"age": ["old"]}, {"licence": []}):
        with pytest.raises(ConfigurationError, match="columns are licence, consent, source"):
            shards(out, only=only, concurrency=0)


@pytest.mark.parametrize("text", [
    '{"consent": ["withdrawn"]}', '{"consent": ["granted", "no"]}',
    '{"age": ["old"]}', '{"licence": "CC0"}', '{"licence": []}', '{"consent": [1]}', "[3]",
    '[["source", ["a"]], ["source", ["b"]]]',
])
def test_demands_that_cannot_be_read_are_refused(text):
    with pytest.raises(ConfigurationError, match=r"feed\.requires"):
        recipe("iconface_tiny", **{"feed.requires": text})


def test_demands_are_set_from_a_command_line_and_do_not_make_another_recipe():
    demanded = '{"licence": ["CC0-1.0", "CC BY 4.0"], "consent": ["given"]}'
    made = recipe("iconface_tiny", **{"feed.requires": demanded})
    assert made.feed.requires == (("consent", ("given",)), ("licence", ("CC BY 4.0", "CC0-1.0")))
    assert made.to_dict()["feed"]["requires"] and made.digest == recipe("iconface_tiny").digest


def test_classes_do_for_words_and_the_feed_refuses_by_them(line):
    wanted = settings(line, requires={"licence": ["commercial"], "consent": ["granted"]})
    require_allowed(str(line.version), wanted, also=("val", "test"))
    assert len(list(batches("", replace(wanted, batch=2), 0, 1, engine="inline"))) == 1
    with pytest.raises(ConsentError, match=r"licence 'CC0-1.0' [0-9,]+ \(CC0\)"):
        batches("", replace(wanted, requires={"licence": ["CC-BY"]}), 0, 1, engine="inline")
    terms = open_dataset(str(line.version)).manifest.terms
    assert set(terms["consent"]) == {"granted"} and set(terms["licence"]) == {"CC0", "CC-BY"}


def test_a_version_with_withdrawn_faces_is_not_read(line, tmp_path):
    uri = Path(shutil.copytree(line.out, tmp_path / "work")) / "dataset" / line.version.name
    manifest = Manifest.from_json((uri / "manifest.json").read_text())
    consents = {"withdrawn 2026-05" if "signed" in words else words: n for words, n in manifest.consents.items()}
    (uri / "manifest.json").write_text(replace(manifest, consents=consents).to_json())
    for opened in (open_dataset, DatasetVersion.open):
        with pytest.raises(ConsentError, match=f"consent to 5 of (?s:.*)anchorface erase {tmp_path}/work --withdrawn"):
            opened(str(uri))


def test_shards_leaves_withdrawn_faces_out_and_counts_what_it_leaves_out(line, tmp_path):
    out = Path(shutil.copytree(line.out, tmp_path / "out"))
    index = lance.dataset(out / "index" / "faces.lance")
    index.update({"consent": "'revoked'"}, where="consent = 'signed 2026-03'")
    made = open_dataset(shards(str(out), concurrency=0))
    assert made.manifest.extra["left_out"] == {"consent": {"withdrawn": 5}}
    assert "revoked" not in made.columns["consent"].tolist() and len(made) == len(faces(line)) - 5
    answer = CliRunner().invoke(app, ["shards", str(out)])
    assert answer.exit_code == 0 and "left out: 5 faces of consent withdrawn" in answer.output
    index.update({"consent": "'no'"})
    with pytest.raises(ConsentError, match="to all of its faces was withdrawn"):
        shards(str(out), concurrency=0)


def test_withdrawn_means_gone_from_the_next_version_and_erased_from_all_on_demand(tmp_path, embedder_name):
    source, out = tmp_path / "photos", tmp_path / "work"
    write_corpus(source, identities=3, photos_each=2, seed=5, size=160)
    rows = [json.loads(text) for text in (source / "metadata.jsonl").read_text().splitlines()]
    rows[1]["consent"], rows[2]["licence"] = "ask her", "see contract 7"
    shutil.copyfile(source / rows[0]["file"], source / "copy.jpg")

    def say() -> None:
        (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    say()
    first = run_line(source, out, embedder_name, concurrency=0)
    assert not_understood(str(out)) == [
        "licence of 1 photographs is not understood, and counts as unknown: 'see contract 7' 1",
        "consent of 1 photographs is not understood, and counts as unknown: 'ask her' 1"]
    photo = next(row["photo_id"] for row in read_table(str(first / "faces.parquet")).to_pylist()
                 if row["uri"].endswith((rows[0]["file"], "copy.jpg")))

    rows[0]["consent"] = "withdrawn 2026-05-01"
    say()
    second = run_line(source, out, embedder_name, concurrency=0)
    gone = [row for row in dropped(str(out)).to_pylist() if row["cause"] == "consent withdrawn"]
    assert sorted(Path(row["uri"]).name for row in gone) == sorted(["copy.jpg", Path(rows[0]["file"]).name])
    assert any("'withdrawn 2026-05-01'" in row["detail"] for row in gone)
    for place in (out / "photos", out / "faces", second):
        for uri in list_files(str(place), (".parquet",)):
            assert photo not in read_table(uri, ("photo_id",))["photo_id"].to_pylist()
    assert not any(photo.encode() in tar.read_bytes() for tar in second.glob("shards/*.tar"))
    assert photo not in IdentityIndex.open(str(out / "index")).faces(["photo_id"])["photo_id"].to_pylist()
    assert photo in read_table(str(first / "faces.parquet"))["photo_id"].to_pylist()

    run = tmp_path / "runs" / "one"
    (run / "checkpoints" / "step-1").mkdir(parents=True)
    (run / "checkpoints" / "step-1" / "checkpoint.json").write_text(json.dumps({"manifest_id": first.name}))
    answer = CliRunner().invoke(app, ["shards", str(out)])
    assert f"hold them: {first.name} (1 faces)" in answer.output
    command = answer.output.partition("anchorface ")[2].splitlines()[0]
    answer = CliRunner().invoke(app, shlex.split(command.replace("FOLDER", str(tmp_path / "runs"))))
    assert answer.exit_code == 0, answer.output
    assert f"saw them: training {run}" in answer.output and not first.exists()
    for uri in list_files(str(out), (".parquet",)):
        table = read_table(uri)
        assert "photo_id" not in table.column_names or photo not in table["photo_id"].to_pylist()
    assert ingest(str(source), str(out), part_rows=10, concurrency=0)["photos"] == 5
