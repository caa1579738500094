"""A carried network on disk: safetensors in half precision, a model card, a line in SHA256SUMS."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from anchorface.models.weights import save_half
from anchorface.records.storage import write_atomic

LICENCES = (
    ("synthetic corpus of this repository (`synthetic/`)", "CC0-1.0; nobody in it exists"),
    ("Face Research Lab London Set (DeBruine, Jones), neutral and smiling", "CC BY 4.0"),
    ("official portraits of members of the US Congress", "public domain (US government)"),
)


def save_network(folder: Path, name: str, network: nn.Module, recipe: Any, data: str,
                 numbers: dict[str, float]) -> Path:
    """Write `<name>.safetensors` with its header, and its line in SHA256SUMS.

    Args:
        folder: of the weights. network: its whole state goes in. recipe: a frozen dataclass. data: one sentence.
        numbers: what was measured.
    """
    path = folder / f"{name}.safetensors"
    header = {"format": "anchorface carried network 1", "name": name, "recipe": json.dumps(asdict(recipe)),
              "data": data, "metrics": json.dumps(numbers)}
    save_half(path, network.state_dict(), header)
    write_sums(folder)
    return path


def write_sums(folder: Path) -> None:
    """SHA256SUMS of all safetensors files in the folder, as sha256sum writes it."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
             for path in sorted(folder.glob("*.safetensors"))]
    write_atomic(str(folder / "SHA256SUMS"), ("\n".join(lines) + "\n").encode())


def table(numbers: dict[str, float]) -> str:
    """Numbers as a Markdown table."""
    rows = "\n".join(f"| {name} | {value:g} |" for name, value in numbers.items())
    return f"| measured | value |\n| --- | --- |\n{rows}\n"


def write_card(folder: Path, name: str, *, title: str, what: str, data: str, how: str, numbers: dict[str, float],
               notes: str, limits: str, photographs: bool) -> None:
    """Write `<name>.md`.

    Args:
        what, data, how, notes, limits: paragraphs. photographs: whether real persons were in the training data.
    """
    licences = LICENCES if photographs else LICENCES[:1]
    listed = "\n".join(f"* {source}: {licence}" for source, licence in licences)
    text = f"""# {title}

{what}

File: `{name}.safetensors`, half precision, licence Apache-2.0. Its header holds recipe, data and these numbers.

## Learned from

{listed}

{data}

## How

{how}

## Measured on held-out persons

{table(numbers)}
{notes}

## Limits

{limits}
"""
    write_atomic(str(folder / f"{name}.md"), text.encode())
