"""What reference policies really give: asked against achieved gaps, whom nothing can help, and what a choice costs.

    python benchmarks/references.py [WORKSPACE ...] [--photos folder ...] [--people 60] [--each 6] [--k 3]

Without a workspace it curates some in a temporary folder: a synthetic corpus of `--people` persons by their given
landmarks, and each `--photos` folder of real photographs by clustering. Every policy chooses for every face; chance
chooses for the same targets. `off` is the total variation between asked and achieved shares, 0 to 100 %.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.fit_shares import fit_shares
from anchorface.identity_index.retrieval.mismatch import (
    REFERENCE_KEYS,
    MismatchPolicy,
    asked_policy,
    references,
    select,
)
from anchorface.identity_index.retrieval.report import RetrievalReport, retrieval_report
from anchorface.records import rng

Reports = dict[str, RetrievalReport]


def curated(workspace: str) -> pa.Table:
    """The faces of a workspace's index."""
    index = IdentityIndex.open(f"{workspace}/index")
    return index.faces([name for name in (*REFERENCE_KEYS, "identity") if name in set(index.columns)])


def made(folder: str, photos: list[str], people: int, each: int) -> Iterator[tuple[str, pa.Table]]:
    """Workspaces made on the spot, one after the other."""
    from anchorface.pipelines.find_faces import find_faces
    from anchorface.pipelines.group import group
    from anchorface.pipelines.ingest import ingest
    from anchorface.synthetic import write_corpus

    if people:
        write_corpus(f"{folder}/synthetic", identities=people, photos_each=each, seed=21, size=256)
        ingest(f"{folder}/synthetic", f"{folder}/out", concurrency=0)
        find_faces(f"{folder}/out", detector="given", crop_size=128, concurrency=0)
        group(f"{folder}/out")
        yield f"synthetic, {people} people x {each}", curated(f"{folder}/out")
    for source in photos:
        out = f"{folder}/{Path(source).name}"
        ingest(source, out, concurrency=0)
        find_faces(out, detector="scrfd_2.5g_kps", crop_size=256, concurrency=0)
        group(out, labels=False, clusterer="mobilefacenet_y1_ms1m_112")
        yield Path(source).name, curated(out)


def reports(faces: pa.Table, k: int) -> Reports:
    """The same targets by every policy."""
    asked = asked_policy()
    policies = {"asked": asked, "asked, fitted": fit_shares(faces, asked, k=k), "mismatch": MismatchPolicy()}
    return {name: retrieval_report(faces, policy, k=k) for name, policy in policies.items()}


def told(name: str, found: Reports) -> None:
    """One corpus as Markdown."""
    first = found["asked"]
    middle = first.admissible[len(first.admissible) // 2]
    why = ", ".join(f"{number} {cause}" for cause, number in first.without) or "-"
    refused = ", ".join(f"{number} {cause}" for cause, number in first.refused) or "-"
    print(f"\n### {name}: {first.targets} targets, {first.references} references\n")
    print(f"Without any: {first.none / first.targets:.1%} ({why}). Refused pairs: {refused}. Admissible: "
          f"{first.admissible[0]} to {first.admissible[-1]}, median {middle}.\n")
    columns = [*found, "at random", "targets with any"]
    print(f"| gap | asked | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 2)}")
    for number, axis in enumerate(first.axes):
        if axis.mean is None or all(one.asked is None for one in axis.bins):
            continue
        for place, one in enumerate(axis.bins):
            shares = [report.axes[number].bins[place].achieved for report in found.values()]
            print(f"| {axis.name} {one.bin} | {one.asked:.0%} | "
                  + " | ".join(f"{share:.1%}" for share in (*shares, one.random, one.reachable)) + " |")
        off = [*(report.axes[number].apart for report in found.values()), axis.random_apart]
        print(f"| {axis.name}, off | | " + " | ".join("" if one is None else f"{one:.1%}" for one in off) + " | |")
    print(f"\n| mean | {' | '.join([*found, 'at random'])} |\n|{' --- |' * (len(found) + 2)}")
    for number, axis in enumerate(first.axes):
        if axis.mean is not None:
            means = [*(report.axes[number].mean for report in found.values()), axis.random_mean]
            print(f"| {axis.name} | " + " | ".join(f"{mean:.3g}" for mean in means) + " |")
    apart = [*(report.diversity for report in found.values()), first.random_diversity]
    print("| mismatch among the k | " + " | ".join("-" if one is None else f"{one:.2f}" for one in apart) + " |")


def costs(k: int) -> None:
    """CPU milliseconds of one choice, by the number of candidates."""
    print("\n| candidates | mode | rows, ms | columns, ms |\n| --- | --- | --- | --- |")
    for count in (10, 100, 1000):
        rows = [_face(number) for number in range(count + 1)]
        album = Album.of_rows(rows)
        for policy in (MismatchPolicy(), asked_policy(), replace(MismatchPolicy(), mode="random")):
            by_rows, by_columns = [], []
            for turn in range(60):
                start = time.process_time()
                references(rows[turn % count], rows, policy, k, rng(0, "cost", turn))
                between = time.process_time()
                select(album, turn % count, policy, k, rng(0, "cost", turn)).references(album)
                by_rows.append(between - start)
                by_columns.append(time.process_time() - between)
            print(f"| {count} | {policy.mode} | {1e3 * np.median(by_rows):.2f} | {1e3 * np.median(by_columns):.2f} |")


def _face(number: int) -> dict[str, object]:
    draws = rng(0, "cost of a face", number)
    vector = draws.standard_normal(512).astype(np.float32)
    return {
        "face_id": f"{number:024d}-0", "photo_id": f"{number:024d}", "uri": f"/photographs/of/somebody/{number}.jpg",
        "yaw": draws.uniform(-50, 50), "pitch": draws.uniform(-20, 20), "age": draws.uniform(20, 60), "taken": None,
        "brightness": draws.uniform(60, 190), "light_x": draws.normal(0, 0.1), "light_y": draws.normal(0, 0.1),
        "smile": draws.uniform(0.8, 1.2), "norm": draws.uniform(12, 28), "sharpness": 100.0, "score": 0.9,
        "perceptual_hash": int(draws.integers(2**63)), "embedding": vector / np.linalg.norm(vector),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", nargs="*")
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
    parser.add_argument("--photos", nargs="*", default=[str(shared / name) for name in ("people", "congress")
                                                        if (shared / name).exists()])
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--k", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tables = ((Path(one).name, curated(one)) for one in given.workspaces) if given.workspaces else made(
            scratch, given.photos, given.people, given.each)
        for title, table in tables:
            told(title, reports(table, given.k))
    costs(given.k)
