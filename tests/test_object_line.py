"""The whole line where everything stands in a bucket of a real server, beside the same line on a local disk."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from anchorface.records import storage
from anchorface.synthetic import write_corpus
from tests.conftest import ROOT
from tests.object_line import whole_line
from tests.object_store import SECRET, USER, ObjectStore
from tests.restoration.micro import micro_checkpoint

DATA = (".jpg", ".png", ".tar", ".parquet", ".safetensors", ".lance", ".manifest", ".jsonl")
DETECTOR = "models/scrfd_500m_kps.onnx"


def told(uri: str) -> str:
    """What stands in a file, its tables unpacked."""
    if uri.endswith(".parquet"):
        return str(storage.read_table(uri).to_pylist())
    return storage.read_bytes(uri).decode(errors="replace")


@pytest.fixture
def threads() -> Iterator[None]:
    """Whatever a test does to torch's threads ends with it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.line
@pytest.mark.usefixtures("threads")
def test_the_line_on_a_bucket_alone_makes_the_same_as_on_a_disk_and_leaves_nothing_here(
    bucket: str, buckets: ObjectStore, shared_data: Path, read_only: Path, small_disk: Path, tmp_path: Path
) -> None:
    source, there = f"{bucket}/photos", f"{bucket}/line"
    write_corpus(source, identities=4, photos_each=4, seed=5, size=144)
    micro_checkpoint(tmp_path)
    common = (str(tmp_path), str(shared_data / DETECTOR), buckets.folder / "requests")
    home = {"HOME": str(read_only), "TMPDIR": str(small_disk), "XDG_STATE_HOME": str(small_disk / "state"),
            "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "object_line.py"), source, there, *map(str, common)],
                          cwd=read_only, env=os.environ | home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    beside = whole_line(source, str(tmp_path / "line"), *common)
    assert found["made"] == beside["made"]
    assert found["made"]["damages"] == "[]" and found["made"]["run"] == "finished"

    asked = found["asked"]
    for again in ("shards again", "train again", "restore again"):
        assert not asked[again].get("POST", 0) and asked[again]["up"] < 10_000, (again, asked[again])
    for name in storage.list_files(bucket):
        said = told(name)
        assert SECRET not in said and USER not in said, name
    assert SECRET not in done.stdout + done.stderr
    print(done.stderr)
    # The node's copy of the face table, which every process maps, is all that stays here.
    left = [path for path in small_disk.rglob("*") if path.is_file() and "anchorface-tables" not in str(path)]
    assert not [path for path in left if path.suffix in DATA], left
