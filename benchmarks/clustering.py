"""Who is who on labelled photographs: precision and recall, hard pairs, ages, planted mistakes; and what it costs.

    python benchmarks/clustering.py [WORKSPACE ...] [--rows 100000] [--people 12]

Without a workspace, the shared photographs (`people`, `congress`, `london`) are curated into a temporary folder. Labels
are used to judge only. No Ray. Albums of few people are drawn from `people`, twenty of each kind, and sorted with the
network's levels (identity_index.Levels) and without. `--rows` draws that many embeddings (512 numbers, ten faces a
person, cosines of about .6 within a person) with their neighbour graph prepared, so that only calibration and
clustering are timed.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.embed import best_clusterer, embedder
from anchorface.identity_index import (
    Levels,
    b_cubed_scores,
    calibrate,
    cluster,
    constraints,
    known,
    pairwise_scores,
)
from anchorface.identity_index.clustering.calibration import middle_and_spread
from anchorface.identity_index.clustering.cluster import Graph, graph
from anchorface.identity_index.clustering.doubt import doubts
from anchorface.identity_index.unit import unit
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.identities.persons import levels_of, light_columns
from anchorface.pipelines.identities.second_look import second_look
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import outputs
from anchorface.records import rng
from anchorface.records.storage import join, read_table
from anchorface.synthetic import draw_state, identity, render

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
NETWORKS = ("adaface_small", "mobilefacenet_y1_ms1m_112", *filter(None, [best_clusterer()]))
HARD = 20
ALBUMS = ((1, 6), (1, 8), (2, 3), (2, 8), (3, 8), (5, 6), (10, 2))
TOO_LOW = 0.3
"""A second threshold, too low for all of them: what constraints (one person a photograph, dates) then still prevent."""
Faces = dict[str, tuple[pa.Table, np.ndarray]]


def curated(folder: str) -> list[str]:
    """Workspaces of the shared photographs, with faces found."""
    made = []
    for name in ("people", "congress", "london"):
        made.append(f"{folder}/{name}")
        ingest(str(SHARED / name), made[-1], concurrency=0)
        find_faces(made[-1], detector="scrfd_2.5g_kps", crop_size=256, concurrency=0)
    return made


def faces_of(workspace: str) -> Faces:
    """Labelled faces in order of face id, and their embeddings by each network."""
    found = {}
    tables = [*outputs(workspace, "find_faces", "faces")]
    faces = pa.concat_tables([light_columns(workspace, path) for path in tables]).sort_by("face_id")
    own = set(faces["embedder"].to_pylist())
    for network in NETWORKS:
        looked = faces
        if {network} != own:
            written = [*second_look(workspace, network, concurrency=0)]
            looked = pa.concat_tables([read_table(join(workspace, path)) for path in written]).sort_by("face_id")
        labelled = np.flatnonzero([subject is not None for subject in faces["subject"].to_pylist()])
        vectors = unit(np.stack(looked["embedding"].to_numpy())[labelled])
        found[network] = faces.take(labelled), vectors
    return found


def together(parts: list[Faces], network: str) -> tuple[pa.Table, np.ndarray]:
    """Several collections as one; a photograph that stands in two counts once."""
    faces = pa.concat_tables([part[network][0] for part in parts])
    vectors = np.concatenate([part[network][1] for part in parts])
    first = np.unique(np.array(faces["face_id"].to_pylist()), return_index=True)[1]
    return faces.take(first), vectors[first]


def judge(faces: pa.Table, vectors: np.ndarray, threshold: float, *, constrained: bool) -> str:
    """Scores of one clustering in a line."""
    face_ids = faces["face_id"].to_pylist()
    what = constraints(faces, labels=False) if constrained else known(face_ids, face_ids)
    persons = cluster(vectors, what, threshold)
    truth = faces["subject"].to_pylist()
    pairs, cubed = pairwise_scores(persons.tolist(), truth), b_cubed_scores(persons.tolist(), truth)
    said = f"{pairs[0]:.4f} {pairs[1]:.4f} | {cubed[0]:.4f} {cubed[1]:.4f} {cubed[2]:.4f} | {persons.max() + 1:4d}"
    if not constrained:
        return said
    nearest = graph(vectors)
    names = [f"p{person:06d}" for person in range(int(persons.max()) + 1)]
    attributes = {name: faces[name].to_pylist() for name in ("norm", "age", "birth_date", "taken")}
    found = doubts(vectors, persons, nearest, what.merged(persons), threshold, names, attributes)
    sizes = np.bincount(persons)
    guess = sum(doubt.purity * size for doubt, size in zip(found, sizes, strict=True) if size > 1)
    right = sum(
        max(np.unique(np.array(truth)[persons == person], return_counts=True)[1])
        for person in np.flatnonzero(sizes > 1)
    )
    total = max(int(sizes[sizes > 1].sum()), 1)
    return f"{said} | {guess / total:.4f} {right / total:.4f}"


def levels(faces: pa.Table, vectors: np.ndarray) -> Levels:
    """Of an embedder, as measured on these faces."""
    one, two = np.triu_indices(len(vectors), 1)
    truth = np.array(faces["subject"].to_pylist())
    cosines, same = (vectors @ vectors.T)[one, two], truth[one] == truth[two]
    return Levels(*middle_and_spread(cosines[~same]), float(np.median(cosines[same])))


def albums(faces: pa.Table, vectors: np.ndarray, network: str) -> None:
    """Print how albums of few people are sorted, with the network's levels and without."""
    truth = np.array(faces["subject"].to_pylist())
    names, counts = np.unique(truth, return_counts=True)
    for persons, each in ALBUMS:
        scores: dict[bool, list[tuple[float, float, int]]] = {True: [], False: []}
        for number in range(20):
            draws = rng(11, f"album {persons} {each}", number)
            chosen = draws.choice(names[counts >= each], persons, replace=False)
            rows = np.concatenate([draws.choice(np.flatnonzero(truth == name), each, replace=False) for name in chosen])
            ids = [f"{row:05d}" for row in range(len(rows))]
            for measured in scores:
                least = calibrate(vectors[rows], ids, levels=levels_of([network]) if measured else None).threshold
                found = cluster(vectors[rows], known(ids, ids), least).tolist()
                scores[measured].append((*pairwise_scores(found, truth[rows].tolist())[:2], len(set(found))))
        without, own = (" ".join(f"{value:.2f}" for value in np.mean(scores[key], axis=0)) for key in (False, True))
        print(f"  {persons} people, {each} pictures each: precision, recall, identities {without}; with levels {own}")


def hard_pairs(faces: pa.Table, vectors: np.ndarray, threshold: float) -> str:
    """The most similar pairs of persons, each pair's photographs alone, and all of them in one heap."""
    truth = np.array(faces["subject"].to_pylist())
    names = np.unique(truth)
    centres = np.stack([unit(vectors[truth == name].mean(axis=0)) for name in names])
    cosines = np.triu(centres @ centres.T, 1)
    order = np.argsort(-cosines.ravel())[:HARD]
    apart, rows = 0, []
    for one, two in zip(*np.unravel_index(order, cosines.shape), strict=True):
        chosen = np.flatnonzero((truth == names[one]) | (truth == names[two]))
        ids = [faces["face_id"][row].as_py() for row in chosen]
        persons = cluster(vectors[chosen], known(ids, ids), threshold)
        apart += pairwise_scores(persons.tolist(), truth[chosen].tolist())[0] == 1.0
        rows += chosen.tolist()
    heap = np.unique(rows)
    said = judge(faces.take(heap), vectors[heap], threshold, constrained=False)
    first, last = cosines.ravel()[order[[0, -1]]]
    return f"cosine {first:.2f} to {last:.2f}; {apart} of {HARD} apart | in one heap: {said}"


def planted(faces: pa.Table, vectors: np.ndarray, threshold: float) -> str:
    """Mistakes put into a right grouping: two persons under one name, a stranger among the faces."""
    draws = rng(9, "planted", 0)
    truth = np.unique(np.array(faces["subject"].to_pylist()), return_inverse=True)[1]
    several = np.flatnonzero(np.bincount(truth) > 1)
    chosen = draws.permutation(several)[:40]
    wrong = set()
    persons = truth.copy()
    for into, other in zip(chosen[:10], chosen[10:20], strict=True):
        persons[truth == other] = into
        wrong.add(int(into))
    for into, other in zip(chosen[20:30], chosen[30:40], strict=True):
        persons[np.flatnonzero(truth == other)[0]] = into
        wrong.add(int(into))
    numbers = np.unique(persons)
    persons = np.searchsorted(numbers, persons)
    bad = {int(np.searchsorted(numbers, name)) for name in wrong}
    names = [f"p{person:06d}" for person in range(len(numbers))]
    attributes = {name: [None] * len(faces) for name in ("age", "birth_date", "taken")} | {
        "norm": faces["norm"].to_pylist()}
    merged = known(faces["face_id"].to_pylist(), faces["face_id"].to_pylist()).merged(persons)
    found = doubts(vectors, persons, graph(vectors), merged, threshold, names, attributes)
    ranked = sorted(range(len(names)), key=lambda person: (found[person].rank, person))
    return f"{len(bad & set(ranked[: len(bad)]))} of {len(bad)} planted mistakes among the {len(bad)} most suspicious"


def ages(people: int, network: str, threshold: float) -> str:
    """Synthetic adults photographed every five years from 18 to 78: identities that each falls into."""
    net = embedder(network)
    crops, truth = [], []
    for person in range(people):
        for number, age in enumerate(range(18, 79, 5)):
            shot = render(identity(500 + person), draw_state(rng(3, "ages", 100 * person + number), float(age)), 256)
            crops.append(warp(shot.image, arcface_matrix(np.asarray(shot.landmarks)), 112))
            truth.append(person)
    vectors = net.embed(np.stack(crops))[0]
    ids = [f"{row:05d}" for row in range(len(truth))]
    lines = []
    own = calibrate(vectors, ids).threshold
    born = [date(1940, 1, 1 + person) for person in truth]
    dated = pa.table({"face_id": ids, "photo_id": ids, "birth_date": pa.array(born, pa.date32())})
    for said, what, least in (
        (f"threshold of the photographs {threshold:.2f}", known(ids, ids), threshold),
        (f"their own {own:.2f}", known(ids, ids), own),
        (f"threshold of the photographs {threshold:.2f}, birth dates known", constraints(dated), threshold),
    ):
        persons = cluster(vectors, what, least).tolist()
        precision, recall, _ = pairwise_scores(persons, truth)
        each = np.mean([len({p for p, t in zip(persons, truth, strict=True) if t == n}) for n in range(people)])
        lines.append(f"    {said}: precision {precision:.3f}, recall {recall:.3f}, {each:.1f} identities a person")
    return "\n".join(lines)


def drawn(rows: int) -> tuple[np.ndarray, np.ndarray, Graph]:
    """Embeddings of ten faces a person, the truth, and a graph of a face's nine mates and strangers."""
    draws, dimension, each = rng(4, "drawn", rows), 512, 10
    people = rows // each
    scale = (1.0 / np.sqrt(1.0 + np.arange(dimension) / 40.0)).astype(np.float32)
    centres = unit(draws.standard_normal((people, dimension), np.float32) * scale)
    spread = draws.uniform(0.5, 1.1, people).astype(np.float32)
    truth = draws.permutation(np.repeat(np.arange(people), each))
    vectors = np.empty((len(truth), dimension), np.float32)
    for start in range(0, len(truth), 50_000):
        part = truth[start : start + 50_000]
        noise = unit(draws.standard_normal((len(part), dimension), np.float32) * scale)
        vectors[start : start + 50_000] = unit(centres[part] + spread[part, None] * noise)
    mates = np.argsort(truth, kind="stable").reshape(people, each)
    nearest = draws.integers(0, len(truth), (len(truth), 32))
    for place in range(each):
        nearest[mates[:, place], : each - 1] = np.delete(mates, place, axis=1)
    cosines = np.empty(nearest.shape, np.float32)
    for start in range(0, len(truth), 4096):
        part = slice(start, start + 4096)
        cosines[part] = np.einsum("ij,ikj->ik", vectors[part], vectors[nearest[part]])
    return vectors, truth, Graph(rows=nearest, cosines=cosines)


def timed(what: str, work: Callable[[], object]) -> object:
    """Do it, and print how long it took and the process's peak memory."""
    start = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  {what}: {time.perf_counter() - start:.1f} s, peak memory {peak:.1f} GiB")
    return result


def cost(rows: int) -> None:
    """Seconds and memory at a size; once with a threshold so low that nearly all faces hang together."""
    print(f"\n{rows} drawn faces of {rows // 10} persons, 512 numbers, graph prepared")
    vectors, truth, nearest = drawn(rows)
    ids = [f"{row:08d}" for row in range(len(truth))]
    print(f"  the embeddings alone: {vectors.nbytes / 2**30:.1f} GiB")
    what = timed("constraints", lambda: known(ids, ids))
    found = timed("calibration", lambda: calibrate(vectors, ids, neighbours=nearest, levels=Levels(0.0, 0.06, 0.6)))
    low = float(np.quantile(nearest.cosines[:50_000, 9:], 0.995))
    for least in (found.threshold, low):  # type: ignore[attr-defined]
        said = f"cluster at {least:.2f}"
        persons = timed(said, lambda least=least: cluster(vectors, what, least, nearest=nearest))  # type: ignore
        precision, recall, _ = pairwise_scores(persons.tolist(), truth.tolist())  # type: ignore[attr-defined]
        print(f"    precision {precision:.4f}, recall {recall:.4f}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", nargs="*")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=12)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspaces = chosen.workspaces or (curated(folder) if SHARED.exists() else [])
        parts = {Path(workspace).name: faces_of(workspace) for workspace in workspaces}
    thresholds = {}
    for network in NETWORKS if parts else ():
        print(f"\n{network}: pairwise precision, recall | B-cubed precision, recall, F1 | identities | "
              "purity estimated, true")
        for name, chosen_parts in [*((name, [part]) for name, part in parts.items()), ("all", [*parts.values()])]:
            faces, vectors = together(chosen_parts, network)
            found = calibrate(vectors, faces["photo_id"].to_pylist(), levels=levels_of([network]),
                              possible=constraints(faces, labels=False).possible)
            thresholds[network] = found.threshold
            print(f"  {name}, {len(faces)} faces, {len(set(faces['subject'].to_pylist()))} persons: "
                  f"threshold {found.threshold:.2f} ({found.reason})")
            for least in (found.threshold, TOO_LOW):
                for constrained in (False, True):
                    print(f"    at {least:.2f} {'with' if constrained else 'no  '} constraints  "
                          f"{judge(faces, vectors, least, constrained=constrained)}")
        if "people" in parts:
            print(f"  levels on people: {levels(*parts['people'][network])}; of the table: {levels_of([network])}")
            albums(*parts["people"][network], network)
        print(f"  hard pairs: {hard_pairs(faces, vectors, found.threshold)}")
        print(f"  {planted(faces, vectors, found.threshold)}")
        print(f"  {chosen.people} synthetic adults from 18 to 78 years, every five years")
        print(ages(chosen.people, network, thresholds[network]))
    if not parts:
        print("real photographs: skipped, the shared photographs are not beside the checkout")
    if chosen.rows:
        cost(chosen.rows)


if __name__ == "__main__":
    main()
