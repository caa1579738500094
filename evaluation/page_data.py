"""The report's background: the data's pose, age and quality, how far references lie, training curves, what dropped.

In: a dataset version, a protocol, a run's history (CSV, JSON or JSON lines), the `dropped` table.
Out: HTML fragments; a part without data is left out.
"""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.charts import curves, histogram
from anchorface.evaluation.protocol import Protocol
from anchorface.records import DataError, storage
from anchorface.records.dataset import DatasetVersion

CLOCKS = {"clock": "samples seen", "positions": "samples seen", "position": "samples seen", "step": "steps",
          "steps": "steps"}
Series = tuple[list[float], list[float]]


@dataclass(frozen=True, kw_only=True)
class History:
    """A run's measures over its clock. clock: the axis' name; series: name -> (clock values, values)."""

    clock: str
    series: dict[str, Series]


def data_plots(dataset: DatasetVersion, protocol: Protocol) -> str:
    """Histograms of pose, age and quality: what was learned from against what is judged."""
    split = protocol.split
    parts = []
    for key, label in (("yaw", "yaw, degrees (right is positive)"), ("pitch", "pitch, degrees (up is positive)"),
                       ("age", "age, years"), ("norm", "embedding norm (quality as AdaFace sees it)"),
                       ("sharpness", "sharpness (log10 of the Laplacian's variance)"),
                       ("brightness", "brightness, 0 to 255")):
        rows = dataset.rows(columns=("split", key))
        values = {name: [_number(row, key) for row in rows if (row["split"] == split) == held and row[key] is not None]
                  for name, held in (("training side", False), (f"held out ({split})", True))}
        values = {name: numbers for name, numbers in values.items() if numbers}
        if not values:
            continue
        edges = _edges([number for numbers in values.values() for number in numbers], key)
        parts.append(f"<figure>{histogram(values, edges, label)}</figure>")
    return f'<div class="charts">{"".join(parts)}</div>'


def reference_gaps(dataset: DatasetVersion, protocol: Protocol) -> str:
    """How far the chosen references lie from their targets, against any two photographs of one person."""
    rows = {row["face_id"]: row for row in dataset.rows(protocol.split)}
    people = defaultdict(list)
    for row in rows.values():
        people[row["identity"]].append(row)
    any_two = [pair for faces in people.values() for pair in combinations(faces[:40], 2)]
    chosen = [(rows[row.target], rows[face_id]) for row in protocol.rows for face_id in row.references]
    parts = []
    for key, label, edges in (("yaw", "difference in yaw, degrees", np.linspace(0, 90, 19)),
                              ("age", "difference in age, years", np.linspace(0, 40, 17)),
                              ("pitch", "difference in pitch, degrees", np.linspace(0, 60, 16))):
        values = {name: [abs(a[key] - b[key]) for a, b in pairs if a[key] is not None and b[key] is not None]
                  for name, pairs in (("chosen references", chosen), ("any two photographs", any_two))}
        values = {name: numbers for name, numbers in values.items() if numbers}
        top = max((max(n) for n in values.values()), default=0.0)
        if top > 0:
            parts.append(f"<figure>{histogram(values, _cut(edges, top), label)}</figure>")
    cosines = {"chosen references": [_cosine(a, b) for a, b in chosen],
               "any two photographs": [_cosine(a, b) for a, b in any_two[:20000]]}
    cosines = {name: numbers for name, numbers in cosines.items() if numbers}
    if cosines:
        chart = histogram(cosines, np.linspace(-0.2, 1.0, 25), "cosine of the embeddings (the anchor's network)")
        parts.append(f"<figure>{chart}</figure>")
    return f'<div class="charts">{"".join(parts)}</div>'


def counts(dataset: DatasetVersion) -> str:
    """Faces and identities per split, and licences."""
    order = sorted(dataset.manifest.counts.items(), key=lambda entry: -entry[1].get("faces", 0))
    rows = "".join(f'<tr><td>{escape(split)}</td><td>{numbers.get("faces", 0)}</td><td>{numbers.get("identities", 0)}'
                   "</td></tr>" for split, numbers in order)
    licences = ", ".join(f"{escape(name)} ({count})" for name, count in sorted(dataset.manifest.licences.items()))
    return (f'<div class="wide"><table><thead><tr><th>split</th><th>faces</th><th>people</th></tr></thead><tbody>{rows}'
            f'</tbody></table></div><p class="note">Nobody stands in two splits. Licences: {licences}.</p>')


def dropped_summary(dropped: pa.Table | None) -> str:
    """Which photographs or faces did not go on, and why."""
    if dropped is None or dropped.num_rows == 0:
        return '<p class="note">Nothing was dropped.</p>'
    rows = dropped.to_pylist()
    count = Counter((row["stage"], _kind(row["cause"])) for row in rows)
    example = {(row["stage"], _kind(row["cause"])): row["uri"].rsplit("/", 1)[-1] for row in reversed(rows)}
    body = "".join(f"<tr><td>{escape(stage)}</td><td>{escape(cause)}</td><td>{n}</td>"
                   f'<td class="muted">{escape(example[stage, cause])}</td></tr>'
                   for (stage, cause), n in count.most_common(40))
    return ('<div class="wide"><table class="left"><thead><tr><th>stage</th><th>cause</th><th>how many</th>'
            f"<th>for example</th></tr></thead><tbody>{body}</tbody></table></div>")


def _kind(cause: str) -> str:
    """Causes that name another file are one kind."""
    return "duplicate of another photograph" if cause.startswith("duplicate of") else cause


def read_history(uri: str) -> History:
    """Read a run's measures from a file.

    Args:
        uri: CSV with a header, JSON (a list of objects) or JSON lines; one column is `positions` or `step`.

    Raises:
        DataError: no such column, or not that kind of file.
    """
    text = storage.read_bytes(uri).decode()
    try:
        if uri.endswith(".csv"):
            rows: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(text)))
        elif text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(f"{uri}: not a history: {error}") from error
    clock = next((name for name in CLOCKS if any(name in row for row in rows)), None)
    if clock is None:
        raise DataError(f"{uri}: no clock column; one of {', '.join(CLOCKS)} is needed")
    series: dict[str, Series] = defaultdict(lambda: ([], []))
    for row in rows:
        for name, value in row.items():
            if name in CLOCKS or value in (None, ""):
                continue
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            series[name][0].append(float(row[clock]))
            series[name][1].append(number)
    return History(clock=CLOCKS[clock], series=dict(series))


def training_curves(history: History, most: int = 9) -> str:
    """One small chart per measure that moves, losses first."""
    moving = {name: line for name, line in history.series.items() if len(set(line[1])) > 1}
    names = sorted(moving, key=lambda name: ("loss" not in name, name))[:most]
    charts = "".join(f"<figure>{curves({name: moving[name]}, history.clock, name)}</figure>" for name in names)
    return f'<div class="charts">{charts}</div>'


def _number(row: Mapping[str, Any], key: str) -> float:
    return float(np.log10(max(row[key], 1e-3))) if key == "sharpness" else float(row[key])


def _edges(values: Sequence[float], key: str) -> np.ndarray:
    if key in ("yaw", "pitch"):
        half = max(30.0, float(np.ceil(np.quantile(np.abs(values), 0.99) / 15) * 15))
        return np.linspace(-half, half, int(half / 7.5) * 2 + 1)
    low, high = float(np.quantile(values, 0.005)), float(np.quantile(values, 0.995))
    if key == "age":
        low, high = np.floor(low / 5) * 5, max(np.ceil(high / 5) * 5, low + 10)
        return np.arange(low, high + 2.5, 5)
    return np.linspace(low, high if high > low else low + 1, 22)


def _cut(edges: np.ndarray, top: float) -> np.ndarray:
    kept = int(np.searchsorted(edges, top)) + 1
    return edges[: max(4, min(len(edges), kept))]


def _cosine(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    return float(np.dot(a["embedding"], b["embedding"]))
