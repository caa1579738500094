"""NTIRE's Real-World Face Restoration challenge of 2026: a score without truth, and an identity gate.

In: the challenge's folder of degraded pictures, its table of landmarks, and folders of outputs. Out: rows, and a table
with each part of the score and the gate under both published sets of thresholds.

    test/{CelebA,LFW-Test,Wider-Test,WebPhoto-Test,CelebChild-Test}/*.png      450 degraded pictures, 512 px
    test_2026_face.csv (or face_alignment/test_2026_face.csv)                  filename, dataset, five landmarks
    OUTPUTS/{the same folders}/*.png                                           a method's answers

Source: report arXiv 2604.10532. score = CLIPIQA + MANIQA + MUSIQ / 100 + max(0, (10 - NIQE) / 10) + QALIGN / 5
+ max(0, (100 - FID) / 100), FID against FFHQ, means over all pictures. The gate: cosine of an AdaFace network between
the output and the degraded input, both cut with the table's landmarks; more than ten pictures below their threshold
disqualify. The challenge's README and its script state different thresholds for two of the five sets.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.exports import write_plain
from anchorface.evaluation.metrics import Opened, open_metrics, sets
from anchorface.evaluation.metrics.catalogue import Features, Values
from anchorface.evaluation.outputs import Outputs
from anchorface.evaluation.protocol import weight_hash
from anchorface.evaluation.protocols.layouts import PICTURES
from anchorface.faces.embed import embedder
from anchorface.faces.images import read_photo
from anchorface.faces.likeness import judge_crop
from anchorface.records import DataError, Dropped, PhotoError, WeightsError, storage

NAME = "ntire-2026-face"
JUDGE = "adaface_ir50_ms1mv2"
SIZE = 512
SETS: Mapping[str, int] = {"CelebA": 100, "LFW-Test": 100, "Wider-Test": 100, "WebPhoto-Test": 100,
                           "CelebChild-Test": 50}
THRESHOLDS: Mapping[str, Mapping[str, float]] = {
    "README": {"CelebA": 0.5, "LFW-Test": 0.6, "CelebChild-Test": 0.6, "Wider-Test": 0.3, "WebPhoto-Test": 0.3},
    "script": {"CelebA": 0.5, "LFW-Test": 0.6, "CelebChild-Test": 0.6, "Wider-Test": 0.2, "WebPhoto-Test": 0.25},
}
FAILURES = 10
"""Pictures below their threshold with which a method still passes."""
METRICS = ("niqe", "clipiqa", "maniqa", "musiq", "qalign", "fid_ffhq")
PARTS: Mapping[str, Callable[[float], float]] = {
    "clipiqa": lambda v: v, "maniqa": lambda v: v, "musiq": lambda v: v / 100,
    "niqe": lambda v: max(0.0, (10 - v) / 10), "qalign": lambda v: v / 5,
    "fid_ffhq": lambda v: max(0.0, (100 - v) / 100),
}
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
BATCH = 16


def score(means: Mapping[str, float]) -> float:
    """The challenge's score of the six means."""
    return sum(part(means[key]) for key, part in PARTS.items())


def gate(cosines: Sequence[tuple[str, float]], thresholds: Mapping[str, float]) -> tuple[int, bool]:
    """How many pictures lie below their set's threshold, and whether the method passes.

    Args:
        cosines: set and cosine of each picture.
    """
    failed = sum(cosine < thresholds[name] for name, cosine in cosines)
    return failed, failed <= FAILURES


def judge_ntire(folder: str, outputs: Mapping[str, str], out: str, *, judge: str = JUDGE, mode: str = "test",
                device: str = "cpu", progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Score folders of outputs and hold them against the gate; writes rows.parquet, table.json, .csv, .md and .tex.

    Args:
        folder: the challenge's folder. outputs: name to folder. mode: `test` or `val`.
        judge: the gate's network; another than the challenge's is said in the table.

    Returns:
        The content of table.json.

    Raises:
        DataError: a folder or the landmarks are missing, two outputs for one picture. WeightsError: no such judge here.
    """
    say = progress or (lambda line: None)
    storage.require_writable(storage.join(out, "rows.parquet"))
    network = embedder(judge)
    cases, dropped = read_layout(folder, mode)
    opened = open_metrics(METRICS, SIZE, device)
    notes = [f"{o.measure.label}: no numbers: {o.measure.absent}" for o in opened if o.measure.absent]
    notes += [f"{o.measure.label}: not for commercial use: {o.metric.licence}" for o in opened
              if "oncommercial" in o.metric.licence]
    if judge != JUDGE:
        notes.append(f"the gate's network is {judge}, the challenge's {JUDGE}: cosines of the two differ")
    if len(cases) < sum(SETS.values()):
        notes.append(f"{len(cases)} of the challenge's {sum(SETS.values())} pictures are judged")
    for note in notes:
        say(note)
    methods, tables = [], []
    for name, uri in outputs.items():
        answers = Outputs.open(uri, (case["name"] for case in cases))
        rows, features = [], [np.zeros((0, 1), np.float32)]
        for start in range(0, len(cases), BATCH):
            part, seen = _measured(cases[start:start + BATCH], answers, opened, network)
            rows += part
            features = [*features, *seen]
            say(f"    {name}: {min(start + BATCH, len(cases))}/{len(cases)}")
        tables.append(pa.Table.from_pylist([{"method": name, **row} for row in rows], schema=_schema()))
        methods.append(_method(name, rows, features[1:], opened))
    storage.write_table(storage.join(out, "rows.parquet"), pa.concat_tables(tables))
    result = {"protocol": NAME, "mode": mode, "size": SIZE, "rows": len(cases), "methods": methods, "notes": notes,
              "judge": {"name": judge, "sha256": weight_hash(judge)}, "thresholds": THRESHOLDS,
              "measures": [asdict(o.measure) for o in opened], "dropped": [row.to_row() for row in dropped]}
    write_plain(out, result, *_plain_table(result))
    return result


def read_layout(folder: str, mode: str = "test") -> tuple[list[dict[str, Any]], list[Dropped]]:
    """The challenge's pictures with their landmarks, and what cannot be judged.

    Returns:
        name, dataset, file and landmarks [5, 2] of each; and dropped rows.
    """
    named = f"{mode}_2026_face.csv"
    places = (storage.join(folder, named), storage.join(folder, "face_alignment", named))
    place = next((place for place in places if storage.exists(place)), "")
    if not place:
        raise DataError(f"{folder}: no {named}: the challenge's repository has it in face_alignment/")
    table = {(row["dataset"], row["filename"]): row
             for row in csv.DictReader(io.StringIO(storage.read_bytes(place).decode("utf-8", "replace")))}
    cases, dropped, lacking = [], [], []
    for name in SETS:
        inside = storage.join(folder, mode, name)
        if not storage.exists(inside):
            lacking.append(f"{mode}/{name}")
            continue
        for file in storage.list_files(inside, PICTURES):
            stem = storage.name_in(inside, file).rsplit("/", 1)[-1].rsplit(".", 1)[0]
            points = _points(table.get((name, stem)))
            if points is None:
                dropped.append(Dropped(stage="protocol", uri=file, row=-1, cause=f"no landmarks in {place}"))
            else:
                cases.append({"name": stem, "dataset": name, "file": file, "landmarks": points})
    if lacking:
        raise DataError(f"{folder}: no folder {', '.join(lacking)}")
    if not cases:
        raise DataError(f"{folder}: no picture that {place} names")
    names = [str(case["name"]) for case in cases]
    if len(set(names)) < len(names):
        raise DataError(f"{folder}: two pictures of one name, {sorted(n for n in names if names.count(n) > 1)[0]!r}: "
                        "outputs could not be told apart")
    return cases, dropped


def _points(row: Mapping[str, str] | None) -> np.ndarray | None:
    try:
        return np.array([[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS]) if row else None
    except (KeyError, ValueError, TypeError):
        return None


def _measured(part: Sequence[Mapping[str, Any]], answers: Outputs, opened: Sequence[Opened], network: Any
              ) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Rows of a few cases, and the features of those that are there."""
    found = [answers.answer(case["name"], SIZE) for case in part]
    rows = [{"name": case["name"], "dataset": case["dataset"], "cause": answer.cause or None}
            for case, answer in zip(part, found, strict=True)]
    inputs: dict[int, np.ndarray] = {}
    for n, case in enumerate(part):
        if found[n].image is None:
            continue
        try:
            inputs[n] = read_photo(case["file"])[0]
        except PhotoError as error:
            rows[n]["cause"] = f"input: {error.cause}"
    there = sorted(inputs)
    if not there:
        return rows, []
    images = np.stack([np.asarray(found[n].image) for n in there])
    features: list[np.ndarray] = []
    for one in opened:
        if one.values is None:
            continue
        if one.metric.of_sets:
            features = list(_features(one)(images))
            continue
        for n, value in zip(there, _values(one)(images, images), strict=True):
            rows[n][one.metric.key] = float(value) if np.isfinite(value) else None
    crops = [judge_crop(picture, part[n]["landmarks"]) for n in there
             for picture in (np.asarray(found[n].image), inputs[n])]
    units = network.embed(np.stack(crops))[0]
    for place, n in enumerate(there):
        rows[n]["identity"] = float(units[2 * place] @ units[2 * place + 1])
    return rows, features


def _features(one: Opened) -> Features:
    return one.values  # type: ignore[return-value]


def _values(one: Opened) -> Values:
    return one.values  # type: ignore[return-value]


def _method(name: str, rows: Sequence[Mapping[str, Any]], features: Sequence[np.ndarray], opened: Sequence[Opened]
            ) -> dict[str, Any]:
    """A method's means, score and gate. A picture that is missing counts as below its threshold."""
    means: dict[str, float | None] = {}
    for one in opened:
        values = [row[one.metric.key] for row in rows if row.get(one.metric.key) is not None]
        means[one.metric.key] = float(np.mean(values)) if values else None
    if len(features) > 1:
        try:
            means["fid_ffhq"] = sets.fid_to_ffhq(np.stack(features))
        except WeightsError:
            means["fid_ffhq"] = None
    cosines = [(row["dataset"], -1.0 if row.get("identity") is None else row["identity"]) for row in rows]
    lacking = [key for key in PARTS if means[key] is None]
    return {"method": name, "means": means, "identity": float(np.mean([c for _, c in cosines])),
            "score": None if lacking else score({k: float(v) for k, v in means.items() if v is not None}),
            "score_lacks": lacking, "missing": sum(row["cause"] is not None for row in rows),
            "gate": {which: dict(zip(("below", "passes"), gate(cosines, of), strict=True))
                     for which, of in THRESHOLDS.items()}}


def _schema() -> pa.Schema:
    return pa.schema([("method", pa.string()), ("name", pa.string()), ("dataset", pa.string()), ("cause", pa.string()),
                      ("identity", pa.float64()), *((key, pa.float64()) for key in METRICS if key != "fid_ffhq")])


def _plain_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Head, rows and remarks for the exports."""
    head = ["method", *METRICS, "score", *(f"below threshold ({which})" for which in THRESHOLDS),
            *(f"passes ({which})" for which in THRESHOLDS), "missing"]
    rows = []
    for method in result["methods"]:
        lacks = "lacks " + ", ".join(method["score_lacks"])
        rows.append([method["method"], *("–" if method["means"][k] is None else f"{method['means'][k]:.4f}"
                                         for k in METRICS),
                     lacks if method["score"] is None else f"{method['score']:.4f}",
                     *(str(method["gate"][which]["below"]) for which in THRESHOLDS),
                     *("yes" if method["gate"][which]["passes"] else "no" for which in THRESHOLDS),
                     str(method["missing"])])
    remarks = [f"{m['label']}: {'no numbers: ' + m['absent'] if m['absent'] else m['source']}"
               for m in result["measures"]]
    judge = result["judge"]
    return head, rows, [*remarks, f"Gate: {judge['name']} {judge['sha256'][:16]}", *result["notes"]]
