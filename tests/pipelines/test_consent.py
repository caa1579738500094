"""A recipe's demands of licence, consent and source are met by every face that a run may read, or it does not begin."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.feed.consent import require_allowed
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.pipelines.shards import shards
from anchorface.pipelines.versions.plan import shard_settings
from anchorface.records.errors import ConfigurationError, ConsentError, DataError
from anchorface.training.recipes import recipe

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
