"""From measured sizes to sizes that nobody measured here: each cost's slope, carried on.

Costs are a fixed part and a part for each row, by the last two sizes measured; the neighbour graph, whose partitions
grow in number, and references, which are looked up in a sorted list, follow a power law. Past one machine's memory
faces are cut into an index a machine, so that the vector index's training does not grow with the square of the rows;
a query then asks all of them at once.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

LARGE = (100_000_000, 1_000_000_000)
CROP_BYTES = 40_000
"""A real crop of 512 px, against the benchmark's 64 bytes."""
MACHINE_GB = 256
MACHINE_CORES = 32
GRAPH, REFERENCES = "neighbour graph, CPU s", "references, ms"
COSTS = {
    "build, CPU s": ("build", "cpu_s"), "face table, MB": ("disk_mb", "faces"), "build, peak MB": ("build_peak_mb",),
    "indexed query, CPU ms": ("search", "indexed", "cpu_ms"),
    "exact query in a batch, CPU ms": ("search", "exact", "batch_cpu_ms_each"),
    REFERENCES: ("references", "ms"), "append 1 %, CPU s": ("append", "cpu_s"),
    "erase 1,000 persons, CPU s": ("erase", "cpu_s"), GRAPH: ("graph", "cpu_s"),
}


def paper(results: Sequence[Mapping[str, Any]]) -> str:
    """A table of costs by rows; the last columns are on paper, and so is what they take."""
    sizes = [result["rows"] for result in results]
    lines = [f"{'':<34}" + "".join(f"{size:>14,}" for size in (*sizes, *LARGE)) + f"{'a million more':>16}"]
    carried: dict[str, list[float]] = {}
    for name, path in COSTS.items():
        values = []
        for result in results:
            value: Any = result
            for key in path:
                value = value[key]
            values.append(float(value))
        slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
        carried[name] = [max(values[-1], values[-1] + slope * (size - sizes[-1])) for size in LARGE]
        if name in (GRAPH, REFERENCES):
            power = math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])
            carried[name] = [values[-1] * (size / sizes[-1]) ** power for size in LARGE]
        told = "".join(f"{value:>14,.1f}" for value in (*values, *carried[name]))
        lines.append(f"{name:<34}{told}{slope * 1e6:>16,.1f}")
    lines.append("(the last two columns are on paper)")
    for place, size in enumerate(LARGE):
        table, crops = carried["face table, MB"][place] / 1e6, size * CROP_BYTES / 1e12
        machines = math.ceil(carried["build, peak MB"][place] / 1e3 / MACHINE_GB)
        hours = [carried[name][place] / 3600 / MACHINE_CORES / machines
                 for name in ("build, CPU s", GRAPH)]
        lines.append(f"{size:,} faces: {machines} machines of {MACHINE_GB} GB and {MACHINE_CORES} cores (an index "
                     f"each), {table:.2f} TB of tables, {crops:.0f} TB of crops of {CROP_BYTES // 1000} kB; "
                     f"build {hours[0]:.2f} h, graph {hours[1]:.1f} h")
    return "\n".join(lines)
