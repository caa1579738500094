"""A heap with every kind of bad file: each becomes a row with its cause, the others go on as if it were not there."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchorface.faces.weights import find
from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import DataError, StorageError, WeightsError
from anchorface.records.storage import list_files, read_table
from anchorface.synthetic import identity, render
from anchorface.synthetic.state import State


def huge_png() -> bytes:
    """A PNG header that asks for 30,000 x 30,000 pixels, and a few bytes of data."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def save(picture: Image.Image, path: Path, **options) -> None:
    picture.save(path, **options)


@pytest.fixture(scope="module")
def heap(tmp_path_factory):
    """Six kinds of bad file, five kinds of odd but good ones, and a sidecar with broken lines."""
    folder = tmp_path_factory.mktemp("heap")
    shot = render(identity(5), State(), 160)
    photo = Image.fromarray(shot.image)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=92)
    (folder / "good.jpg").write_bytes(buffer.getvalue())
    (folder / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "text.jpg").write_text("these are words, not pixels")
    (folder / "empty.jpg").write_bytes(b"")
    save(Image.new("RGB", (1, 1)), folder / "dot.png")
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    save(photo.convert("L"), folder / "grey.png")
    save(Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), folder / "sixteen.png")
    save(photo.convert("RGBA"), folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2011:05:06 07:08:09"
    save(photo.transpose(Image.Transpose.ROTATE_90), folder / "rotated.jpg", exif=exif, quality=92)
    save(Image.fromarray(np.full((120, 120, 3), 90, np.uint8)), folder / "wall.png")
    (folder / "copy.jpg").write_bytes(buffer.getvalue())
    (folder / "notes.txt").write_text("not named like a photograph")
    points = [[float(x), float(y)] for x, y in shot.landmarks]
    face = {"landmarks": points, "age": 40}
    rows = [{"file": name, "faces": [face], "birth_date": "1990", "licence": "CC0-1.0"}
            for name in ("good.jpg", "grey.png", "sixteen.png", "alpha.png")]
    rows += [{"file": "rotated.jpg", "faces": [{"landmarks": points}], "birth_date": "1990-05-06"},
             {"file": "gone.jpg"}, {"file": "wall.png", "faces": [{"landmarks": [[1, 2], [3, 4]]}]}]
    text = "".join(json.dumps(row) + "\n" for row in rows) + "{broken\n"
    (folder / "metadata.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def out(heap, tmp_path_factory, embedder_name):
    out = str(tmp_path_factory.mktemp("bad") / "out")
    counts = ingest(str(heap), out, concurrency=0)
    assert counts == {"photos": 6, "dropped": 11, "duplicates": 1}
    find_faces(out, embedder=embedder_name, detector="given", crop_size=128, concurrency=0)
    return out


def test_each_bad_file_is_a_row_with_its_cause(heap, out):
    causes = {(row["uri"].rsplit("/", 1)[-1], row["row"]): row["cause"] for row in dropped(out).to_pylist()}
    assert causes == {
        ("truncated.jpg", -1): "truncated", ("text.jpg", -1): "not an image", ("empty.jpg", -1): "not an image",
        ("dot.png", -1): "too small", ("huge.png", -1): "too many pixels", ("phone.heic", -1): "not an image",
        ("copy.jpg", -1): f"duplicate of {heap / 'good.jpg'}", ("wall.png", -1): "no face found",
        ("metadata.jsonl", 5): "listed but not there", ("metadata.jsonl", 6): "unreadable metadata",
        ("metadata.jsonl", 7): "unreadable metadata", (heap.name, -1): "other files",
    }


def test_grey_sixteen_bit_alpha_and_rotated_photos_are_read_alike(out):
    faces = [row for uri in list_files(f"{out}/faces", (".parquet",)) for row in read_table(uri).to_pylist()]
    kept = {row["uri"].rsplit("/", 1)[-1]: row for row in faces}
    assert set(kept) == {"good.jpg", "grey.png", "sixteen.png", "alpha.png", "rotated.jpg"}
    for row in kept.values():
        # Luma and the mean of three channels differ by a few levels; halved or wrapped 16 bits would by dozens.
        assert row["brightness"] == pytest.approx(kept["alpha.png"]["brightness"], abs=6.0)
        assert np.dot(row["embedding"], kept["grey.png"]["embedding"]) > 0.7
    assert np.dot(kept["rotated.jpg"]["embedding"], kept["alpha.png"]["embedding"]) > 0.95


def test_given_age_wins_over_dates_and_dates_over_nothing(out):
    faces = [row for uri in list_files(f"{out}/faces", (".parquet",)) for row in read_table(uri).to_pylist()]
    ages = {row["uri"].rsplit("/", 1)[-1]: (row["age"], row["age_source"]) for row in faces}
    assert ages["grey.png"] == (40.0, "given")
    assert ages["rotated.jpg"][0] == pytest.approx(21.0, abs=0.01) and ages["rotated.jpg"][1] == "dates"


def test_a_heap_without_a_face_says_so(tmp_path, embedder_name):
    source = tmp_path / "walls"
    source.mkdir()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(source / "wall.png")
    out = str(tmp_path / "out")
    ingest(str(source), out, concurrency=0)
    find_faces(out, embedder=embedder_name, detector="given", concurrency=0)
    with pytest.raises(DataError, match="no face was found"):
        group(out, labels=False)


def test_folder_that_is_not_there(tmp_path):
    for source in (tmp_path / "nowhere", tmp_path / "no" / "*.jpg"):
        with pytest.raises(StorageError, match="there is no such folder"):
            ingest(str(source), str(tmp_path / "out"), concurrency=0)


def test_folder_without_photographs(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError, match="named like a photograph"):
        ingest(str(tmp_path), str(tmp_path / "out"), concurrency=0)


def test_output_that_cannot_be_written(heap, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot"):
        ingest(str(heap), str(tmp_path / "file" / "out"), concurrency=0)


def test_errors_keep_their_class_through_ray(ray_session, heap, tmp_path):
    from anchorface.pipelines.stages.stage import Part, run

    parts = [Part(name="part-00000", rows=1, inputs="x", payload="{}")]
    with pytest.raises(StorageError, match="the disk is full"):
        run(str(tmp_path), "fails", parts, fail, settings={}, concurrency=1)
    assert not list(Path(tmp_path).rglob("part-*"))


def fail():
    def work(name, payload):
        raise StorageError("the disk is full")

    return work


def test_missing_network_is_named_with_where_to_get_it(heap, out):
    try:
        find("buffalo_l/det_10g")
        pytest.skip("this machine has the pack")
    except WeightsError:
        pass
    with pytest.raises(WeightsError, match=r"det_10g\.onnx"):
        find_faces(out, detector="buffalo_l", concurrency=0)


def test_index_needs_faces(tmp_path):
    with pytest.raises(DataError, match="no face index"):
        IdentityIndex.open(str(tmp_path))
