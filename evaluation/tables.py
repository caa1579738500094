"""From rows to the table: a mean with its 95 % interval per condition and measure, and paired comparisons.

In: the rows of evaluation.evaluate (one per condition and picture). Out: plain values for table.json, and a CSV.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.intervals import Interval, bootstrap
from anchorface.evaluation.measures import MEASURES, Measure
from anchorface.records import storage

CHAIN = ("degraded", "without", "three")
PAIRS = (("degraded", "without"), ("without", "one"), ("without", "three"), ("one", "three"), ("degraded", "three"),
         ("without_mean", "three_mean"), ("without", "stranger"))


def table(rows: pa.Table, conditions: Sequence[dict[str, Any]], *, measures: Sequence[Measure] = MEASURES,
          seed: int = 0, of_sets: Mapping[tuple[str, str], dict[str, Any]] | None = None) -> dict[str, Any]:
    """All means, intervals and paired comparisons.

    Args:
        rows: columns condition, number, identity and the measures; rows that lack a measure are left out of it.
        conditions: slug, label and the rest of each condition, in the order of the table.
        measures: the columns. of_sets: (slug, key) to the value of a measure that has one value a condition.

    Returns:
        measures: the columns; conditions: each with `measures` {key: interval or None} and `causes` {cause: rows} where
        rows lack a picture or a face; comparisons: mean difference in likeness to the
        truth, pair by pair of pictures; order: whether degraded < without < three holds, and with intervals apart;
        rows, identities: how much was judged.
    """
    by_condition = {c["slug"]: rows.filter(pa.compute.equal(rows["condition"], c["slug"])) for c in conditions}
    measured = [{**c, "measures": {m.key: _interval(by_condition[c["slug"]], m.key, seed) for m in measures}}
                for c in conditions]
    sets = of_sets or {}
    comparisons = [_comparison(by_condition[low], by_condition[high], low, high, seed)
                   for low, high in PAIRS if low in by_condition and high in by_condition]
    return {"rows": len(set(rows["number"].to_pylist())), "identities": len(set(rows["identity"].to_pylist())),
            "measures": [asdict(m) for m in measures],
            "conditions": [{**c, "measures": {k: v.to_dict() if v else sets.get((c["slug"], k))
                                              for k, v in c["measures"].items()},
                            "causes": _causes(by_condition[c["slug"]])} for c in measured],
            "comparisons": comparisons,
            "order": _order({c["slug"]: c["measures"]["judge_target"] for c in measured})}


def columns(result: dict[str, Any]) -> tuple[Measure, ...]:
    """The columns of a table.json; those of all before they were written into it."""
    return tuple(Measure(**m) for m in result["measures"]) if "measures" in result else MEASURES


def write_tables(out: str, result: dict[str, Any]) -> None:
    """Write table.json and table.csv, each whole or not at all."""
    storage.write_atomic(storage.join(out, "table.json"), json.dumps(result, indent=1).encode())
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    measures = columns(result)
    writer.writerow(["condition", *(f"{m.key}{end}" for m in measures for end in ("", "_low", "_high")), "rows",
                     "identities"])
    for condition in result["conditions"]:
        of = condition["measures"]
        numbers = [of[m.key][part] if of[m.key] else "" for m in measures for part in ("mean", "low", "high")]
        count = of["judge_target"] or {"rows": 0, "identities": 0}
        writer.writerow([condition["slug"], *numbers, count["rows"], count["identities"]])
    storage.write_atomic(storage.join(out, "table.csv"), sink.getvalue().encode())


def best_of(result: dict[str, Any]) -> set[tuple[str, str]]:
    """(slug, key) of the best mean of each ranked measure, among restorations and other programs' outputs."""
    answers = [c for c in result["conditions"] if c["kind"] in ("restored", "outputs")]
    best: set[tuple[str, str]] = set()
    for measure in columns(result):
        means = {c["slug"]: c["measures"][measure.key]["mean"] for c in answers if c["measures"].get(measure.key)}
        if means and measure.better in ("higher", "lower"):
            top = (max if measure.better == "higher" else min)(means.values())
            best |= {(slug, measure.key) for slug, mean in means.items() if mean == top}
    return best


def number(value: float, measure: Measure) -> str:
    """A value in the measure's unit and digits, as tables and page print it."""
    return f"{value * measure.scale:.{measure.digits}f}"


def _interval(rows: pa.Table, key: str, seed: int) -> Interval | None:
    if key not in rows.column_names:
        return None
    rows = rows.filter(pa.compute.is_valid(rows[key]))
    values = np.asarray(rows[key].to_pylist(), dtype=np.float64)
    return bootstrap(values, rows["identity"].to_pylist(), seed=seed)


def _comparison(low: pa.Table, high: pa.Table, low_slug: str, high_slug: str, seed: int) -> dict[str, Any]:
    """Mean of (high - low) over the same pictures: sharper than comparing two intervals."""
    before = {row["number"]: row["judge_target"] for row in low.to_pylist() if row["judge_target"] is not None}
    pairs = [(row["judge_target"] - before[row["number"]], row["identity"]) for row in high.to_pylist()
             if row["number"] in before and row["judge_target"] is not None]
    difference = bootstrap([d for d, _ in pairs], [who for _, who in pairs], seed=seed)
    return {"from": low_slug, "to": high_slug, "measure": "judge_target",
            "difference": difference.to_dict() if difference else None,
            "better_share": float(np.mean([d > 0 for d, _ in pairs])) if pairs else None}


def _causes(rows: pa.Table) -> dict[str, int]:
    """Why rows lack measures, and how many."""
    found = rows["cause"].to_pylist() if "cause" in rows.column_names else []
    return dict(Counter(cause for cause in found if cause))


def _order(of: dict[str, Interval | None]) -> dict[str, Any]:
    chain = [of.get(slug) for slug in CHAIN]
    found = [interval for interval in chain if interval is not None]
    whole = len(found) == len(CHAIN)
    steps = list(pairwise(found))
    return {"chain": list(CHAIN), "holds": whole and all(a.mean < b.mean for a, b in steps),
            "intervals_apart": whole and all(a.mean < b.mean and a.apart(b) for a, b in steps)}
