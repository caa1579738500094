"""The rows of judged runs, kept beside the studies in `benchmarks/rows`, one file a run: tables of a study are printed
from them on any machine, and it goes on with the runs that have none. Each file says what decided its run's weights;
one that was made otherwise than is asked is not mixed in silently. To make a run again, remove its file.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.records.storage import read_table, write_table
from anchorface.training.recipes import Recipe

KEPT = Path(__file__).with_name("rows")
SHAPING = b"shaping"
MEASURES = ("judge_target", "judge_first", "judge_stranger", "copied", "surplus", "psnr", "ssim")


def file_of(run: str, prefix: str = "") -> Path:
    """Where a run, row:seed, is kept. prefix: of its study."""
    return KEPT / f"{prefix}{run.replace(':', '-')}.parquet"


def keep(file: Path, made: Recipe, judged: Mapping[str, Path], gaps: Mapping[str, Mapping[int, float | None]]) -> None:
    """Write a run's rows.

    Args:
        file: where to. made: what the run was trained by.
        judged: place (a heap of people, or one with a gap) -> folder of its evaluation.
        gaps: place -> number of a picture -> how far its first reference is from the truth, None where nobody knows.
    """
    parts = []
    for place, folder in judged.items():
        rows = read_table(str(folder / "rows.parquet"))
        known = gaps.get(place, {})
        columns: dict[str, Any] = {"place": [place] * len(rows)}
        columns |= {name: rows[name] for name in ("number", "identity", "condition")}
        columns |= {name: rows[name].cast(pa.float32()) for name in MEASURES}
        columns["gap"] = pa.array([known.get(number) for number in rows["number"].to_pylist()], pa.float32())
        parts.append(pa.table(columns))
    file.parent.mkdir(parents=True, exist_ok=True)
    said = {SHAPING: json.dumps(made.shaping(), sort_keys=True)}
    write_table(str(file), pa.concat_tables(parts).replace_schema_metadata(said))


def otherwise(file: Path, asked: Recipe) -> list[str]:
    """In what a kept run differs from one that is asked for: `key: value there, value asked`; a setting that the run
    is older than has its default."""
    there = asked.defaults() | json.loads(read_table(str(file)).schema.metadata[SHAPING])
    return [f"{key}: {there.get(key)}, asked {value}" for key, value in asked.shaping().items()
            if there.get(key) != value]


@cache
def read(file: Path) -> list[dict[str, Any]]:
    """All rows of a kept run."""
    return read_table(str(file)).to_pylist()


def runs(row: str, kept: Path) -> list[Path]:
    """The kept runs of a row, by seed."""
    return sorted(kept.glob(f"{row}-*.parquet"))


def mean_gap(row: str, place: str, kept: Path) -> tuple[float, int] | None:
    """The mean gap of a place's first references, and of how many pictures it is known; None if it is of none."""
    known = {each["number"]: each["gap"] for file in runs(row, kept)[:1] for each in read(file)
             if each["place"] == place and each["gap"] is not None}
    return (float(np.mean(list(known.values()))), len(known)) if known else None
