"""Measures that compare sets of pictures: one value a condition, from the features that its rows hold.

In: an evaluation folder's condition files and the opened metrics. Out: values by (condition, measure), and every opened
metric's column.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anchorface.evaluation.measured import FEATURES
from anchorface.evaluation.measures import Measure
from anchorface.evaluation.metrics import Opened, sets
from anchorface.records import WeightsError, storage

TRUTH = "truth"
FEWEST = 2


def set_values(out: str, slugs: Sequence[str], metrics: Sequence[Opened], *, seed: int = 0
               ) -> tuple[dict[tuple[str, str], dict[str, Any]], tuple[Measure, ...]]:
    """What each metric of sets says of each condition.

    Returns:
        (slug, key) to mean, low, high (one value: all the same), rows and identities (0: not by person); and the
        metrics' columns, with the cause where one has no numbers.
    """
    ready = [o for o in metrics if o.values and o.metric.of_sets]
    features = {slug: _features(out, slug) for slug in slugs} if ready else {}
    values: dict[tuple[str, str], dict[str, Any]] = {}
    columns = []
    for opened in metrics:
        measure = opened.measure
        if opened in ready:
            try:
                values |= {(slug, measure.key): value for slug, of in features.items()
                           if (value := _value(measure.key, slug, of, features.get(TRUTH), seed)) is not None}
            except WeightsError as error:
                measure = replace(measure, absent=str(error).splitlines()[0])
            if opened.metric.needs_truth and TRUTH not in slugs:
                measure = replace(measure, absent="needs the condition `truth`")
        columns.append(measure)
    return values, tuple(columns)


def _value(key: str, slug: str, features: np.ndarray, truth: np.ndarray | None, seed: int) -> dict[str, Any] | None:
    of: dict[str, Callable[[], float]] = {"fid_ffhq": lambda: sets.fid_to_ffhq(features)}
    if truth is not None and slug != TRUTH and len(truth) >= FEWEST:
        of |= {"fid_truth": lambda: sets.fid(features, truth), "kid_truth": lambda: sets.kid(features, truth, seed)}
    if key not in of or len(features) < FEWEST:
        return None
    value = of[key]()
    return {"mean": value, "low": value, "high": value, "rows": len(features), "identities": 0}


def _features(out: str, slug: str) -> np.ndarray:
    """float32 [N, D] of a condition's pictures; rows without a picture have none."""
    column = storage.read_table(storage.join(out, "conditions", f"{slug}.parquet"), (FEATURES,))[FEATURES]
    found = [np.asarray(row, dtype=np.float32) for row in column.drop_null().to_pylist()]
    return np.stack(found) if found else np.zeros((0, 1), np.float32)
