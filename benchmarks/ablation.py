"""Do references help, which pathway carries what, and does mismatch lower copying? IConFace's ablation at tiny size.

    python benchmarks/ablation.py [--folder runs/ablation] [--samples 9216] [--runs full:0,concat:0,...] [--print]

Trains `iconface_tiny` on 300 photographed and 170 synthetic people once per row and seed, on the carried frozen base,
two processes of one thread at a time, and judges each on people whom no run saw: 102 photographs of 12 people (judge
mobilefacenet) and 100 synthetic faces of 100 (judge_small), profile refldm-severe, sampled in bfloat16. The first seed
of `full` answers all questions, of `concat` and `random` those that compare them with it; the other runs are judged
without references and with three. A run that was stopped goes on where it was; the rows of those that ended are kept
in `benchmarks/rows` (benchmarks.kept), from which `--print` prints what stands so far.

Rows (those of IConFace's ablation; each adds to the one before):

    concat      degraded and reference tokens beside the noisy ones, LoRA
    structure   + the degraded residual at the input
    identity    + the identity anchor
    single      + degraded attention from one pooled memory
    full        two-route memory in place of it
    paper       full, with the paper's weight of the identity loss and a third of the rate
    random      full, trained with references drawn at random instead of by mismatch
    gain        full, whose identity anchor learns four times faster
    alone       full, a quarter of whose batches know their references by the anchor alone
    carrying    both

Values are means over pictures (of a row's seeds, then over pictures) with 95 % intervals, persons drawn with
replacement; gains are paired, picture by picture.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.evaluation import CONDITIONS, Condition, Protocol, bootstrap, evaluate, freeze
from anchorface.evaluation.strata import gap
from anchorface.identity_index import MismatchPolicy
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.records.dataset import DatasetVersion
from anchorface.records.storage import write_atomic
from anchorface.restoration import Restorer, SamplerSettings
from anchorface.synthetic import write_corpus
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe, recipe
from benchmarks.kept import KEPT, file_of, keep, mean_gap, otherwise, read, runs

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
HELD_OUT = {f"p{number:02d}" for number in (1, 2, 3, 5, 7, 9, 11, 12, 15, 17, 19, 21)}
"""Persons of `people` who are judged; the others are learned from."""
CORPUS_SEED, LEARNED, JUDGED = 20_260, 170, 100
JUDGES = {"real": ("mobilefacenet_y1_ms1m_112", 102), "fake": ("judge_small", 100)}
ANCHORS = "model.system."
ROWS: dict[str, dict[str, Any]] = {
    "concat": {f"{ANCHORS}identity_anchor": False, f"{ANCHORS}residual": False, f"{ANCHORS}memory": "none"},
    "structure": {f"{ANCHORS}identity_anchor": False, f"{ANCHORS}memory": "none"},
    "identity": {f"{ANCHORS}memory": "none"},
    "single": {f"{ANCHORS}memory": "single"},
    "full": {},
    "paper": {"losses.identity.weight": 0.3, "learning_rate": 1e-3},
    "random": {"feed.policy.mode": "random"},
    "gain": {f"{ANCHORS}identity_gain": 4.0},
    "alone": {"anchor_alone": 0.25},
    "carrying": {f"{ANCHORS}identity_gain": 4.0, "anchor_alone": 0.25},
}
RUNS = ("full:0", "concat:0", "random:0", "full:1", "concat:1", "random:1", "paper:0", "identity:0", "single:0",
        "structure:0", "full:2", "concat:2", "random:2", "carrying:0", "alone:0", "gain:0", "carrying:1", "carrying:2")
TWO = Condition(slug="two", label="with two references", kind="restored", references=2)
EVERY = ("degraded", "without", "one", "two", "three", "stranger")
FIRST = {"full": EVERY, "random": ("without", "one", "three", "stranger"), "concat": ("without", "three", "stranger")}
NEAR, FAR = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
GAPS = {
    "same pose": MismatchPolicy(mode="asked", yaw_bins=(10.0, 20.0), yaw_asked=NEAR),
    "cross pose": MismatchPolicy(mode="asked", yaw_bins=(10.0, 20.0), yaw_asked=FAR),
    "same age": MismatchPolicy(mode="asked", age_bins=(3.0, 10.0), age_asked=NEAR),
    "cross age": MismatchPolicy(mode="asked", age_bins=(3.0, 10.0), age_asked=FAR),
}
ONE = tuple(c for c in CONDITIONS if c.slug == "one")
Values = dict[int, tuple[str, float]]
"""Number of a picture -> person, value."""
Judged = tuple[dict[str, Path], dict[str, dict[int, float | None]]]
"""What `kept.keep` takes of a run."""


def people(out: Path, keep: Callable[[str], bool]) -> None:
    """Some persons of the shared photographs."""
    with open(PHOTOS / "people" / "index.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if keep(row["person"])]
    for row in rows:
        (out / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTOS / "people" / row["file"], out / row["file"])
    with open(out / "index.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def synthetic_people(corpus: Path, out: Path, first: int, count: int) -> None:
    """Some persons of the synthetic corpus."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "metadata.jsonl", "w") as stream:
        for line in (corpus / "metadata.jsonl").read_text().splitlines():
            row = json.loads(line)
            if first <= int(row["subject"][1:]) < first + count:
                (out / row["file"]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(corpus / row["file"], out / row["file"])
                stream.write(line + "\n")


def prepare(folder: Path) -> dict[str, str]:
    """The three dataset versions: `train`, `real`, `fake`."""
    done = folder / "datasets.json"
    if not done.exists():
        corpus, heaps = folder / "corpus", {name: folder / name for name in ("train", "real", "fake")}
        for place in (corpus, *heaps.values()):
            shutil.rmtree(place, ignore_errors=True)
        write_corpus(corpus, identities=LEARNED + JUDGED, photos_each=6, seed=CORPUS_SEED, size=320, group_photos=0,
                     workers=2)
        people(heaps["train"] / "people", lambda person: person not in HELD_OUT)
        people(heaps["real"], lambda person: person in HELD_OUT)
        for name in ("congress", "london"):
            shutil.copytree(PHOTOS / name, heaps["train"] / name)
        synthetic_people(corpus, heaps["train"] / "synthetic", 0, LEARNED)
        synthetic_people(corpus, heaps["fake"], LEARNED, JUDGED)
        versions = {}
        for name, splits in (("train", (1.0, 0.0, 0.0)), ("real", (0.0, 0.0, 1.0)), ("fake", (0.0, 0.0, 1.0))):
            out = str(folder / f"workspace-{name}")
            ingest(str(heaps[name]), out, concurrency=0)
            find_faces(out, crop_size=256, concurrency=0)
            print(name, group(out, labels=True, splits=splits), flush=True)
            versions[name] = shards(out, concurrency=0)
        write_atomic(str(done), json.dumps(versions).encode())
    return json.loads(done.read_text())


def parted(run: str) -> tuple[str, int]:
    """A run's row and seed."""
    row, _, seed = run.partition(":")
    return row, int(seed)


def made_by(row: str, seed: int, samples: int) -> Recipe:
    """What a run is trained by."""
    return recipe("iconface_tiny", positions=samples, cooldown=samples * 2 // 3, **ROWS[row], **{"feed.seed": seed})


def one_run(folder: Path, row: str, seed: int, made: Recipe) -> Judged:
    """Train one row with one seed, and judge it."""
    versions, out = json.loads((folder / "datasets.json").read_text()), folder / "runs" / f"{row}-{seed}"
    checkpoint = train(made, versions["train"], out / "run", Execution(workers=0, threads=1), track=False)
    restorer, settings = Restorer(checkpoint), SamplerSettings(precision="bf16", trust=1.0)
    wanted = FIRST.get(row, ()) if seed == 0 else ()
    shown = [c for c in (*CONDITIONS, TWO) if c.slug in (wanted or ("without", "three"))]
    judged, gaps = {}, {}
    for name, (judge, count) in JUDGES.items():
        dataset = versions[name]
        judged[name] = out / name
        evaluate(checkpoint, dataset, str(judged[name]), judge=judge, count=count, restorer=restorer, conditions=shown,
                 settings=settings)
        if row in ("full", "random") and seed == 0:
            for asked, policy in GAPS.items():
                protocol = freeze(DatasetVersion.open(dataset), judge=judge, size=restorer.size, count=count,
                                  references=1, policy=policy, name=asked)
                place = f"{name} {asked}"
                judged[place], gaps[place] = out / place, achieved(protocol, dataset, asked)
                evaluate(checkpoint, dataset, str(judged[place]), protocol=protocol, restorer=restorer, conditions=ONE,
                         settings=settings)
    return judged, gaps


def achieved(protocol: Protocol, version: str, asked: str) -> dict[int, float | None]:
    """How far a frozen protocol's first references are from the truth, by number: degrees of yaw, or years."""
    dataset, name = DatasetVersion.open(version), "yaw" if asked.endswith("pose") else "age"
    return {row.number: gap(dataset.row(row.target), dataset.row(row.references[0]), name) for row in protocol.rows}


def values(kept: Path, row: str, place: str, condition: str, measure: str) -> Values | None:
    """Per picture of a row: the person, and the mean over seeds of a measure; None if no seed was judged."""
    found: dict[int, tuple[str, list[float]]] = {}
    for file in runs(row, kept):
        for each in read(file):
            if (each["place"], each["condition"]) == (place, condition) and each[measure] is not None:
                found.setdefault(each["number"], (each["identity"], []))[1].append(float(each[measure]))
    return {number: (who, float(np.mean(all_seeds))) for number, (who, all_seeds) in found.items()} or None


def told(after: Values | None, before: Values | None = None, digits: int = 3) -> str:
    """A mean with its interval, or the mean paired difference of two."""
    if after is None:
        return "-"
    numbers = [n for n in after if before is None or n in before]
    differences = [after[n][1] - (0.0 if before is None else before[n][1]) for n in numbers]
    interval = bootstrap(differences, [after[n][0] for n in numbers])
    if interval is None:
        return "-"
    sign = "" if before is None else "+"
    return f"{interval.mean:{sign}.{digits}f} ({interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f})"


def minus(print_: Callable[[str], None], of: Callable[..., Values | None], rows: Sequence[str], than: str) -> None:
    """The table of what each row has more than one of them."""
    print_(f"\n| minus `{than}` | likeness, three references | surplus, three | likeness, shown a stranger |")
    print_("| --- | --- | --- | --- |")
    for row in rows:
        if row != than and of(row, "three") is not None and of(than, "three") is not None:
            cells = [told(of(row, shown, m), of(than, shown, m)) for shown, m in (
                ("three", "judge_target"), ("three", "surplus"), ("stranger", "judge_target"))]
            print_(f"| {row} | {' | '.join(cells)} |")


def spread(kept: Path, row: str, place: str) -> str:
    """The gain of three references, seed by seed."""
    gains = []
    for file in runs(row, kept):
        shown = {(each["number"], each["condition"]): each["judge_target"] for each in read(file)
                 if each["place"] == place and each["judge_target"] is not None}
        gains.append(np.mean([after - shown[number, "without"] for (number, condition), after in shown.items()
                              if condition == "three" and (number, "without") in shown]))
    return ", ".join(f"{gain:+.3f}" for gain in gains)


def tables(kept: Path = KEPT, print_: Callable[[str], None] = print) -> None:
    """Everything that was judged so far, as Markdown."""
    for place, (judge, _) in JUDGES.items():
        def of(row: str, condition: str, measure: str = "judge_target", where: str = place) -> Values | None:
            return values(kept, row, where, condition, measure)

        print_(f"\n### {place}, judge {judge}: degraded input {told(of('full', 'degraded'))}\n")
        print_("| row | likeness without references | with three | paired gain (by seed) | PSNR, three | SSIM, three |")
        print_("| --- | --- | --- | --- | --- | --- |")
        for row in ROWS:
            if (three := of(row, "three")) is not None:
                gain = f"{told(three, of(row, 'without'))} [{spread(kept, row, place)}]"
                print_(f"| {row} | {told(of(row, 'without'))} | {told(three)} | {gain} | "
                       f"{told(of(row, 'three', 'psnr'), digits=2)} | {told(of(row, 'three', 'ssim'))} |")
        minus(print_, of, tuple(ROWS), "concat")
        minus(print_, of, tuple(ROWS), "full")
        print_("\n| references | likeness to the truth | to the first reference | copy rate | surplus |")
        print_("| --- | --- | --- | --- | --- |")
        for row in ("concat", "full", "random"):
            for shown in ("without", "one", "two", "three"):
                cells = [told(of(row, shown, m)) for m in ("judge_target", "judge_first", "copied", "surplus")]
                print_(f"| {row}, {shown} | {' | '.join(cells)} |")
        print_("\n| row | to the stranger, shown strangers | to the own first reference, shown own | likeness lost |")
        print_("| --- | --- | --- | --- |")
        for row in ("concat", "full", "random"):
            print_(f"| {row} | {told(of(row, 'stranger', 'judge_stranger'), of(row, 'without', 'judge_stranger'))} | "
                   f"{told(of(row, 'three', 'judge_first'), of(row, 'without', 'judge_first'))} | "
                   f"{told(of(row, 'stranger'), of(row, 'three'))} |")
        print_("\n| row | gap (achieved, mean) | likeness to the truth, one reference | copy rate | surplus |")
        print_("| --- | --- | --- | --- | --- |")
        for row in ("full", "random"):
            for asked in GAPS:
                where = f"{place} {asked}"
                if of(row, "one", where=where) is not None:
                    cells = [told(of(row, "one", m, where)) for m in ("judge_target", "copied", "surplus")]
                    known, unit = mean_gap(row, where, kept), "°" if asked.endswith("pose") else " years"
                    far = f"{known[0]:.1f}{unit}, {known[1]} known" if known else "unknown"
                    print_(f"| {row} | {asked} ({far}) | {' | '.join(cells)} |")
            if of(row, "one", where=f"{place} same pose") is not None:
                for axis in ("pose", "age"):
                    cells = [told(of(row, "one", m, f"{place} cross {axis}"), of(row, "one", m, f"{place} same {axis}"))
                             for m in ("judge_target", "copied", "surplus")]
                    print_(f"| {row} | cross minus same {axis} | {' | '.join(cells)} |")
        print_("\nrandom minus full, three references: likeness "
               f"{told(of('random', 'three'), of('full', 'three'))}, copy rate "
               f"{told(of('random', 'three', 'copied'), of('full', 'three', 'copied'))}, surplus "
               f"{told(of('random', 'three', 'surplus'), of('full', 'three', 'surplus'))}")


def command(script: str, description: str | None, named: Sequence[str],
            made_by: Callable[[str, int, int], Recipe], one_run: Callable[[Path, str, int, Recipe], Judged],
            tables: Callable[[], None], samples: int = 9216, prefix: str = "",
            arguments: Sequence[str] | None = None) -> None:
    """What this study and another one of its rows' kind (benchmarks.rg_ipfr) do when they are called.

    Args:
        script: the study's file, which is called again for each run. named: its runs, row:seed. made_by: row, seed,
            samples. one_run: folder, row, seed, recipe: trains and judges. tables: prints what stands. samples: of a
            run, where nothing else is asked. prefix: of the files in `benchmarks/rows`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--samples", type=int, default=samples, help="training samples of each run")
    parser.add_argument("--runs", default=",".join(named), help="row:seed, in this order")
    parser.add_argument("--print", action="store_true", help="only print what stands")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if not (options.print or PHOTOS.exists()):
        print("skipped: needs the shared photographs beside the checkout")
        return
    if options.only:
        row, seed = parted(options.only)
        made = made_by(row, seed, options.samples)
        keep(file_of(options.only, prefix), made, *one_run(folder, row, seed, made))
        return
    asked = options.runs.split(",")
    left = [run for run in asked if not file_of(run, prefix).exists()]
    kept = [run for run in asked if run not in left]
    for run in kept:
        if differing := otherwise(file_of(run, prefix), made_by(*parted(run), options.samples)):
            print(f"{file_of(run, prefix)}: its run was another: {'; '.join(differing)}")
            if not options.print:
                sys.exit("Remove it to make the run again, or ask for what it was.")
    if left and not options.print:
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        print(f"kept, and not made again: {', '.join(kept) or 'none'}")
        alone = os.environ | {"OMP_NUM_THREADS": "1"}

        def in_a_process(run: str) -> None:
            again = [sys.executable, script, "--folder", str(folder), "--samples", str(options.samples)]
            with open(folder / f"{Path(script).stem}-{run.replace(':', '-')}.log", "ab") as log:
                subprocess.run([*again, "--only", run], env=alone, stdout=log, stderr=log, check=True)
            print(f"{run}: trained and judged", flush=True)

        with ThreadPoolExecutor(2) as pool:
            for answer in [pool.submit(in_a_process, run) for run in left]:
                answer.result()
    tables()


if __name__ == "__main__":
    command(__file__, __doc__, RUNS, made_by, one_run, tables)
