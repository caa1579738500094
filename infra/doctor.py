"""What this machine has and what is missing: hardware, engines, weights with their licences.

`examine()` looks and returns rows; `show()` prints them. Nothing is downloaded and nothing is changed.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass

import torch
from rich.table import Table
from rich.text import Text

from anchorface.faces import weights
from anchorface.records.console import Console

ENGINES = (
    "torch", "ray", "deepspeed", "mlflow", "diffusers", "pylance", "lance-ray", "webdataset", "pyarrow", "onnxruntime",
    "opencv-python-headless", "torchmetrics",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the report. state: `ok`, `missing` (something cannot be done without it) or `note`."""

    topic: str
    subject: str
    state: str
    detail: str


def examine() -> tuple[Finding, ...]:
    """Look at the machine, the engines and the weight files."""
    return (*_machine(), *_engines(), *_weights())


def _machine() -> list[Finding]:
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        Finding(topic="machine", subject="python", state="ok", detail=platform.python_version()),
        Finding(topic="machine", subject="processors", state="ok", detail=f"{len(os.sched_getaffinity(0))} cores"),
        Finding(
            topic="machine", subject="memory", state="ok" if memory >= 7 else "note",
            detail=f"{memory:.0f} GiB" + ("" if memory >= 7 else "; the demo wants about 8 GiB"),
        ),
        Finding(
            topic="machine", subject="disk", state="ok" if free >= 5 else "note", detail=f"{free:.0f} GiB free here"
        ),
    ]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            detail = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
            rows.append(Finding(topic="machine", subject=f"GPU {number}", state="ok", detail=detail))
    else:
        rows.append(Finding(topic="machine", subject="GPU", state="note", detail="none; training takes the CPU (gloo)"))
    if importlib.util.find_spec("torchvision"):
        detail = "installed: it breaks beside a CPU torch; nothing here needs it, uninstall it if imports fail"
        rows.append(Finding(topic="machine", subject="torchvision", state="note", detail=detail))
    return rows


def _engines() -> list[Finding]:
    rows = []
    for name in ENGINES:
        try:
            state, detail = "ok", importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            state, detail = "missing", "not installed: run `make environment`"
        rows.append(Finding(topic="engine", subject=name, state=state, detail=detail))
    return rows


def _weights() -> list[Finding]:
    rows = []
    for found in weights.survey():
        weight = found.weight
        carried = weight.url_hint.startswith("carried")
        licence = weight.licence + ("" if weight.commercial else "; not for commercial use")
        if found.state in ("verified", "hash not known"):
            state, detail = "ok", f"{found.path} ({found.state}; {licence})"
        else:
            state, detail = "missing" if carried else "note", f"{found.state} ({licence}); from: {weight.url_hint}"
        rows.append(Finding(topic="weights", subject=weight.name, state=state, detail=detail))
    return rows


def show(console: Console | None = None) -> bool:
    """Print the findings as a table. Returns whether nothing that the embedded default needs is missing."""
    console = console or Console()
    findings = examine()
    table = Table(title="anchorface doctor", show_lines=False)
    for column in ("", "what", "state", "detail"):
        table.add_column(column, overflow="fold")
    colours = {"ok": "green", "missing": "red", "note": "yellow"}
    for row in findings:
        table.add_row(row.topic, row.subject, Text(row.state, colours[row.state]), row.detail)
    console.print(table)
    missing = [row.subject for row in findings if row.state == "missing"]
    console.print("everything that the demo needs is here" if not missing else f"missing: {', '.join(missing)}")
    return not missing
