"""The smallest heaps: one face, two faces of one person, no face. Every verb works or says what is missing."""

import shutil
from pathlib import Path

import pytest

from anchorface.pipelines.audit import audit
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import AnchorfaceError


def curated(source: Path, out: Path) -> dict:
    ingest(str(source), str(out), concurrency=0)
    find_faces(str(out), concurrency=0)
    return dict(group(str(out)))


def test_one_face_is_one_identity(shared_data: Path, tmp_path: Path) -> None:
    found = curated(shared_data / "trouble" / "curate_one_face_crash", tmp_path / "work")
    assert (found["faces"], found["identities"], found["single_faces"]) == (1, 1, 1)
    assert Path(shards(str(tmp_path / "work"), concurrency=0), "manifest.json").exists()
    audit(str(tmp_path / "work"))


def test_no_face_is_told(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(shared_data / "trouble" / "README.md", tmp_path / "in" / "a.jpg")
    for verb in (lambda: curated(tmp_path / "in", tmp_path / "work"), lambda: shards(str(tmp_path / "work"))):
        with pytest.raises(AnchorfaceError):
            verb()
    assert dropped(str(tmp_path / "work")).num_rows == 1
