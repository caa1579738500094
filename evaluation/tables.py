"""From rows to the table: a mean with its 95 % interval per condition and measure, and paired comparisons.

In: the rows of evaluation.evaluate (one per condition and picture). Out: plain values for table.json, and a CSV.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.intervals import Interval, bootstrap
from anchorface.records import storage


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A column of the table: key in the rows, a short label, what it means, unit, digits.

    better: `higher` where the largest mean is the best one; anything else is no ranking.
    """

    key: str
    label: str
    meaning: str
    digits: int
    scale: float = 1.0
    unit: str = ""
    better: str = "higher"


MEASURES: tuple[Measure, ...] = (
    Measure(key="judge_target", label="likeness to the truth", digits=3,
            meaning="the judge's cosine between the picture and the true photograph"),
    Measure(key="judge_first", label="likeness to the reference", digits=3, better="near the truth's own",
            meaning="the judge's cosine to the first reference; more than the truth's own is no merit"),
    Measure(key="copied", label="copy rate", digits=1, scale=100.0, unit="%", better="at most a half",
            meaning="share of pictures that are nearer to the first reference than the truth is"),
    Measure(key="copied_any", label="copy rate, any", digits=1, scale=100.0, unit="%", better="",
            meaning="share of pictures that are nearer to some reference than the truth is to that one"),
    Measure(key="surplus", label="surplus", digits=3, better="near 0",
            meaning="likeness to the first reference minus the truth's own likeness to it"),
    Measure(key="judge_stranger", label="likeness to a stranger", digits=3, better="no more than without references",
            meaning="the judge's cosine to another person's first reference, the same one in every condition"),
    Measure(key="psnr", label="PSNR", digits=2, unit="dB", meaning="fidelity of pixels to the truth"),
    Measure(key="ssim", label="SSIM", digits=3, meaning="fidelity of local structure to the truth"),
)

CHAIN = ("degraded", "without", "three")
PAIRS = (("degraded", "without"), ("without", "one"), ("without", "three"), ("one", "three"), ("degraded", "three"),
         ("without_mean", "three_mean"), ("without", "stranger"))


def table(rows: pa.Table, conditions: Sequence[dict[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """All means, intervals and paired comparisons.

    Args:
        rows: columns condition, number, identity and the measures; rows that lack a measure are left out of it.
        conditions: slug, label and the rest of each condition, in the order of the table.

    Returns:
        conditions: each with `measures` {key: interval or None}; comparisons: mean difference in likeness to the
        truth, pair by pair of pictures; order: whether degraded < without < three holds, and with intervals apart;
        rows, identities: how much was judged.
    """
    by_condition = {c["slug"]: rows.filter(pa.compute.equal(rows["condition"], c["slug"])) for c in conditions}
    measured = [{**c, "measures": {m.key: _interval(by_condition[c["slug"]], m.key, seed) for m in MEASURES}}
                for c in conditions]
    comparisons = [_comparison(by_condition[low], by_condition[high], low, high, seed)
                   for low, high in PAIRS if low in by_condition and high in by_condition]
    return {"rows": len(set(rows["number"].to_pylist())), "identities": len(set(rows["identity"].to_pylist())),
            "conditions": [{**c, "measures": {k: v.to_dict() if v else None for k, v in c["measures"].items()}}
                           for c in measured],
            "comparisons": comparisons,
            "order": _order({c["slug"]: c["measures"]["judge_target"] for c in measured})}


def write_tables(out: str, result: dict[str, Any]) -> None:
    """Write table.json and table.csv, each whole or not at all."""
    storage.write_atomic(storage.join(out, "table.json"), json.dumps(result, indent=1).encode())
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["condition", *(f"{m.key}{end}" for m in MEASURES for end in ("", "_low", "_high")), "rows",
                     "identities"])
    for condition in result["conditions"]:
        measures = condition["measures"]
        numbers = [measures[m.key][part] if measures[m.key] else "" for m in MEASURES
                   for part in ("mean", "low", "high")]
        count = measures["judge_target"]
        writer.writerow([condition["slug"], *numbers, count["rows"], count["identities"]])
    storage.write_atomic(storage.join(out, "table.csv"), sink.getvalue().encode())


def number(value: float, measure: Measure) -> str:
    """A value in the measure's unit and digits, as tables and page print it."""
    return f"{value * measure.scale:.{measure.digits}f}"


def _interval(rows: pa.Table, key: str, seed: int) -> Interval | None:
    rows = rows.filter(pa.compute.is_valid(rows[key]))
    values = np.asarray(rows[key].to_pylist(), dtype=np.float64)
    return bootstrap(values, rows["identity"].to_pylist(), seed=seed)


def _comparison(low: pa.Table, high: pa.Table, low_slug: str, high_slug: str, seed: int) -> dict[str, Any]:
    """Mean of (high - low) over the same pictures: sharper than comparing two intervals."""
    before = {row["number"]: row["judge_target"] for row in low.to_pylist()}
    pairs = [(row["judge_target"] - before[row["number"]], row["identity"]) for row in high.to_pylist()
             if row["number"] in before]
    difference = bootstrap([d for d, _ in pairs], [who for _, who in pairs], seed=seed)
    return {"from": low_slug, "to": high_slug, "measure": "judge_target",
            "difference": difference.to_dict() if difference else None,
            "better_share": float(np.mean([d > 0 for d, _ in pairs])) if pairs else None}


def _order(of: dict[str, Interval | None]) -> dict[str, Any]:
    chain = [of.get(slug) for slug in CHAIN]
    found = [interval for interval in chain if interval is not None]
    whole = len(found) == len(CHAIN)
    steps = list(pairwise(found))
    return {"chain": list(CHAIN), "holds": whole and all(a.mean < b.mean for a, b in steps),
            "intervals_apart": whole and all(a.mean < b.mean and a.apart(b) for a, b in steps)}
