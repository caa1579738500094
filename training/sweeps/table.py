"""What a sweep came to: one table (CSV, Markdown) and one picture (PNG)."""

import csv
import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anchorface.records.markdown import cell
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.trials import FAILED, Row

INK, MUTED, GOOD, OTHER = "#1d2733", "#66727f", "#1f6fb2", "#c3cbd2"
MOST_PANELS = 11
LOGARITHMIC = 50.0
"""From this spread of values on, an axis is logarithmic."""


def head(sweep: Sweep) -> list[str]:
    """The columns' names."""
    return ["trial", "state", *(one.key for one in sweep.over), sweep.recipe.validation.metric, "at", "samples",
            "checkpoint", "reason"]


def cells(sweep: Sweep, row: Row, *, exact: bool = False) -> list[str]:
    """A line of the table in words. exact: numbers in full, else of six digits."""
    def word(value: object) -> str:
        if isinstance(value, float):
            return repr(value) if exact else f"{value:.6g}"
        return "" if value is None else str(value)

    point = [word(row.trial.point.get(one.key)) for one in sweep.over]
    return [str(row.trial.number), row.state, *point, word(row.value), str(row.at), str(row.clock), row.checkpoint,
            row.trial.reason]


def as_csv(sweep: Sweep, rows: Sequence[Row]) -> bytes:
    """The table, numbers in full."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([head(sweep), *(cells(sweep, row, exact=True) for row in rows)])
    return sink.getvalue().encode()


def as_markdown(sweep: Sweep, rows: Sequence[Row]) -> bytes:
    """The table, the best first."""
    least = "least" if sweep.mode == "min" else "greatest"
    lines = [head(sweep), ["---"] * len(head(sweep)), *(cells(sweep, row) for row in rows)]
    text = "\n".join("| " + " | ".join(cell(word) for word in line) + " |" for line in lines)
    return (f"{text}\n\nRecipe {cell(sweep.recipe.name)}, {sweep.search} search, seed {sweep.seed}; the {least} "
            f"`{sweep.recipe.validation.metric}` of the validations of a trial, and the samples seen then (`at`).\n"
            ).encode()


def picture(sweep: Sweep, rows: Sequence[Row]) -> bytes:
    """Each trial's validations, the best one's marked, and its best value over each key that varies. PNG."""
    shown = [row for row in rows if row.value is not None]
    keys = [one.key for one in sweep.over][:MOST_PANELS]
    across = min(len(keys) + 1, 4)
    down = -(-(len(keys) + 1) // across)
    figure = Figure(figsize=(4.4 * across, 3.3 * down), layout="constrained", facecolor="white")
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    _curves(panels[0], shown)
    for panel, key in zip(panels[1:], keys, strict=False):
        _over(panel, key, shown, sweep)
    for panel in panels[len(keys) + 1:]:
        panel.set_axis_off()
    for panel in panels[:len(keys) + 1]:
        panel.set_ylabel(sweep.recipe.validation.metric, color=MUTED)
        panel.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _curves(panel: Axes, rows: Sequence[Row]) -> None:
    for place, row in reversed(list(enumerate(rows))):
        best = place == 0 and row.state != FAILED
        clocks, values = zip(*row.curve, strict=True)
        panel.plot(clocks, values, color=GOOD if best else OTHER, linewidth=2.2 if best else 1.2, marker="o",
                   markersize=3.5, linestyle=":" if row.state == FAILED else "-",
                   label=f"trial {row.trial.number}, the best" if best else None)
    panel.set_xlabel("samples", color=MUTED)
    if rows and rows[0].state != FAILED:
        panel.legend(frameon=False, fontsize=8)


def _over(panel: Axes, key: str, rows: Sequence[Row], sweep: Sweep) -> None:
    one = next(one for one in sweep.over if one.key == key)
    try:
        places = [float(row.trial.point[key]) for row in rows]
    except ValueError:  # words
        places = [float(one.values.index(str(row.trial.point[key]))) for row in rows]
        panel.set_xticks(range(len(one.values)), [value[:16] for value in one.values], fontsize=8)
    else:
        if one.log or (places and min(places) > 0 and max(places) / min(places) > LOGARITHMIC):
            panel.set_xscale("log")
    for place, row in reversed(list(zip(places, rows, strict=True))):
        panel.plot(place, row.value or 0.0, "o", color=GOOD if row is rows[0] else OTHER, markeredgecolor=MUTED)
    panel.set_xlabel(key, color=INK)
