"""Every verb that writes says before it begins that a bucket may not be written; and knows a bucket's address."""

from pathlib import Path

import pytest
import torch

from anchorface.models.export import write_adapter_file, write_lora, write_merged
from anchorface.models.weights import load
from anchorface.records import storage
from tests.object_store import READER, SECRET, ObjectStore
from tests.restoration.micro import micro_checkpoint
from tests.test_cli import VERBS, run

READS = {"doctor", "recipes", "plan", "fetch", "versions", "dropped", "decisions", "who", "verify", "submit", "jobs",
         "logs", "cancel", "ray-cluster"}
WRITES = {
    "corpus": "THERE/corpus", "corpus films": "THERE/corpus --frames 2", "curate": "THERE/photos THERE/new",
    "shards": "THERE/workspace", "audit": "THERE/workspace", "merge": "THERE/workspace p000000 p000001",
    "split": "THERE/workspace p000000 --faces a", "reject": "THERE/workspace a",
    "label": "THERE/workspace p000000 somebody", "erase": "THERE/workspace --identity p000000 --yes",
    "train": "THERE/version THERE/run --no-track --workers 0",
    "sweep": "THERE/version THERE/sweep --over learning_rate=1e-4,1e-5 --no-track",
    "restore": "CHECKPOINT THERE/photos THERE/restored",
    "evaluate": "CHECKPOINT THERE/version THERE/judged",
    "evaluate inputs": "CHECKPOINT THERE/version THERE/judged --inputs THERE/inputs",
    "evaluate films": "none THERE/version THERE/judged --protocol films --outputs other=THERE/photos",
    "evaluate ntire": "none THERE/version THERE/judged --protocol ntire-2026-face --outputs other=THERE/photos",
    "export": "CHECKPOINT THERE/one.safetensors", "export merged": "CHECKPOINT THERE/merged --form merged",
    "prompt": "--out THERE/prompt.safetensors --text-encoder nowhere --tokenizer nowhere",
    "degrade": "THERE/photos --out THERE/degraded", "degrade page": "--page THERE/page.html",
    "norm": "--out THERE/norm.json", "references": "THERE/workspace --out THERE/choices.csv",
    "diff": "THERE/version THERE/version --out THERE/rows.parquet", "demo": "--out THERE/demo",
}


def test_it_is_known_of_every_verb_whether_it_writes() -> None:
    assert {name.partition(" ")[0] for name in WRITES} | READS == VERBS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose base weights are not found: whoever loads it first fails of that."""
    return micro_checkpoint(tmp_path_factory.mktemp("micro"))[0]


@pytest.mark.parametrize("name", WRITES)
def test_a_bucket_that_may_not_be_written_is_said_before_the_start(
    name: str, bucket: str, buckets: ObjectStore, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("photos/one.jpg", "workspace/photos/part-00000.parquet", "version/latest"):
        storage.write_atomic(f"{bucket}/{file}", b"not read")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    monkeypatch.chdir(tmp_path)
    before = len(buckets.requests())
    words = WRITES[name].replace("THERE", bucket).replace("CHECKPOINT", checkpoint).split()
    status, text = run(name.partition(" ")[0], *words)
    assert status == 2 and "Traceback" not in text and SECRET not in text, text
    assert "access denied" in text.lower().replace("_", " ") and f"{bucket}/" in text, text
    asked = buckets.requests()[before:]
    assert not [each for each in asked if each.path.endswith(("one.jpg?", "latest?")) and each.method == "GET"], asked
    assert not list(tmp_path.iterdir())


def test_a_model_handed_on_to_a_bucket_is_the_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    folder, finder = micro_checkpoint(tmp_path)
    for out in (bucket, str(tmp_path / "out")):
        write_adapter_file(folder, f"{out}/adapter.safetensors")
        write_lora(folder, f"{out}/lora.safetensors")
        write_merged(folder, f"{out}/merged", finder)
    names = [storage.name_in(out, uri) for uri in storage.list_files(out)]
    assert names == [storage.name_in(bucket, uri) for uri in storage.list_files(bucket)]
    assert "merged/transformer/config.json" in names
    for name in (name for name in names if name.endswith(".safetensors")):
        (there, said), (here, told) = load(f"{bucket}/{name}"), load(f"{out}/{name}")
        assert said == told and there.keys() == here.keys()
        assert all(torch.equal(there[tensor], here[tensor]) for tensor in here)
