"""What this machine has and what is missing: hardware, engines, weights with their licences.

`examine()` looks and returns rows, `proposal()` names the weights that are worth fetching; `show()` prints both.
Nothing is downloaded and nothing is changed.
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
from anchorface.faces.embed import CLUSTERER
from anchorface.faces.fetch import proposed
from anchorface.records.console import Console
from anchorface.records.errors import ConfigurationError

ENGINES = (
    "torch", "ray", "deepspeed", "mlflow", "diffusers", "pylance", "lance-ray", "webdataset", "pyarrow", "onnxruntime",
    "opencv-python-headless", "torchmetrics",
)
PURPOSES = ("curate", "train", "evaluate")


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
    if any(importlib.metadata.distributions(name="opencv-python")):
        detail = ("installed too (insightface asks for it): both lie in cv2/, and this one needs libGL; if cv2 cannot "
                  "be imported, uninstall both and install opencv-python-headless again")
        rows.append(Finding(topic="engine", subject="opencv-python", state="note", detail=detail))
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


def proposal(purpose: str = "", commercial: bool = False) -> tuple[str, ...]:
    """The weights that this machine lacks and can use, a line each, and the command that gets them.

    Args:
        purpose: `curate`, `train`, `evaluate`, or all of them if empty. commercial: only what may be used commercially.

    Raises:
        ConfigurationError: another purpose.
    """
    if purpose not in ("", *PURPOSES):
        raise ConfigurationError(f"--for {purpose}: it is {', '.join(PURPOSES)}")
    purposes = (purpose,) if purpose else PURPOSES
    entries = {entry.name: entry for each in purposes for entry in proposed(each, commercial, _gpu_gib())}
    lines = [f"{entry.name}: " + "; ".join(filter(None, (entry.licence, entry.note))) for entry in entries.values()]
    lines.insert(0, f"for {', '.join(purposes)}" + (" with commercial licences" if commercial else "")
                 + (" these can be fetched:" if entries else " there is nothing to fetch"))
    if entries:
        accept = "" if all(entry.commercial for entry in entries.values()) else " --accept-licence"
        lines.append(f"anchorface fetch {' '.join(entries)}{accept}")
    if "curate" in purposes and not weights.present(CLUSTERER):
        lines.append(f"pip install 'anchorface[dlib]'   ({CLUSTERER}: {weights.weight(CLUSTERER).note})")
    return tuple(lines)


def _gpu_gib() -> float:
    """Memory of the largest GPU."""
    return max((torch.cuda.get_device_properties(number).total_memory / 2**30
                for number in range(torch.cuda.device_count())), default=0.0)


def show(console: Console | None = None, purpose: str = "", commercial: bool = False) -> bool:
    """Print the findings as a table, and the proposal. Returns whether nothing that the embedded default needs is
    missing.
    """
    console = console or Console()
    proposed_lines = proposal(purpose, commercial)
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
    for line in proposed_lines:
        console.print(line, highlight=False, soft_wrap=True)
    return not missing
