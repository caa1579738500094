"""Kinds of cases: how far the first reference lies in pose and age, how bad the input is, how many references stand by.

In: a protocol, its source, the measured rows. Out: each case's bin in each of four directions. What is not known (an
age) is a bin of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import Source

UNKNOWN = "not known"


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A direction in which cases are put apart. edges: upper ends of the bins, in `unit`; the last bin is open."""

    key: str
    label: str
    unit: str
    edges: tuple[float, ...]

    def bin(self, value: float | None) -> str:
        """The name of the bin that a value falls in."""
        if value is None:
            return UNKNOWN
        low = None
        for edge in self.edges:
            if value < edge:
                return f"under {edge:g}{self.unit}" if low is None else f"{low:g} to {edge:g}{self.unit}"
            low = edge
        return f"{low:g}{self.unit} and more"

    @property
    def bins(self) -> tuple[str, ...]:
        """All names, in order."""
        middles = [self.edges[0] - 1, *self.edges]
        return (*(self.bin(value) for value in middles), UNKNOWN)


STRATA: tuple[Stratum, ...] = (
    Stratum(key="pose_gap", label="pose gap: yaw of the first reference against the truth's", unit="°",
            edges=(10, 20, 35)),
    Stratum(key="age_gap", label="age gap of the first reference", unit=" years", edges=(5, 10, 20)),
    Stratum(key="input_quality", label="quality of the input: the degraded picture's likeness to the truth", unit="",
            edges=(0.2, 0.4, 0.6)),
    Stratum(key="references", label="number of references", unit="", edges=(1, 2, 3)),
)
"""Edges are our choice."""


def strata_of(source: Source, protocol: Protocol, rows: pa.Table) -> dict[str, dict[int, str]]:
    """Each case's bin, by stratum and number."""
    inputs = rows.filter(pc.equal(rows["condition"], "degraded"))
    quality = dict(zip(inputs["number"].to_pylist(), inputs["judge_target"].to_pylist(), strict=True))
    found: dict[str, dict[int, str]] = {stratum.key: {} for stratum in STRATA}
    for row in protocol.rows:
        target: Mapping[str, Any] = source.row(row.target)
        first: Mapping[str, Any] = source.row(row.references[0]) if row.references else {}
        values = {"pose_gap": gap(target, first, "yaw"), "age_gap": gap(target, first, "age"),
                  "input_quality": quality.get(row.number), "references": float(len(row.references))}
        for stratum in STRATA:
            found[stratum.key][row.number] = stratum.bin(values[stratum.key])
    return found


def gap(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> float | None:
    """How far two faces are apart in `yaw` (degrees) or `age` (years); None where one of them is not known."""
    a, b = one.get(key), other.get(key)
    return None if a is None or b is None else abs(float(a) - float(b))
