"""The smallest heaps: one face, two faces of one person, no face. Every verb works or says what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.pipelines.audit import audit
from anchorface.pipelines.faces.face_filters import FaceFilters
from anchorface.pipelines.faces.sizes import face_sizes_said, photo_sizes_said
from anchorface.pipelines.find_faces import FaceSettings, find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import AnchorfaceError, DataError
from anchorface.records.storage import list_files, read_table
from anchorface.synthetic import write_corpus


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


def test_thumbnails_cost_a_row_each_and_are_told_of_before_faces_are_looked_for(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for number in range(300):
        side = int(noise.integers(48, 97))
        picture = noise.integers(0, 256, (side, side - number % 9, 3)).astype(np.uint8)
        (tmp_path / "in" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "in" / str(number % 3) / f"{number}.jpg")
    Image.fromarray(np.full((130, 90, 3), 99, np.uint8)).save(tmp_path / "in" / "wall.png")
    out = str(tmp_path / "work")
    ingest(str(tmp_path / "in"), out, concurrency=0)
    (said,) = photo_sizes_said(out, FaceFilters())
    assert said.startswith("300 of 301 photographs are thumbnails") and "fewer than 112 px" in said
    (said,) = photo_sizes_said(out, FaceFilters(smallest_photo=None))
    assert said.startswith("301 of 301 photographs are small")
    assert find_faces(out, concurrency=0) == {"faces": 0, "photos": 0, "dropped": 301}
    assert face_sizes_said(out) == []
    rows = dropped(out)
    assert len(set(rows["uri"].to_pylist())) == len(rows) == 301
    with pytest.raises(DataError, match=r"no face was found in any photograph, 300 were dropped for 'photo too small', "
                                        r"1 was dropped for 'no face found'\. `anchorface dropped"):
        group(out)


def test_small_photographs_and_faces_are_counted(embedder_name: str, tmp_path: Path) -> None:
    write_corpus(str(tmp_path / "in"), identities=3, photos_each=2, seed=5, size=130)
    out = str(tmp_path / "work")
    ingest(str(tmp_path / "in"), out, concurrency=0)
    (small,) = photo_sizes_said(out, FaceFilters())
    assert small.startswith("6 of 6 photographs are small: their longer side has fewer than 256 px")
    for crop_size, telling in ((256, True), (112, False)):
        settings = FaceSettings(embedder=embedder_name, detector="given", crop_size=crop_size)
        assert find_faces(out, settings=settings, concurrency=0)["faces"] == 6
        sides = [side for table in list_files(f"{out}/faces") for side in read_table(table)["crop_size"].to_pylist()]
        enough = sum(side >= 128 for side in sides)
        said = [line.partition(",")[0] for line in face_sizes_said(out)]
        assert said == [f"{enough} of 6 faces have 128 px a side or more"] * telling


@pytest.mark.parametrize(("option", "name"), [
    ("--detector", "antelopev2/scrfd_10g_bnkps"), ("--embedder", "adaface_ir18_webface4m"),
    ("--clusterer", "adaface_ir18_webface4m"), ("--clusterer", "nobody"),
])
def test_a_network_that_is_not_here_is_missed_before_a_photograph_is_read(
    option: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    part = tmp_path / ".cache" / "anchorface" / "antelopev2.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half of it")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"not looked at")
    done = CliRunner().invoke(app, ["curate", str(tmp_path / "in"), str(tmp_path / "work"), option, name])
    assert done.exit_code == 2 and not (tmp_path / "work").exists()
    assert name in done.output and ("only a part of it was fetched" in done.output) == (option == "--detector")
