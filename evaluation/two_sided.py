"""The two-sided table: what a method wins in likeness to the truth against what it takes from the references.

In: the measured rows, the conditions, each case's strata. Out: for table.json

    strata         one entry a stratum and bin that has cases: every method's two-sided measures with intervals
    differences    one entry a pair of methods and measure: the mean difference over the same pictures, its interval,
                   and how probable so large a difference is by chance

Persons are drawn, not rows. p is twice the smaller share of the resamples on either side of 0, at least one over their
number; it is not corrected for the number of pairs.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.evaluation.intervals import bootstrap, resampled
from anchorface.evaluation.strata import STRATA

SIDES = ("judge_target", "surplus", "copied", "judge_stranger")
"""Likeness to the truth; nearness to the reference beyond the truth's own; copy rate; a stranger's likeness."""
FEWEST = 2
"""Persons of whom an interval can be told."""
DRAWS = 4000

Cases = dict[int, tuple[float, str]]
"""Number to value and identity."""


def two_sided(rows: pa.Table, conditions: Sequence[Mapping[str, Any]], strata: Mapping[str, Mapping[int, str]], *,
              seed: int = 0) -> dict[str, Any]:
    """The strata and the differences.

    Args:
        rows: as `table` takes them. conditions: those of the table; frames (truth, autoencoder) are left out.
        strata: stratum to number to bin, as `strata_of` gives them.
    """
    methods = [c["slug"] for c in conditions if c["kind"] not in ("truth", "autoencoder")]
    values = {(slug, key): cases_of(rows, slug, key) for slug in methods for key in SIDES}
    return {"strata": [_stratum(stratum.key, name, methods, values, strata[stratum.key], seed) for stratum in STRATA
                       for name in stratum.bins if name in strata[stratum.key].values()],
            "differences": [found for one, other in combinations(methods, 2) for key in SIDES
                            if (found := difference(values[one, key], values[other, key], seed=seed,
                                                    named={"from": one, "to": other, "measure": key}))]}


def difference(one: Cases, other: Cases, *, seed: int = 0, named: Mapping[str, str] | None = None
               ) -> dict[str, Any] | None:
    """Mean of other minus one over the pictures that both have, with interval and p; None below two persons."""
    both = sorted(one.keys() & other.keys())
    people, place = np.unique([one[n][1] for n in both], return_inverse=True)
    if len(people) < FEWEST:
        return None
    apart = np.array([other[n][0] - one[n][0] for n in both])
    sums, counts = np.bincount(place, weights=apart), np.bincount(place).astype(np.float64)
    means = resampled(sums, counts, draws=DRAWS, seed=seed)
    low, high = np.quantile(means, (0.025, 0.975))
    chance = max(2 * min(float((means <= 0).mean()), float((means >= 0).mean())), 1 / DRAWS)
    return {**(named or {}), "mean": float(apart.mean()), "low": float(low), "high": float(high),
            "p": min(1.0, chance), "rows": len(both), "identities": len(people)}


def cases_of(rows: pa.Table, slug: str, key: str) -> Cases:
    """A condition's values of a measure, where it has one."""
    of = rows.filter(pc.and_(pc.equal(rows["condition"], slug), pc.is_valid(rows[key])))
    numbers, values, people = (of[name].to_pylist() for name in ("number", key, "identity"))
    return {n: (float(v), who) for n, v, who in zip(numbers, values, people, strict=True)}


def _stratum(key: str, name: str, methods: Sequence[str], values: Mapping[tuple[str, str], Cases],
             bins: Mapping[int, str], seed: int) -> dict[str, Any]:
    numbers = {n for n, found in bins.items() if found == name}
    return {"by": key, "bin": name, "rows": len(numbers),
            "methods": {slug: {side: _mean({n: v for n, v in values[slug, side].items() if n in numbers}, seed)
                               for side in SIDES} for slug in methods}}


def _mean(cases: Cases, seed: int) -> dict[str, Any] | None:
    numbers = sorted(cases)
    found = bootstrap([cases[n][0] for n in numbers], [cases[n][1] for n in numbers], seed=seed)
    return found.to_dict() if found else None
