"""How fast faces are found: photographs per second and core, beside the limit of its networks and beside insightface.

    python benchmarks/curation.py [--photos 96] [--ray-photos 384] [--repeats 3] [--without-ray]

On the real photographs beside the checkout (people, congress, london), with a detector (SCRFD 2.5g) and an embedder
(MobileFaceNet) that both sides share. One thread a process, CPU time, in turns, part by part, medians over parts and
repeats:

    limit          decoding the photographs and running the networks on the very inputs that they get, each timed alone
    find_faces     our whole pass in one process: read, decode, detect, filter, align, describe, embed, encode crops,
                   tables in Parquet
    insightface    cv2.imread and FaceAnalysis.get, one photograph at a time as it takes them, 640 x 640; its sessions
                   have one thread too. It writes nothing, cuts no crop, and describes nothing.
    Ray            find_faces through Ray Data with two workers, by the clock, between the end of the first parts and
                   the end of the last (so without the start of Ray and the loading of networks), beside the limit, and
                   beside the limit of two processes at once: two cores share memory and cache, and Ray's own processes
                   run on them too. On a machine that does other work these rows say little.

Bars: find_faces through Ray at least .85 of the limit; at least 1.5 times as fast as insightface.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.faces import align
from anchorface.faces.detect import Detector
from anchorface.faces.embed import embedder
from anchorface.faces.images import read_photo
from anchorface.faces.runtime import session
from anchorface.faces.weights import find
from anchorface.pipelines.find_faces import FaceFinder, FaceSettings, find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages import stage
from anchorface.records.storage import read_table

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
DETECTOR = "scrfd_2.5g_kps"
EMBEDDER = "mobilefacenet_y1_ms1m_112"
SETTINGS = FaceSettings(detector=DETECTOR, embedder=EMBEDDER)
PART_ROWS = 16


class Stopwatch:
    """An ONNX session that counts the CPU time of its runs."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.seconds = inner, 0.0

    def run(self, names: Any, inputs: Any) -> Any:
        """As the session's."""
        start = time.process_time()
        try:
            return self._inner.run(names, inputs)
        finally:
            self.seconds += time.process_time() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def heap(folder: Path, count: int) -> None:
    """Photographs spread evenly over each collection, without what the sidecars say."""
    for name in ("people", "congress", "london"):
        with open(PHOTOS / name / "index.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for place in np.linspace(0, len(rows) - 1, min(len(rows), count // 3)).astype(int):
            source = PHOTOS / name / rows[place]["file"]
            shutil.copy(source, folder / f"{name} {source.parent.name} {source.name}")


class Limit:
    """The parts of the work that nobody can leave out."""

    def __init__(self) -> None:
        self.detector, self.embedder = Detector(DETECTOR), embedder(EMBEDDER)
        network: Any = self.detector.network
        self.watches = [Stopwatch(network.session), Stopwatch(self.embedder.session)]
        network.session, self.embedder.session = self.watches

    def __call__(self, files: list[str]) -> float:
        """CPU seconds of decoding and of the networks' runs."""
        spent, pictures = 0.0, []
        for file in files:
            content = Path(file).read_bytes()
            start = time.process_time()
            pictures.append(read_photo(content)[0])
            spent += time.process_time() - start
        before = sum(watch.seconds for watch in self.watches)
        found = self.detector.detect(pictures)
        small = [
            align.warp(pixels, align.arcface_matrix(face.landmarks), 112)
            for pixels, faces in zip(pictures, found, strict=True) for face in faces
        ]
        self.embedder.embed(np.stack(small))
        return spent + sum(watch.seconds for watch in self.watches) - before


def rival(folder: Path) -> Callable[[list[str]], object] | str:
    """insightface's FaceAnalysis with the same two files, or why there is none."""
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        return f"insightface is not installed ({error}); it is the extra `insightface`"
    pack = folder / "models" / "same"
    pack.mkdir(parents=True)
    for name in (DETECTOR, EMBEDDER):
        shutil.copy(find(name), pack / f"{name}.onnx")
    analysis = FaceAnalysis(name="same", root=str(folder), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_thresh=SETTINGS.threshold, det_size=(640, 640))
    for task, name in (("detection", DETECTOR), ("recognition", EMBEDDER)):
        analysis.models[task].session = session(find(name))

    def one_by_one(files: list[str]) -> list[int]:
        return [len(analysis.get(cv2.imread(file))) for file in files]

    return one_by_one


def ingested(folder: Path, count: int) -> tuple[Path, dict[str, list[str]]]:
    """A workspace of so many photographs, and the files of each part by the part's path."""
    (folder / "photos").mkdir(parents=True)
    heap(folder / "photos", count)
    out = folder / "out"
    ingest(str(folder / "photos"), str(out), labels=False, part_rows=PART_ROWS, concurrency=0)
    parts = stage.outputs(str(out), "duplicates", "photos")
    return out, {path: read_table(str(out / path)).column("uri").to_pylist() for path in parts}


def limit_beside(parts: list[list[str]], start: Barrier, answer: SimpleQueue) -> None:
    """One of several processes that do the limit's work at once: puts its CPU seconds a photograph."""
    cv2.setNumThreads(1)
    limit = Limit()
    limit(parts[0])
    start.wait()
    answer.put(sum(map(limit, parts)) / sum(map(len, parts)))


def limit_of_two(parts: list[list[str]]) -> float:
    """CPU seconds a photograph of the limit's work in two processes at once, their mean."""
    context = get_context("spawn")
    start, answer = context.Barrier(2), context.SimpleQueue()
    both = [context.Process(target=limit_beside, args=(parts, start, answer)) for _ in range(2)]
    for process in both:
        process.start()
    times = [answer.get() for _ in both]
    for process in both:
        process.join()
    return sum(times) / 2


def through_ray(out: Path, rows: dict[str, int]) -> float:
    """Photographs per second of two Ray workers, after both have done a part."""
    find_faces(str(out), settings=SETTINGS, concurrency=2)
    markers = (out / "done" / "find_faces").glob("part-*.json")
    ends = sorted((path.stat().st_mtime, rows[path.stem]) for path in markers)
    return sum(count for _, count in ends[2:]) / (ends[-1][0] - ends[1][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=96, help="photographs, a third from each collection")
    parser.add_argument("--ray-photos", type=int, default=384, help="photographs for the row with Ray")
    parser.add_argument("--repeats", type=int, default=3, help="passes")
    parser.add_argument("--without-ray", action="store_true", help="leave out the row that starts Ray")
    options = parser.parse_args()
    if not PHOTOS.exists():
        print("skipped: needs the shared photographs beside the checkout")
        return
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        out, files = ingested(folder, options.photos)
        finder, limit = FaceFinder(str(out), SETTINGS, DETECTOR, "cpu"), Limit()
        other = rival(folder / "pack")
        first = next(iter(files))
        finder("warm", {"path": first})
        limit(files[first])
        spent: dict[str, list[float]] = {"limit": [], "find_faces": [], "insightface": []}
        for _ in range(options.repeats):
            for path, names in files.items():
                spent["limit"].append(limit(names) / len(names))
                spent["find_faces"].append(seconds(lambda path=path: finder("part", {"path": path})) / len(names))
                if not isinstance(other, str):
                    spent["insightface"].append(seconds(lambda names=names: other(names)) / len(names))
        count = sum(map(len, files.values()))
        print(f"{count} photographs, {len(files)} parts, {options.repeats} passes")
        print(f"{'':<14}{'ms a photo':>12}{'photos/s a core':>18}{'beside':>28}")
        for name, times in spent.items():
            if not times:
                print(f"{name:<14}{other}")
                continue
            pairs = zip(spent["limit" if name == "find_faces" else name], spent["find_faces"], strict=True)
            ratio = median(one / ours for one, ours in pairs)
            said = {"limit": "", "find_faces": f"{ratio:.2f} of the limit", "insightface": f"{ratio:.2f} x our time"}
            print(f"{name:<14}{median(times) * 1e3:>12.1f}{1 / median(times):>18.1f}{said[name]:>28}")
        if not options.without_ray:
            out, files = ingested(folder / "ray", options.ray_photos)
            two = limit_of_two(list(files.values())[:8])
            print(f"{'limit, two':<14}{two * 1e3:>12.1f}{1 / two:>18.1f}")
            speed = through_ray(out, {Path(path).stem: len(names) for path, names in files.items()}) / 2
            beside = f"{speed * median(spent['limit']):.2f} of the limit, {speed * two:.2f} of two"
            print(f"{'Ray, 2 workers':<14}{1e3 / speed:>12.1f}{speed:>18.1f}{beside:>40}")
            print(json.dumps(stage.counts(str(out), "find_faces")))


if __name__ == "__main__":
    main()
