"""What did not go on: every cause with its count, and examples with a small picture where one can be read.

In: the dropped rows (records.DROPPED_SCHEMA) and a function that reads a photograph. Out: HTML.
Rows with the cause `erased` are counted and nothing more: no picture, no name.
"""

from collections.abc import Callable
from html import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anchorface.identity_index.audit.look import outside, table
from anchorface.identity_index.audit.thumbnails import blank, picture
from anchorface.records.dropped import causes, kinds
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import DROPPED_SCHEMA

Reader = Callable[[str], NDArray[np.uint8]]
"""A uri of the dropped table -> uint8 [H, W, 3] RGB, or a PhotoError with the cause."""

EXAMPLES = 6
PICTURED = 40
ERASED = "erased"


def left_out(dropped: pa.Table, read: Reader) -> str:
    """The page's content.

    Args:
        dropped: the rows.
        read: reads a photograph; called EXAMPLES times a cause at most, for the PICTURED commonest causes.
    """
    if not len(dropped):
        return "<p>Nothing was dropped.</p>"
    rows, groups = dropped.append_column("kind", kinds(dropped)), causes(dropped)
    counted = table(["stage", "cause", "rows"], [
        [outside(stage), outside(kind), f"{count:,}"] for stage, kind, count in groups])
    shown = "".join(_examples(rows, stage, kind, read) for stage, kind, _ in groups[:PICTURED])
    return f"{counted}{shown}"


def _examples(rows: pa.Table, stage: str, kind: str, read: Reader) -> str:
    if kind == ERASED:
        return ""
    same = rows.filter(pc.and_(pc.equal(rows["stage"], stage), pc.equal(rows["kind"], kind)))
    order = pc.sort_indices(same, [(name, "ascending") for name in ("uri", "row", "cause", "detail")])
    some = same.take(order[:EXAMPLES]).select(DROPPED_SCHEMA.names).to_pylist()
    figures = "".join(
        f'<div class="face" title="{escape(row["uri"])}">{_thumbnail(row["uri"], read)}<span class="caption">'
        f"<b>{outside(row['uri'].rstrip('/').rpartition('/')[2])}</b>"
        f"<small>{_place(row['row'])}{outside(row['cause'])}</small>"
        f"<small>{outside(row['detail'][:300])}</small></span></div>" for row in some)
    more = f", {EXAMPLES} of {len(same):,}" if len(same) > EXAMPLES else ""
    return f'<h2>{outside(stage)}: {outside(kind)}{more}</h2><div class="faces">{figures}</div>'


def _place(number: int) -> str:
    return "" if number < 0 else f"place {number}: "


def _thumbnail(uri: str, read: Reader) -> str:
    try:
        return picture(read(uri), "the photograph")
    except PhotoError as error:
        return blank(f"no picture: {error.cause}")
