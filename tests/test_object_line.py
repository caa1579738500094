"""The whole line where everything stands in a bucket of a real server, beside the same line on a local disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anchorface.records import storage
from anchorface.synthetic import write_corpus
from tests.conftest import ROOT
from tests.object_store import SECRET, USER, ObjectStore
from tests.restoration.micro import micro_checkpoint
from tests.restoration.test_film import cut

DATA = (".jpg", ".png", ".tar", ".parquet", ".safetensors", ".lance", ".manifest", ".jsonl")
DETECTOR = "models/scrfd_500m_kps.onnx"


def told(uri: str) -> str:
    """What stands in a file, its tables unpacked."""
    if uri.endswith(".parquet"):
        return str(storage.read_table(uri).to_pylist())
    return storage.read_bytes(uri).decode(errors="replace")


def line(folder: Path, home: dict[str, str], *words: str) -> dict[str, Any]:
    """What a process of its own makes of it, with one thread."""
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "object_line.py"), *words], cwd=folder,
                          env=os.environ | home | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert SECRET not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.cluster
def test_the_line_on_a_bucket_alone_makes_the_same_as_on_a_disk_and_leaves_nothing_here(
    bucket: str, buckets: ObjectStore, shared_data: Path, read_only: Path, small_disk: Path, tmp_path: Path
) -> None:
    source, there = f"{bucket}/photos", f"{bucket}/line"
    write_corpus(source, identities=4, photos_each=4, seed=5, size=144)
    storage.write_atomic(f"{bucket}/films/clip.mp4", cut(shared_data / "video" / "lp_d12.mp4", 6))
    micro_checkpoint(tmp_path)
    common = (str(tmp_path), str(shared_data / DETECTOR), str(buckets.folder / "requests"))
    home = {"HOME": str(read_only), "TMPDIR": str(small_disk), "XDG_STATE_HOME": str(small_disk / "state"),
            "ANCHORFACE_TABLES": str(small_disk / "tables")}
    found, beside = (line(read_only, home, source, root, *common) for root in (there, str(tmp_path / "line")))
    assert found["made"] == beside["made"]
    assert found["made"]["damages"] == "[]" and found["made"]["run"] == "finished"
    assert '"restored": 1' in found["made"]["film"]

    asked = found["asked"]
    for again in ("shards again", "train again", "restore again"):
        assert not asked[again].get("POST", 0) and asked[again]["up"] < 10_000, (again, asked[again])
    for name in storage.list_files(bucket):
        said = told(name)
        assert SECRET not in said and USER not in said, name
    print(json.dumps([asked, beside["asked"]]))
    # The node's copy of the face table, which every process maps, is all of the data that stays here.
    left = [path for path in small_disk.rglob("*") if path.is_file() and "tables" not in path.parts]
    assert not [path for path in left if path.suffix in DATA], left
