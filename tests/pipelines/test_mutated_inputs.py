"""Five hundred inputs that nobody meant well: each is a photograph or a row with its reason, nothing else happens."""

import bz2
import gzip
import io
import json
import os
import struct
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.degradation.film import film_bytes
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources.address import local_path, parse_address
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.seeds import rng
from anchorface.records.storage import list_files, read_table

KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "gif": "GIF", "bmp": "BMP", "heic": "HEIF",
         "avif": "AVIF", "jp2": "JPEG2000", "ppm": "PPM"}
TARGETS = 500
MUTATIONS = int(os.environ.get("ANCHORFACE_MUTATIONS", "120"))
"""Mutated sidecars and tables of state; 500 take about a minute."""


@cache
def pictures() -> dict[str, bytes]:
    """One small picture in every format that is read."""
    pixels = np.kron(rng(3, "noise").integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((6, 6, 1), np.uint8))
    found = {}
    for ending, kind in KINDS.items():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        found[ending] = stream.getvalue()
    return found


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    """A few bits turned over."""
    changed = np.frombuffer(content, np.uint8).copy()
    places = generator.integers(0, len(changed), int(generator.integers(1, 12)))
    changed[places] ^= (1 << generator.integers(0, 8, len(places))).astype(np.uint8)
    return changed.tobytes()


def bomb(kind: str) -> bytes:
    """A few hundred bytes that ask for gigabytes."""
    if kind == "png":
        data = zlib.compress(bytes(1_000_000), 9)
        head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
        body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
        return b"\x89PNG\r\n\x1a\n" + body
    if kind == "gif":
        return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(40)
    if kind == "bmp":
        return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    if kind == "text":
        data = b"Comment\x00\x00" + zlib.compress(bytes(40_000_000), 9)
        content = pictures()["png"]
        chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
        return content[:33] + chunk + content[33:]
    return b"P6\n70000 70000\n255\n" + bytes(100)


def packed(kind: str) -> bytes:
    """Archives that unpack to a gigabyte, or reach out of their folder."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../escaped.jpg", bytes(4_000_000))
    else:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            add(archive, "../../escaped.jpg", bytes(4_000_000))
    return {"zip": bytes, "gz": gzip.compress, "bz2": bz2.compress}[kind](stream.getvalue())


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, to, len(content)
    archive.addfile(info, io.BytesIO(content))


def hostile_tar(path: Path, content: bytes) -> int:
    """A tar with everything that a tar can do wrong, and one good picture; how many members it has."""
    members = [
        ("../up.jpg",), ("a/../../up.jpg",), ("/tmp/absolute.jpg",), ("/etc/passwd",), ("..",),
        ("link.jpg", b"", tarfile.SYMTYPE, "/etc/passwd"), ("hard.jpg", b"", tarfile.LNKTYPE, "../../etc/passwd"),
        ("device.jpg", b"", tarfile.CHRTYPE), ("block.jpg", b"", tarfile.BLKTYPE), ("pipe.jpg", b"", tarfile.FIFOTYPE),
        ("nested.zip", b"PK\x03\x04"), ("nested.tar.gz", b"\x1f\x8b"), ("nested.tar", content), ("empty.jpg",),
        ("\udcff\udc80.jpg", content + b"1"), ("odd #@1+2%.jpg", content + b"2"), ("good.jpg", content + b"3"),
        ("x" * 300 + ".jpg", content + b"4"), ("line\nbreak.jpg", content + b"5"),
        ("broken.json", b'{"a":' + b"[" * 9999),
    ]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, *rest in members:
            add(archive, name, *rest)
    return len(members)


@pytest.fixture
def heap(tmp_path) -> tuple[Path, dict[str, str]]:
    """The inputs, and for each file's bytes-name what it is."""
    source = tmp_path / "in"
    source.mkdir()
    inputs: dict[str, str] = {}
    generator, good = rng(5, "mutations"), pictures()

    def put(name: str | bytes, content: bytes, what: str) -> None:
        path = os.path.join(os.fsencode(source), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        inputs[os.fsdecode(path)] = what

    endings = list(good)
    for number in range(200):
        ending = endings[number % len(endings)]
        put(f"flips/{number}.{ending}", flipped(good[ending], generator), "flipped")
    for number in range(130):
        ending = endings[number % len(endings)]
        cut = int(generator.integers(0, len(good[ending])))
        put(f"cuts/{number}.{ending}", good[ending][:cut] + bytes(number % 2), "cut")
    for number, (a, b) in enumerate((a, b) for a in endings for b in (*endings, "", "bak", "JPG~")):
        put(f"names/{number}.{b}" if b else f"names/{number}", good[a] + bytes([number]), "wrong ending")
    for kind in ("png", "gif", "bmp", "text", "ppm"):
        put(f"bombs/{kind}.{'png' if kind == 'text' else kind}", bomb(kind), "bomb")
    for name, kind in (("a.zip", "zip"), ("b.jpg", "zip"), ("c.tar.gz", "gz"), ("d.tgz", "gz"), ("e.tar.bz2", "bz2"),
                       ("f.tar", "gz"), ("g.parquet", "zip"), ("h", "zip")):
        put(f"packed/{name}", packed(kind), "packed")
    names = (b"\xff\xfe.jpg", b"caf\xe9/one.jpg", "na\u00efve \u4eba.jpg", b"a\nb.jpg", b"#@+%.jpg")
    for number, name in enumerate(names):
        put(b"bytes/" + os.fsencode(name), good["jpg"] + bytes([255, number]), "name")
    for number in range(10):
        film = film_bytes(np.full((6, 32, 32, 3), 10 * number, np.uint8), 2)
        put(f"films/{number}.mp4", flipped(film, generator), "film")
    (source / "tables").mkdir()
    for number in range(10):
        stream = io.BytesIO()
        pq.write_table(pa.table({"jpg": [good["jpg"] + bytes([number, n]) for n in range(3)]}), stream)
        put(f"tables/{number}.parquet", flipped(stream.getvalue(), generator), "table")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(good["jpg"])
    links = source / "links"
    links.mkdir()
    for name, to in (
        ("out.jpg", outside / "secret.jpg"), ("folder", outside), ("loop", links), ("self.jpg", "self.jpg"),
        ("gone.jpg", "nothing.jpg"), ("up", ".."), ("passwd.jpg", "/etc/passwd"), ("a.jpg", "b.jpg"),
        ("b.jpg", "a.jpg"), ("inside.jpg", "../names/0.jpg"),
    ):
        os.symlink(to, links / name)
        inputs[str(links / name)] = "link"
    os.mkfifo(source / "pipe.jpg")
    inputs[str(source / "pipe.jpg")] = "link"
    return source, inputs


def snapshot(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not path.startswith(str(without)):
                status = os.lstat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def test_five_hundred_mutated_inputs_are_photographs_or_rows_with_a_reason(heap, tmp_path):
    source, inputs = heap
    members = hostile_tar(source / "hostile.tar", pictures()["jpg"])
    assert len(inputs) + members >= TARGETS
    out = tmp_path / "out"
    before = snapshot(tmp_path, out)
    counts = ingest(str(source), str(out), concurrency=0)
    assert snapshot(tmp_path, out) == before and not list(tmp_path.parent.glob("*escaped*"))

    photos = [row for uri in list_files(f"{out}/photos") for row in read_table(uri).to_pylist()]
    left_out = dropped(str(out)).to_pylist()
    assert counts["photos"] == len(photos) and all(row["cause"] for row in left_out)
    uris = [row["uri"] for row in photos + left_out]
    accounted = {local_path(parse_address(uri).file) for uri in uris}
    missing = [path for path in inputs if path not in accounted]
    assert missing == []
    assert accounted <= inputs.keys() | {str(source / "hostile.tar")}

    causes = {local_path(parse_address(row["uri"]).file): row["cause"] for row in left_out}
    assert {causes[path] for path, what in inputs.items() if what == "packed"} == {
        "packed archive", "not an image", "damaged archive", "damaged table",
    }
    bombs = {path.rpartition("/")[2]: causes.get(path) for path, what in inputs.items() if what == "bomb"}
    assert {name for name, cause in bombs.items() if cause == "too many pixels"} == {"png.png", "gif.gif", "bmp.bmp",
                                                                                   "ppm.ppm"}
    assert bombs["text.png"] in ("unreadable", "not an image")
    told = {path: causes[path] for path, what in inputs.items() if what == "link" and path in causes}
    links = {path.rpartition("/")[2]: cause for path, cause in told.items()}
    assert links == {
        "out.jpg": "link leads out of the source", "folder": "link leads out of the source",
        "passwd.jpg": "link leads out of the source", "loop": "link to a folder", "up": "link to a folder",
        "self.jpg": "broken link", "gone.jpg": "broken link", "a.jpg": "broken link", "b.jpg": "broken link",
        "pipe.jpg": "not a regular file",
    }
    assert causes[str(source / "names" / "0.jpg")] == f"duplicate of {source / 'links' / 'inside.jpg'}"
    assert all(path not in causes for path, what in inputs.items() if what == "name")

    of_tar = Counter(row["cause"] for row in left_out if parse_address(row["uri"]).file == str(source / "hostile.tar"))
    assert of_tar == {
        "unsafe name": 5, "link in an archive": 2, "not a regular file": 3, "packed in an archive": 2,
        "tar in an archive": 1, "not an image": 1, "unreadable metadata": 1,
    }
    assert sum(parse_address(row["uri"]).file == str(source / "hostile.tar") for row in photos) == 5


def test_damaged_archives_lose_nothing_silently(tmp_path):
    """Cut or flipped anywhere, a tar gives photographs, or says where it stopped being read."""
    content, generator = pictures()["jpg"], rng(6, "mutations")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(6):
            add(archive, f"{number}.jpg", content + bytes([number]))
    whole, source = stream.getvalue(), tmp_path / "in"
    source.mkdir()
    last = whole.rindex(b"5.jpg")
    for number in range(40):
        cut = whole[: int(generator.integers(1, last))] if number % 2 else flipped(whole, generator)
        (source / f"{number:02d}.tar").write_bytes(cut)
    out = str(tmp_path / "out")
    ingest(str(source), out, concurrency=0)
    photos = [row["uri"] for uri in list_files(f"{out}/photos") for row in read_table(uri).to_pylist()]
    found = Counter(parse_address(uri).file for uri in photos)
    told = Counter(parse_address(row["uri"]).file for row in dropped(out).to_pylist())
    for path in map(str, sorted(source.iterdir())):
        assert found[path] + told[path] >= 6 or told[path] > 0
    assert sum(found.values()) > 0 and sum(told.values()) > 40


def sidecar(number: int, generator: np.random.Generator) -> tuple[str, bytes]:
    """A sidecar that says something of `one.jpg` and of files outside, in one of many forms, and then spoiled."""
    rows = [
        {"file": "one.jpg", "subject": f"s{number}", "birth_date": "1950-02-03", "taken": 2001, "consent": "granted",
         "faces": [{"landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], "age": 21.5, "yaw": -3}]},
        *({"file": file, "subject": "x"} for file in ("../../outside/secret.jpg", "/etc/passwd", "file:///etc/passwd",
                                                      "http://127.0.0.1/x.jpg", "a/../../../up.jpg", "")),
    ]
    if number % 3 == 0:
        name, text = "metadata.jsonl", "\n".join(map(json.dumps, rows))
    else:
        sign = ",;\t|"[number % 4]
        keys = ("file", "subject", "birth_date", "consent")
        lines = [sign.join(("File Name", "Person", "Born", "Consent"))]
        lines += [sign.join(str(row.get(key, "")) for key in keys) for row in rows]
        name, text = ("Metadata.CSV", "index.tsv")[number % 2], "\n".join(lines)
    content = text.encode(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")[number % 5])
    how = number % 6
    if how == 0:
        return name, flipped(content, generator)
    if how == 1:
        return name, content[: int(generator.integers(0, len(content)))]
    if how == 2:
        odd = (b'"', b"[" * 500, b"\0", b"9" * 5000)[number % 4]
        return name, content.replace(b"s", generator.bytes(3)).replace(b"1", odd)
    if how == 3:
        return name, content + generator.bytes(200) + content
    if how == 4:
        return name, b"\n".join(generator.permutation(content.split(b"\n")).tolist())
    return name, content.replace(b"2", b"\xff" * int(generator.integers(1, 99))).replace(b"\n", b"\r")


def test_mutated_sidecars_cost_fields_and_rows_and_nothing_else(tmp_path):
    source, generator, good = tmp_path / "in", rng(7, "mutations"), pictures()["jpg"]
    for number in range(MUTATIONS):
        folder = source / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "one.jpg").write_bytes(good + bytes([number % 251, number // 251]))
        name, content = sidecar(number, generator)
        (folder / name).write_bytes(content)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(good)
    begun, out = time.monotonic(), tmp_path / "out"
    before = snapshot(tmp_path, out)
    counts = ingest(str(source), str(out), concurrency=0)
    assert snapshot(tmp_path, out) == before and time.monotonic() - begun < 0.5 * MUTATIONS + 60
    assert counts["photos"] == MUTATIONS, "what is said of a photograph never costs it"
    photos = [row for uri in list_files(f"{out}/photos") for row in read_table(uri).to_pylist()]
    assert all(row["uri"].startswith(f"{source}/") for row in photos)
    assert sum(row["subject"] is not None for row in photos) > MUTATIONS // 4
    told = {row["cause"] for row in dropped(str(out)).to_pylist()}
    assert told <= {"unreadable metadata", "listed but not there", "date before birth"}


def test_mutated_state_of_a_source_is_made_anew_or_named(tmp_path):
    source, out, generator = tmp_path / "in", tmp_path / "out", rng(8, "mutations")
    source.mkdir()
    for number in range(4):
        (source / f"{number}.jpg").write_bytes(pictures()["jpg"] + bytes([number]))
    (source / "gone.jpg").write_bytes(b"")
    ingest(str(source), str(out), concurrency=0)
    state = sorted(path for path in (out / "listing").rglob("*") if path.is_file())
    kept = {path: path.read_bytes() for path in state}
    for number in range(MUTATIONS // 4):
        path = state[number % len(state)]
        path.write_bytes(flipped(kept[path], generator) if number % 2 else kept[path][: number * 7])
        assert ingest(str(source), str(out), concurrency=0)["photos"] == 4
        assert path.read_bytes() == kept[path]
