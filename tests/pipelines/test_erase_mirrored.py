"""Copies of erased photographs whose people stay: saved anew or mirrored, they are kept out, and other photographs of
the same people come in."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from anchorface.faces.align import mirrored_points
from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.mirrored import mirrored
from anchorface.pipelines.erasure.selection import by_photo
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.storage import list_files, read_table

QUIET = Progress(quiet=True)


@pytest.fixture
def out(line, tmp_path: Path) -> Path:
    return Path(shutil.copytree(line.out, tmp_path / "out"))


@pytest.fixture
def photos(line) -> list[Path]:
    """The first photograph of every person: some have others."""
    return sorted(line.source.glob("s*/000.jpg"))


def shown_again(source: Path, photos: list[Path], folder: Path) -> None:
    """A source of the photographs saved anew and mirrored, and of other photographs of the same people."""
    rows = {row["file"]: row for row in map(json.loads, (source / "metadata.jsonl").read_text().splitlines())}
    told = []
    for photo in photos:
        for kind, path in (("anew", photo), ("mirrored", photo), ("other", photo.with_name("001.jpg"))):
            if not path.exists():
                continue
            row, picture = json.loads(json.dumps(rows[str(path.relative_to(source))])), Image.open(path)
            if kind == "mirrored":
                picture = ImageOps.mirror(picture)
                for face in row["faces"]:
                    face["landmarks"] = mirrored_points(face["landmarks"], picture.width).tolist()
            row["file"] = f"{kind}/{photo.parent.name}.jpg"
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder / row["file"], quality=60)
            told.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(told))


def test_mirrored_copies_of_erased_photographs_stay_out(line, out, photos, tmp_path):
    report = erase(str(out), by_photo(str(out), [str(photo) for photo in photos]))
    assert not any("mirrored" in place for place in report["not_searched"])
    again, new = tmp_path / "again", tmp_path / "new"
    shown_again(line.source, photos, again)
    shutil.copytree(out / "tombstones", new / "tombstones")
    ingest(str(again), str(new), concurrency=0)
    find_faces(str(new), embedder=line.embedder, crop_size=160, concurrency=0)
    (table,) = (read_table(uri, ("uri",)) for uri in list_files(str(new / "faces")))
    came = {"/".join(Path(uri).parts[-2:]) for uri in table["uri"].to_pylist()}
    assert came == {str(path.relative_to(again)) for path in (again / "other").iterdir()}
    erased = [Path(row["uri"]).parts[-2] for row in dropped(str(new)).to_pylist() if row["cause"] == "erased"]
    assert sorted(erased) == ["anew"] * len(photos) + ["mirrored"] * len(photos)


def damage_crops(out: Path) -> None:
    """Cut the crops of the face tables short."""
    for path in (out / "faces").glob("*.parquet"):
        table = pq.read_table(path)
        short, place = [crop[: len(crop) // 2] for crop in table["crop"].to_pylist()], table.schema.names.index("crop")
        pq.write_table(table.set_column(place, table.schema.field(place), [short]), path)


def test_a_crop_that_is_gone_is_taken_from_a_dataset_version_or_told(line, out, photos):
    selection = by_photo(str(out), [str(photo) for photo in photos])
    whole, said = mirrored(str(out), selection, QUIET)
    damage_crops(out)
    kept, told = mirrored(str(out), selection, QUIET)
    (rows, units, _), (less, fewer, _) = whole[line.embedder], kept[line.embedder]
    assert sorted(rows.tolist()) == list(range(len(photos))) and said == ()
    assert len(less) and bool(told) == (len(less) < len(rows))
    assert np.array_equal(fewer, units[[rows.tolist().index(row) for row in less]]), "of the same crops"
    shutil.rmtree(out / "dataset")
    report = erase(str(out), selection)
    assert sum(f"mirrored copies of {len(photos)} faces" in place for place in report["not_searched"]) == 1
    _, vectors, looks = selection.pictures[line.embedder]
    assert Tombstones.open(str(out)).has_picture(vectors, looks, line.embedder).all()


def test_a_network_that_is_gone_is_told(line, out, photos):
    selection = by_photo(str(out), [str(photos[0])])
    gone = replace(selection, pictures={"a_network_that_is_gone": selection.pictures[line.embedder]})
    assert mirrored(str(out), gone, QUIET)[0] == {}
    assert any("mirrored copies of 1 faces" in place for place in erase(str(out), gone)["not_searched"])
