"""What the doctor finds, a row each, and how the rows are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from anchorface.records.addresses import redacted
from anchorface.records.console import Console

COLOURS = {"ok": "green", "note": "yellow", "missing": "red", "fault": "red"}
FAILED = ("missing", "fault")
LEAST_FREE = 5.0
"""GiB of a disk below which it is noted (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the report.

    state: `ok`; `note`: good to know; `missing` or `fault`: something cannot be done. remedy: what to do about it,
    empty where there is nothing to do.
    """

    topic: str
    subject: str
    state: str
    detail: str
    remedy: str = ""


def show(console: Console, title: str, findings: Sequence[Finding], healthy: str) -> bool:
    """Print the findings as a table, and what failed, or else the line `healthy`. Returns whether nothing failed."""
    table = Table(title=title, show_lines=False)
    for column in ("", "what", "state", "detail, and what to do"):
        table.add_column(column, overflow="fold")
    topic = ""
    for row in findings:
        detail = "\n-> ".join(filter(None, (row.detail, row.remedy)))
        table.add_row("" if row.topic == topic else row.topic, row.subject, Text(row.state, COLOURS[row.state]), detail)
        topic = row.topic
    console.print(table)
    for state in FAILED:
        if found := [f"{row.topic} {row.subject}" for row in findings if row.state == state]:
            console.print(f"{state}: {', '.join(found)}")
    healthy_now = all(row.state not in FAILED for row in findings)
    if healthy_now:
        console.print(healthy)
    return healthy_now


def grouped(said: Mapping[str, str]) -> dict[str, str]:
    """What names have to say, by text -> the names that say it, joined; in the order of the names."""
    found: dict[str, list[str]] = {}
    for name in sorted(said):
        found.setdefault(said[name], []).append(name)
    return {text: ", ".join(names) for text, names in found.items()}


def first_line(error: BaseException) -> str:
    """The first line of an error, without passwords."""
    return redacted((str(error).strip() or type(error).__name__).partition("\n")[0][:300])
