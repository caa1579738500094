"""What this machine has and what is missing: hardware, engines, weights with their licences, ports that others reach.

`examine()` looks and returns rows, `proposal()` names the weights that are worth fetching. Nothing is downloaded, and
nothing is left changed.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence

import torch

from anchorface.faces import weights
from anchorface.faces.embed import CLUSTERER
from anchorface.faces.fetch import proposed
from anchorface.infra.doctor import places, ports, tracking
from anchorface.infra.doctor.findings import LEAST_FREE, Finding
from anchorface.records.errors import ConfigurationError

ENGINES = (
    "torch", "ray", "deepspeed", "mlflow", "diffusers", "pylance", "lance-ray", "webdataset", "pyarrow", "onnxruntime",
    "opencv-python-headless", "torchmetrics",
)
PURPOSES = ("curate", "train", "evaluate")


def examine(folders: Sequence[str] = (), server: str = "") -> tuple[Finding, ...]:
    """Look at the machine, the engines, the weight files and the open ports.

    Args:
        folders: folders or buckets in which a file is written, read and deleted. server: MLflow's, where a run is.
    """
    tried = [places.tried(folder) for folder in folders] + ([tracking.tried(server)] if server else [])
    return (*_machine(), *_engines(), *_weights(), *ports.open_ports(ports.listening(), "note"), *tried)


def _machine() -> list[Finding]:
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        Finding(topic="machine", subject="python", state="ok", detail=platform.python_version()),
        Finding(topic="machine", subject="processors", state="ok", detail=f"{len(os.sched_getaffinity(0))} cores"),
        Finding(
            topic="machine", subject="memory", state="ok" if memory >= 7 else "note", detail=f"{memory:.0f} GiB",
            remedy="" if memory >= 7 else "the demo wants about 8 GiB"
        ),
        Finding(
            topic="machine", subject="disk", state="ok" if free >= LEAST_FREE else "note",
            detail=f"{free:.0f} GiB free here"
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
        rows.append(Finding(topic="machine", subject="torchvision", state="note", detail="it breaks beside a CPU torch",
                            remedy="nothing here needs it: uninstall it if imports fail"))
    return rows


def _engines() -> list[Finding]:
    rows = []
    for name in ENGINES:
        try:
            rows.append(Finding(topic="engine", subject=name, state="ok", detail=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append(Finding(topic="engine", subject=name, state="missing", detail="not installed",
                                remedy="make environment"))
    if any(importlib.metadata.distributions(name="opencv-python")):
        rows.append(Finding(topic="engine", subject="opencv-python", state="note", detail="installed too (insightface "
                            "asks for it): both lie in cv2/, and this one needs libGL", remedy="if cv2 cannot be "
                            "imported, uninstall both and install opencv-python-headless again"))
    return rows


def _weights() -> list[Finding]:
    rows = []
    for found in weights.survey():
        weight = found.weight
        carried = weight.url_hint.startswith("carried")
        licence = weight.licence + ("" if weight.commercial else "; not for commercial use")
        if found.state in ("verified", "hash not known"):
            state, detail, remedy = "ok", f"{found.path} ({found.state}; {licence})", ""
        else:
            state, detail = "missing" if carried else "note", f"{found.state} ({licence})"
            remedy = f"from: {weight.url_hint}"
        rows.append(Finding(topic="weights", subject=weight.name, state=state, detail=detail, remedy=remedy))
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
