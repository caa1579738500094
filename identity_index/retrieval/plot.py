"""A `RetrievalReport` as a picture: per axis, asked shares against achieved ones and those of chance. Out: PNG."""

import io

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anchorface.identity_index.retrieval.report import AxisReport, RetrievalReport

INK, MUTED, ACHIEVED, CHANCE = "#1d2733", "#66727f", "#1f6fb2", "#c3cbd2"
COLUMNS = 4


def reference_plot(report: RetrievalReport) -> bytes:
    """One panel per axis of which anything is known, and one for the number of admissible references."""
    known = [axis for axis in report.axes if axis.mean is not None]
    rows = -(-(len(known) + 1) // COLUMNS)
    figure = Figure(figsize=(4.0 * COLUMNS, 3.1 * rows), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel().tolist()
    for panel, axis in zip(panels, known, strict=False):
        _shares(panel, axis)
    _admissible(panels[len(known)], report)
    for panel in panels[len(known) + 1:]:
        panel.set_axis_off()
    named: dict[str, Artist] = {}
    for panel in panels[:len(known)]:
        handles, labels = panel.get_legend_handles_labels()
        named |= zip(labels, handles, strict=True)
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=len(named) or 1, frameon=False)
    figure.suptitle(f"{report.references} references for {report.targets} targets, {report.none} of them without any; "
                    f"mode {report.policy.mode}, k {report.k}", color=INK, fontsize=12)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _shares(panel: Axes, axis: AxisReport) -> None:
    places = np.arange(len(axis.bins))
    panel.bar(places - 0.2, [100 * one.achieved for one in axis.bins], 0.38, color=ACHIEVED, label="achieved")
    panel.bar(places + 0.2, [100 * one.random for one in axis.bins], 0.38, color=CHANCE,
              label="at random, same targets")
    asked = [one.asked for one in axis.bins if one.asked is not None]
    if asked:
        panel.hlines([100 * share for share in asked], places - 0.42, places + 0.42, color=INK, linewidth=2,
                     label="asked")
    panel.plot(places, [100 * one.reachable for one in axis.bins], "o", markersize=4, markerfacecolor="white",
               markeredgecolor=MUTED, label="targets with any such face")
    panel.set_xticks(places, [one.bin for one in axis.bins], fontsize=7.5, rotation=20)
    panel.set_title("quality (of the best norm)" if axis.name == "quality" else f"{axis.name} gap", fontsize=10,
                    loc="left", color=INK)
    panel.set_ylabel("%", color=MUTED)
    panel.set_ylim(0, 105)
    panel.spines[["top", "right"]].set_visible(False)


def _admissible(panel: Axes, report: RetrievalReport) -> None:
    most = int(report.admissible.max())
    ends = [place * max(1.0, most / 40) - 0.5 for place in range(min(most, 40) + 2)]
    panel.hist(report.admissible, bins=ends, color=ACHIEVED)
    panel.set_title("admissible references of a target", fontsize=10, loc="left", color=INK)
    panel.set_ylabel("targets", color=MUTED)
    panel.spines[["top", "right"]].set_visible(False)
