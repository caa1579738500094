"""The feed: bytes a face in memory, and samples a second beside decoding and degrading alone.

    python benchmarks/feed.py [--faces 1000000] [--batches 40] [--batch 16] [--size 128] [--crops 512] [--folder ...]

Memory: a table of drawn faces (ten a person, embeddings of 256 numbers) is opened by a first process, which writes the
node's files, and by a second, which maps them; each makes a Feed, the order of an epoch and the references of a few
batches. Told are the seconds, and what the process has for itself and shares, in bytes a face above an import's.
`--faces 0` leaves it out.

Speed: the golden dataset's faces, their crops made as large as `--crops` says (512 px, as find_faces makes them; 0: as
they are, about 120 px, which cost next to nothing to decode). The limit is the same pictures decoded, cut to size and
degraded by the same plans in this process, one after another and nothing else; the feed in this process, through Ray
with one worker, and both without degrading (`degrade_on_device`: what the feed's CPUs are spared), take turns with it,
so that a busy machine slows all of them alike. Told are medians of the rounds and their ratios to the limit: by the
clock, and by the CPU time of this process, which other processes move less.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface import degradation
from anchorface.faces.images import decode_jpeg, encode_jpeg
from anchorface.pipelines.feed.batches import batches
from anchorface.pipelines.feed.dataset import CropReader, open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.pipelines.feed.table import FOLDER
from anchorface.pipelines.versions.publish import TABLE_SCHEMA
from anchorface.records import rng
from anchorface.records.manifest import CLIP_COLUMNS, Manifest, Shard
from anchorface.records.table_stream import write_stream

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "dataset"
EACH, DIMENSION, SHARD = 10, 256, 20_000
"""Faces of a person, numbers of an embedding, faces of a shard."""


def tables(faces: int) -> Iterator[pa.Table]:
    """Drawn faces, a shard's rows at a time."""
    for first in range(0, faces, SHARD):
        count = min(SHARD, faces - first)
        draw = rng(0, "feed benchmark", first)
        vectors = draw.standard_normal((count, DIMENSION), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        photos = [f"{number:08x}{word:016x}" for number, word in
                  enumerate(draw.integers(2**62, size=count).tolist(), first)]
        columns: dict[str, Any] = {
            name: pa.array(draw.uniform(1, 90, count).astype(np.float32)) for name, kind in
            zip(TABLE_SCHEMA.names, TABLE_SCHEMA.types, strict=True) if pa.types.is_floating(kind)}
        columns |= {
            "photo_id": photos, "face_id": [f"{photo}-0" for photo in photos],
            "uri": [f"/photographs/{photo[:6]}/{photo}.jpg" for photo in photos],
            "identity": [f"p{number // EACH:06d}" for number in range(first, first + count)],
            "split": ["train"] * count, "shard": [f"shards/train-{first // SHARD:05d}.tar"] * count,
            "offset": np.arange(count) * 40_000, "byte_size": np.full(count, 30_000), "crop_size": np.full(count, 512),
            "crop_landmarks": list(draw.uniform(0, 512, (count, 10)).astype(np.float32)), "embedding": list(vectors),
            "perceptual_hash": draw.integers(2**64, size=count, dtype=np.uint64),
            "taken": np.full(count, np.datetime64("2020-01-01")), "licence": ["CC0-1.0"] * count,
            "consent": ["synthetic"] * count, "source": ["benchmark"] * count,
            **{name: [none.as_py()] * count for name, none in CLIP_COLUMNS.items()},
        }
        yield pa.table({name: pa.array(columns[name], TABLE_SCHEMA.field(name).type) for name in TABLE_SCHEMA.names})


def write_version(folder: Path, faces: int) -> Path:
    """A dataset version without pictures."""
    sha256 = write_stream(str(folder / "faces.parquet"), TABLE_SCHEMA, tables(faces))
    shards = [Shard(path=f"shards/train-{first // SHARD:05d}.tar", split="train", byte_size=0, sha256="",
                    faces=min(SHARD, faces - first),
                    identities=tuple(f"p{number:06d}" for number in range(first // EACH, (first + SHARD) // EACH)))
              for first in range(0, faces, SHARD)]
    manifest = Manifest(shards=tuple(shards), counts={"train": {"faces": faces}}, licences={}, consents={}, weights={},
                        settings={}, faces_sha256=sha256)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def memory() -> tuple[int, int]:
    """Bytes in memory that are this process's alone, and those of mapped files."""
    told = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    held = {name: int(value.split()[0]) * 1024 for name, value in told.items()}
    return held["Anonymous"], held["Rss"] - held["Anonymous"]


def opened(folder: str) -> dict[str, float]:
    """What a process that reads a version takes, in seconds and bytes a face."""
    before = memory()
    began = time.monotonic()
    dataset = open_dataset(folder)
    told = {"open": time.monotonic() - began}
    for name in ("feed", "another feed"):
        began = time.monotonic()
        feed = Feed(dataset, FeedSettings(dataset=folder, batch=64, size=128))
        told[name] = time.monotonic() - began
    began = time.monotonic()
    feed.target_rows(0)
    told["epoch"] = time.monotonic() - began
    for step in range(20):
        for place, row in enumerate(feed.target_rows(step).tolist()):
            feed._references(step * 64 + place, row)
    private, shared = ((now - then) / len(dataset) for now, then in zip(memory(), before, strict=True))
    return told | {"private": private, "shared": shared}


def show_memory(faces: int, folder: Path) -> None:
    """Both processes' figures."""
    began = time.monotonic()
    version = write_version(folder, faces)
    table = (version / "faces.parquet").stat().st_size / faces
    print(f"{faces:,} faces, faces.parquet {table:,.0f} bytes a face (drawn in {time.monotonic() - began:.0f} s)")
    environment = os.environ | {FOLDER: str(folder / "tables")}
    for name in ("first process", "second process"):
        done = subprocess.run([sys.executable, __file__, "--opened", str(version)], env=environment, check=True,
                              capture_output=True, text=True)
        told = json.loads(done.stdout)
        seconds = ", ".join(f"{part} {told[part]:.2f} s" for part in ("open", "feed", "another feed", "epoch"))
        print(f"{name:<15} {seconds}; {told['private']:,.0f} bytes a face of its own, {told['shared']:,.0f} shared")


def with_crops(folder: Path, side: int) -> Path:
    """The golden version with all crops of a side, px; a shard is its crops one after another."""
    golden = open_dataset(str(GOLDEN))
    crops, table = CropReader(golden), pq.read_table(f"{golden.uri}/faces.parquet")
    rows, ends = table.to_pylist(), dict.fromkeys((shard.path for shard in golden.manifest.shards), 0)
    (folder / "shards").mkdir(parents=True)
    for number, row in enumerate(rows):
        image, scale = decode_jpeg(crops.jpeg(number)), side / row["crop_size"]
        content = encode_jpeg(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC))
        with (folder / row["shard"]).open("ab") as shard:
            shard.write(content)
        row |= {"offset": ends[row["shard"]], "byte_size": len(content), "crop_size": side,
                "crop_landmarks": [(place + 0.5) * scale - 0.5 for place in row["crop_landmarks"]]}
        ends[row["shard"]] += len(content)
    sha256 = write_stream(str(folder / "faces.parquet"), table.schema, [pa.Table.from_pylist(rows, table.schema)])
    shards = tuple(replace(shard, byte_size=ends[shard.path], sha256=hashlib.sha256(content).hexdigest())
                   for shard in golden.manifest.shards for content in [(folder / shard.path).read_bytes()])
    (folder / "manifest.json").write_text(replace(golden.manifest, shards=shards, faces_sha256=sha256).to_json())
    return folder


def show_speed(count: int, batch: int, size: int, dataset: Path, *, on_ray: bool) -> None:
    """Rounds of the limit, the feed here and the feed on Ray."""
    settings = FeedSettings(dataset=str(dataset), batch=batch, size=size, profile="refldm-severe", seed=1, flip=True)
    feed = Feed(open_dataset(settings.dataset), settings)
    drawn = [feed.sample(position) for position in range(count * batch)]
    rows = {str(face): row for row, face in enumerate(feed.dataset.columns["face_id"].tolist())}
    plans = [degradation.Plan.from_json(sample.pair.plan) for sample in drawn]
    pictures = sum(1 + len(sample.references) for sample in drawn) / len(drawn)

    def limit() -> Iterator[int]:
        for sample, plan in zip(drawn, plans, strict=True):
            target, *_ = [feed.picture(rows[face], False)[0] for face in (sample.pair.target, *sample.pair.references)]
            degradation.apply(target, plan)
            yield 1

    def through(engine: str, *, degrades: bool = True) -> Callable[[], Iterator[int]]:
        asked = replace(settings, degrade_on_device=not degrades)
        return lambda: (len(one["position"]) for one in batches("", asked, 0, count, engine=engine, num_cpus=1))

    ways: dict[str, Callable[[], Iterator[int]]] = {
        "limit": limit, "inline": through("inline"), "inline, plans": through("inline", degrades=False)}
    if on_ray:
        ways |= {"ray": through("ray"), "ray, plans": through("ray", degrades=False)}
    clocks: dict[str, list[float]] = {name: [] for name in ways}
    work_times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, work in ways.items():
            made = work()
            next(made)  # a start is none of the rate
            began, busy = time.monotonic(), time.process_time()
            samples = sum(made)
            clocks[name].append(samples / (time.monotonic() - began))
            work_times[name].append(samples / (time.process_time() - busy))
    crop = int(feed.dataset.columns["crop_size"][0])
    print(f"{count} batches of {batch}, {size} px of crops of {crop} px, {pictures:.1f} pictures a sample")
    for name, found in clocks.items():
        ratios = [[one / most for one, most in zip(rates[name], rates["limit"], strict=True)]
                  for rates in (clocks, work_times)]
        by_work = "" if "ray" in name else f", {statistics.median(ratios[1]):.2f} by CPU time"
        print(f"{name:<14}{statistics.median(found):>8.1f} samples/s{statistics.median(ratios[0]):>8.2f} of the limit "
              f"({min(ratios[0]):.2f} to {max(ratios[0]):.2f}){by_work}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=200_000)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--crops", type=int, default=512, help="side of the crops, px; 0: as they are")
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the drawn table; a temporary one otherwise")
    parser.add_argument("--opened", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.opened:
        print(json.dumps(opened(options.opened)))
        return
    if options.faces:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            show_memory(options.faces, Path(folder))
    if options.batches:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            dataset = with_crops(Path(folder) / "version", options.crops) if options.crops else GOLDEN
            show_speed(options.batches, options.batch, options.size, dataset, on_ray=not options.without_ray)


if __name__ == "__main__":
    main()
