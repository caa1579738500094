"""The audit's first page: how much there is, how pure it is thought to be, what is doubtful, what people decided.

In: the table of identities, the report of `group`, the decisions, the dropped rows. Out: HTML.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.audit.look import outside, table
from anchorface.records.nouns import Decision

LATEST = 30


def overview(identities: pa.Table, report: Mapping[str, Any], decisions: Sequence[Decision], dropped: int,
             sheets: Sequence[tuple[str, int]]) -> str:
    """The page's content.

    Args:
        identities: columns of records.IDENTITY_SCHEMA.
        report: what `group` said: `purity`, `doubts` (reason -> identities), `threshold`, `threshold_reason`.
        decisions: all of them, in order.
        dropped: how many rows did not go on.
        sheets: the pages of identities: file, number of identities.
    """
    counts = pc.list_value_length(identities["face_ids"])
    doubted = pc.sum(pc.not_equal(pc.fill_null(identities["doubt"], ""), "")).as_py() or 0
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in (
        ("faces", f"{pc.sum(counts).as_py() or 0:,}"), ("identities", f"{len(identities):,}"),
        ("with a single face", f"{pc.sum(pc.equal(counts, 1)).as_py() or 0:,}"),
        ("estimated purity", f"{report['purity']:.1%}"), ("identities in doubt", f"{doubted:,}"),
        ("dropped rows", f"{dropped:,}"), ("decisions by people", f"{len(decisions):,}"),
    ))
    threshold = (f'<p class="muted">Groups were joined down to a mean cosine of {report["threshold"]:.3f}: '
                 f"{outside(report['threshold_reason'])}.</p>")
    return (f'<div class="tiles">{tiles}</div>{threshold}<h2>Sheets</h2>{_sheets(sheets)}'
            f"<h2>Doubts</h2>{_doubts(report['doubts'])}<h2>Splits</h2>{_splits(identities)}"
            f"<h2>Decisions</h2>{_decisions(decisions)}")


def _sheets(sheets: Sequence[tuple[str, int]]) -> str:
    start, links = 1, []
    for file, count in sheets:
        links.append(f'<a href="{file}">{start} to {start + count - 1}</a>')
        start += count
    return f'<p class="sheets">The most doubtful first: {" · ".join(links)}</p>'


def _doubts(counts: Mapping[str, int]) -> str:
    if not counts:
        return "<p>Nothing speaks against any identity.</p>"
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return table(["reason", "identities"], [[outside(kind), f"{count:,}"] for kind, count in ordered])


def _splits(identities: pa.Table) -> str:
    sizes = pa.table({"split": identities["split"], "faces": pc.list_value_length(identities["face_ids"])})
    rows = sizes.group_by("split").aggregate([("faces", "count"), ("faces", "sum")]).sort_by("split").to_pylist()
    return table(["split", "identities", "faces"], [
        [outside(row["split"]), f"{row['faces_count']:,}", f"{row['faces_sum']:,}"] for row in rows])


def _decisions(decisions: Sequence[Decision]) -> str:
    if not decisions:
        return "<p>None yet. The sheets show the commands; they take effect when the faces are grouped again.</p>"
    rows = [[str(one.number), one.kind, outside(one.label or ""), outside(one.note), outside(one.made),
             f"{len(one.face_ids):,}"] for one in reversed(decisions[-LATEST:])]
    shown = f'<p class="muted">The latest {LATEST}.</p>' if len(decisions) > LATEST else ""
    return shown + table(["number", "kind", "label", "note", "made", "faces"], rows)
