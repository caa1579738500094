"""The face index at size: build, disk, memory, search beside faiss, references, append, erasure, neighbour graph.

    python benchmarks/identity_index.py [--rows 100000] [--table] [--folder ...] [--phases build,search,...]

Faces are drawn (benchmarks/embeddings.py): ten a person, 512 numbers, cosines as on real photographs; crops are 64
random bytes (real ones add 20 to 60 kB a face of plain storage, read by face id alone). Each phase runs in a fresh
process, whose largest resident memory is told. Times are CPU time and wall time: on a machine that others use, only
CPU time says what the work costs. `--table` does 10,000, 100,000 and 1,000,000 rows, and carries on to 100 million and
a billion on paper.

Recall of a search: share of the ten truly nearest faces (faiss's flat index) that are found, and share of the
person's ten faces among the first ten. Probes are new faces of persons in the index.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.identity_index import INDEX_SCHEMA, IdentityIndex, MismatchPolicy
from anchorface.identity_index.clustering.neighbours import nearest, neighbours
from anchorface.records import rng
from benchmarks import embeddings as drawn
from benchmarks.traces import traces

EACH, DIMENSION, CROP = drawn.EACH, 512, 64
QUERIES, BATCH, K = 200, 64, 10
ERASED = 1000
FILTERS = {"half": "yaw > 0", "one in fifty": "age > 78.4"}
Figures = dict[str, Any]


def face_ids(first: int, count: int) -> list[str]:
    return [f"{rng(1, 'face id', n // 1000).integers(2**62) ^ n:024x}-0" for n in range(first, first + count)]


def faces(vectors: np.ndarray, first: int = 0) -> pa.Table:
    """Rows of the index, number first and on."""
    count = len(vectors)
    draws, names = rng(2, "columns", first), face_ids(first, count)

    def some(low: float, high: float) -> pa.Array:
        return pa.array(draws.uniform(low, high, count).astype(np.float32))

    columns = {
        "face_id": pa.array(names), "photo_id": pa.array([name[:24] for name in names]),
        "uri": pa.array([f"photographs/{name[:4]}/{name[:24]}.jpg" for name in names]),
        "yaw": some(-60, 60), "pitch": some(-20, 20), "age": some(5, 80), "norm": some(15, 25), "score": some(0.6, 1),
        "brightness": some(60, 200), "sharpness": some(10, 500), "light_x": some(-0.4, 0.4), "smile": some(0.8, 1.3),
        "light_y": some(-0.3, 0.3), "perceptual_hash": pa.array(draws.integers(0, 2**64, count, np.uint64)),
        "identity": pa.array([f"p{n // EACH:08d}" for n in range(first, first + count)]),
        "split": pa.array(["train"] * count), "crop_bytes": pa.array([CROP] * count, pa.int64()),
        "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIMENSION),
    }
    return pa.table({field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in INDEX_SCHEMA})


def crop(number: int) -> bytes:
    return rng(3, "crop", number).bytes(CROP)


def crops(names: list[str], first: int = 0) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(names), 8192):
        part = names[start : start + 8192]
        yield pa.RecordBatch.from_pydict(
            {"face_id": part, "crop": [crop(first + start + n) for n in range(len(part))]})


def timed(work: Callable[[], Any]) -> tuple[Any, Figures]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def latency(calls: list[Callable[[], Any]]) -> tuple[list[Any], Figures]:
    """Results, median and least wall ms and mean CPU ms a call; the first calls warm up and do not count."""
    for call in calls[:5]:
        call()
    results, spent, cpu = [], [], time.process_time()
    for call in calls:
        start = time.perf_counter()
        results.append(call())
        spent.append((time.perf_counter() - start) * 1e3)
    return results, {"ms": round(statistics.median(spent), 2), "least_ms": round(min(spent), 2),
                     "cpu_ms": round((time.process_time() - cpu) * 1e3 / len(calls), 2)}


def disk(folder: Path) -> float:
    """Megabytes."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def build(folder: Path, rows: int) -> Figures:
    stored = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, DIMENSION))
    for person, block in drawn.pieces(rows):
        stored[person * EACH : person * EACH + len(block)] = block
    table = faces(np.load(folder / "vectors.npy", mmap_mode="r"))
    names = table["face_id"].to_pylist()
    index, spent = timed(lambda: IdentityIndex.create(str(folder / "index"), table, crops=crops(names)))
    assert len(index) == rows
    return {"build": spent, "disk_mb": {"faces": disk(folder / "index" / "faces.lance"),
                                        "crops": disk(folder / "index" / "crops.lance")}}


def probes(rows: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """New faces of persons in the index, and whose they are."""
    people = np.arange(0, min(rows // EACH, 50 * drawn.PIECE), max(1, min(rows // EACH, 50 * drawn.PIECE) // count))
    people = people[:count]
    new = {start: drawn.persons(start, min(drawn.PIECE, rows // EACH - start), 1, again=1)
           for start in {int(p) // drawn.PIECE * drawn.PIECE for p in people}}
    return np.stack([new[p // drawn.PIECE * drawn.PIECE][p % drawn.PIECE] for p in people.tolist()]), people


def search(folder: Path, rows: int) -> Figures:
    index = IdentityIndex.open(str(folder / "index"))
    asked, people = probes(rows, QUERIES)
    names = np.array(face_ids(0, rows))
    stored = np.load(folder / "vectors.npy", mmap_mode="r")
    said: Figures = {}
    allowed = {"": None} | {name: np.isin(names, index.faces(["face_id"], sql)["face_id"].to_pylist())
                            for name, sql in FILTERS.items()}
    for name, sql in {"": None, **FILTERS}.items():
        kept = np.arange(rows) if allowed[name] is None else np.flatnonzero(allowed[name])
        blocks = (stored[kept[n : n + 16384]] for n in range(0, len(kept), 16384))
        truth = [set(names[kept[found]].tolist()) for found in nearest(asked, blocks, K)[0]]
        own = [set(names[n * EACH : n * EACH + EACH].tolist()) for n in people.tolist()] if not name else None
        for exact, count in ((False, QUERIES), (True, 3)):
            calls = [lambda v=v, e=exact, s=sql: index.nearest(v, K, exact=e, filter=s)[0][0] for v in asked[:count]]
            single, one = latency(calls)
            batched, many = latency([lambda e=exact, s=sql: index.nearest(asked[:BATCH], K, exact=e, filter=s)[0]])
            key = ("exact" if exact else "indexed") + (f", filter {name}" if name else "")
            said[key] = {
                "recall": round(float(np.mean([len(set(a) & b) / K for a, b in zip(single, truth, strict=False)])), 4),
                "batch_recall": round(float(np.mean(
                    [len(set(a) & b) / K for a, b in zip(batched[0], truth, strict=False)])), 4),
                "ms": one["ms"], "cpu_ms": one["cpu_ms"], "batch_cpu_ms_each": round(many["cpu_ms"] / BATCH, 2),
            }
            if own is not None:
                said[key]["person"] = round(float(np.mean(
                    [len(set(a) & b) / EACH for a, b in zip(single, own, strict=False)])), 4)
    return {"search": said}


def faiss_search(folder: Path, rows: int) -> Figures:
    import faiss

    faiss.omp_set_num_threads(1)
    asked, _ = probes(rows, QUERIES)
    stored = np.load(folder / "vectors.npy", mmap_mode="r")
    cells = min(2048, 4 * int(rows**0.5))
    said: Figures = {}
    truth: np.ndarray | None = None
    for name, probed in (("Flat", ()), (f"IVF{cells},Flat", (32, 128)), (f"IVF{cells},SQ8", (128, 512))):
        index = faiss.index_factory(DIMENSION, name, faiss.METRIC_INNER_PRODUCT)

        def fill(index: Any = index) -> None:
            index.train(np.ascontiguousarray(stored[:: max(1, rows // (40 * cells))]))
            for start in range(0, rows, 65_536):
                index.add(np.ascontiguousarray(stored[start : start + 65_536]))

        _, made = timed(fill)
        for probe in probed or (0,):
            if probe > cells:
                continue
            if probe:
                index.nprobe = probe
            count = 20 if name == "Flat" else QUERIES
            found, one = latency([lambda v=v, i=index: i.search(v[None], K)[1][0] for v in asked[:count]])
            batch, many = timed(lambda i=index: i.search(asked, K)[1])
            truth = batch if truth is None else truth
            said[f"{name} {probe or ''}".strip()] = {
                "recall": round(float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=False)])),
                                4),
                **one, "batch_cpu_ms_each": round(many["cpu_s"] * 1e3 / len(asked), 2), "build_cpu_s": made["cpu_s"]}
        del index
    return {"faiss": said}


def references(folder: Path, rows: int) -> Figures:
    index = IdentityIndex.open(str(folder / "index"))
    opened = resident()
    _, first = timed(lambda: index.references(face_ids(0, 1)[0], MismatchPolicy(), 3, rng(0, "references")))
    targets = [face_ids(int(n), 1)[0] for n in rng(4, "targets").integers(0, rows, 300)]
    policy = MismatchPolicy()
    chosen, spent = latency(
        [lambda t=t, n=n: index.references(t, policy, 3, rng(0, "references", n)) for n, t in enumerate(targets)])
    assert all(len(each) == 3 for each in chosen)
    shown, fetched = latency([lambda t=t: index.crops([t]) for t in targets])
    assert all(len(each) == 1 for each in shown)
    return {"references": spent, "references_first_call": first, "crop": fetched,
            "resident_mb": {"opened": opened, "after 300 targets": resident()}}


def resident() -> float:
    """Megabytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def append(folder: Path, rows: int) -> Figures:
    index = IdentityIndex.open(str(folder / "index"))
    more = max(EACH, rows // 100 // EACH * EACH)
    start = -(-(rows // EACH) // drawn.PIECE) * drawn.PIECE
    table = faces(drawn.persons(start, more // EACH), start * EACH)
    names = table["face_id"].to_pylist()
    _, spent = timed(lambda: index.append(table, crops(names, start * EACH)))
    found, one = latency([
        lambda n=n: index.nearest(table["embedding"][n].values.to_numpy(), 1, exact=False)[0][0][0]
        for n in range(0, more, max(1, more // 50))])
    right = np.mean([a == names[n] for a, n in zip(found, range(0, more, max(1, more // 50)), strict=True)])
    return {"append": {"rows": more, **spent, "found": float(right), "search_ms": one["ms"]}}


def erase(folder: Path, rows: int) -> Figures:
    index = IdentityIndex.open(str(folder / "index"))
    people = rng(5, "erased").choice(rows // EACH, min(ERASED, rows // EACH // 2), replace=False)
    numbers = (people[:, None] * EACH + np.arange(EACH)).ravel()
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[np.sort(numbers)]
    numbers = np.sort(numbers)
    ids = [face_ids(int(n), 1)[0] for n in numbers]
    wanted = {
        # Three places of each, so that a part that was left behind shows.
        "embedding": [v[at : at + 8].tobytes() for v in vectors for at in (0, 256, 504)],
        "crop": [crop(int(n))[at : at + 24] for n in numbers for at in (0, 40)], "face id": [i.encode() for i in ids],
    }
    before = traces(folder / "index", wanted)
    gone, spent = timed(lambda: index.delete(ids))
    after = traces(folder / "index", wanted)
    assert gone == len(numbers) and not any(after.values()), after
    return {"erase": {"faces": gone, **spent, "traces_before": before, "traces_after": after,
                      "disk_mb": disk(folder / "index")}}


def graph(folder: Path, rows: int) -> Figures:
    """Ten faces a person, as in the index."""
    stored = np.load(folder / "vectors.npy", mmap_mode="r")
    return {"graph": near(stored, np.arange(rows) // EACH, EACH)}


def pairs(folder: Path, rows: int) -> Figures:
    """Two faces a person: no third leads from one to the other."""
    stored = np.lib.format.open_memmap(folder / "pairs.npy", "w+", np.float32, (rows, DIMENSION))
    for person, block in drawn.pieces(rows, 2):
        stored[person * 2 : person * 2 + len(block)] = block
    return {"pairs": near(stored, np.arange(rows) // 2, 2)}


def near(stored: np.ndarray, people: np.ndarray, each: int) -> Figures:
    """A neighbour graph of 32 and what a sample of its rows has found: of the person, one way and either way; of the
    32 truly nearest."""
    (found, _), spent = timed(lambda: neighbours(stored, 32))
    sample = np.sort(rng(7, "sample").choice(len(stored), 1000, replace=False))
    kin = {n: [m for m in range(n // each * each, n // each * each + each) if m != n] for n in sample.tolist()}
    either = [m in found[n] or n in found[m] for n, others in kin.items() for m in others]
    few = sample[:200]
    blocks = (stored[n : n + 16384] for n in range(0, len(stored), 16384))
    truth = [set(rows.tolist()) - {int(n)} for n, rows in zip(few, nearest(stored[few], blocks, 33)[0], strict=True)]
    every = [len(set(found[n].tolist()) & rows) / 32 for n, rows in zip(few, truth, strict=True)]
    best = [len(rows & set(kin[int(n)])) / (each - 1) for n, rows in zip(few, truth, strict=True)]
    one = [(people[found[n][found[n] >= 0]] == people[n]).sum() / (each - 1) for n in sample]
    return {**spent, "nearest_32": round(float(np.mean(every)), 4), "person": round(float(np.mean(one)), 4),
            "person_either_way": round(float(np.mean(either)), 4), "person_exact": round(float(np.mean(best)), 4)}


PHASES = {"build": build, "search": search, "faiss": faiss_search, "references": references, "append": append,
          "graph": graph, "pairs": pairs, "erase": erase}


def measured(folder: Path, rows: int, phases: list[str]) -> Figures:
    """Each phase in a process of its own."""
    said: Figures = {"rows": rows}
    for phase in phases:
        command = [sys.executable, __file__, "--rows", str(rows), "--folder", str(folder), "--only", phase]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        said |= figures
        for key, value in figures.items():
            print(f"{rows:>10,}  {key}: {json.dumps(value)}", flush=True)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--table", action="store_true", help="10,000, 100,000 and 1,000,000 rows, and more on paper")
    parser.add_argument("--folder", type=Path, help="where the index is made and stays; else a temporary one")
    parser.add_argument("--phases", default=",".join(PHASES), help="some of them, in this order")
    parser.add_argument("--only", choices=PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        said = PHASES[options.only](options.folder, options.rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(said | {f"{options.only}_peak_mb": round(peak)}))
        return
    results = []
    for rows in (10_000, 100_000, 1_000_000) if options.table else (options.rows,):
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            results.append(measured(folder, rows, options.phases.split(",")))
    if options.table:
        from benchmarks.paper import paper

        print(paper(results))


if __name__ == "__main__":
    main()
