"""From measured sizes to sizes that nobody measured here: each cost's slope, carried on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

LARGE = (100_000_000, 1_000_000_000)
CROP_BYTES = 40_000
"""A real crop of 512 px, against the benchmark's 64 bytes."""
MACHINE_GB = 256
MACHINE_CORES = 32
COSTS = {
    "build, CPU s": ("build", "cpu_s"), "face table, MB": ("disk_mb", "faces"), "build, peak MB": ("build_peak_mb",),
    "indexed query, CPU ms": ("search", "indexed", "cpu_ms"),
    "exact query in a batch, CPU ms": ("search", "exact", "batch_cpu_ms_each"),
    "references, ms": ("references", "ms"), "append 1 %, CPU s": ("append", "cpu_s"),
    "erase 1,000 persons, CPU s": ("erase", "cpu_s"), "neighbour graph, CPU s": ("graph", "cpu_s"),
}


def paper(results: Sequence[Mapping[str, Any]]) -> str:
    """A table of costs by rows; the last columns are the last two sizes' power law carried on, and what it takes."""
    sizes = [result["rows"] for result in results]
    lines = [f"{'':<34}" + "".join(f"{size:>14,}" for size in (*sizes, *LARGE)) + f"{'slope':>8}"]
    carried: dict[str, list[float]] = {}
    for name, path in COSTS.items():
        values = []
        for result in results:
            value: Any = result
            for key in path:
                value = value[key]
            values.append(float(value))
        slope = math.log(max(values[-1], 1e-9) / max(values[-2], 1e-9)) / math.log(sizes[-1] / sizes[-2])
        carried[name] = [values[-1] * (size / sizes[-1]) ** slope for size in LARGE]
        told = "".join(f"{value:>14,.1f}" for value in (*values, *carried[name]))
        lines.append(f"{name:<34}{told}{slope:>8.2f}")
    lines.append("(the last two columns are on paper)")
    for place, size in enumerate(LARGE):
        table, crops = carried["face table, MB"][place] / 1e6, size * CROP_BYTES / 1e12
        machines = math.ceil(carried["build, peak MB"][place] / 1e3 / MACHINE_GB)
        hours = [carried[name][place] / 3600 / MACHINE_CORES / machines
                 for name in ("build, CPU s", "neighbour graph, CPU s")]
        lines.append(f"{size:,} faces: {machines} machines of {MACHINE_GB} GB and {MACHINE_CORES} cores (an index "
                     f"each), {table:.2f} TB of tables, {crops:.0f} TB of crops of {CROP_BYTES // 1000} kB; "
                     f"build {hours[0]:.1f} h, graph {hours[1]:.1f} h")
    return "\n".join(lines)
