"""What the faces are like, all together: pose, age, quality, faces per identity, dates, as PNG charts in the page.

In: the index's light columns (about 30 bytes a face in memory). Out: HTML.
"""

import base64
import io
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLUMNS = ("yaw", "pitch", "age", "norm", "sharpness", "taken")
Bins = NDArray[np.float64] | str
"""Edges, or how to make them: `even`, `years` (whole ones), `counts` (whole numbers, while there are not many)."""
BINS, MANY = 40, 60
ACCENT, INK, MUTED = "#1f6fb2", "#1d2733", "#66727f"
LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 8.5, "axes.edgecolor": "#c9d1d9", "axes.labelcolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK, "axes.spines.top": False,
    "axes.spines.right": False,
}


def distributions(faces: pa.Table, faces_per_identity: NDArray[np.int64]) -> str:
    """The page's content.

    Args:
        faces: COLUMNS of all faces.
        faces_per_identity: int [identities].
    """
    yaw, pitch = (_numbers(faces[name]) for name in ("yaw", "pitch"))
    both = np.isfinite(yaw) & np.isfinite(pitch)
    years = pc.year(faces["taken"]).to_numpy(zero_copy_only=False).astype(np.float64)
    figures = [
        _figure("yaw and pitch", "where people look, in degrees; darker is more", both,
                lambda axes: _pose(axes, yaw[both], pitch[both])),
        _histogram("age", "years", _numbers(faces["age"]), np.arange(0, 105, 5.0)),
        _histogram("norm", "length of the raw embedding", _numbers(faces["norm"])),
        _histogram("sharpness", "variance of the Laplacian", _numbers(faces["sharpness"]), logarithmic=True),
        _histogram("faces per identity", "faces", faces_per_identity.astype(np.float64), "counts",
                   logarithmic=bool(faces_per_identity.max(initial=0) > MANY), of="identities"),
        _histogram("date taken", "year", years, "years"),
    ]
    return f'<div class="charts">{"".join(figures)}</div>'


def _histogram(title: str, unit: str, values: NDArray[np.float64], bins: Bins = "even", *,
               logarithmic: bool = False, of: str = "faces") -> str:
    known = np.isfinite(values) & ((values > 0) | (not logarithmic))
    chosen = values[known]

    def draw(axes: Axes) -> None:
        edges = _edges(chosen, bins, logarithmic)
        axes.hist(np.clip(chosen, edges[0], edges[-1]), edges.tolist(), color=ACCENT, alpha=0.85)
        axes.set_xlabel(unit)
        axes.set_ylabel(of)
        if logarithmic:
            axes.set_xscale("log")

    middle = f"; median {np.median(chosen):.4g}" if len(chosen) else ""
    return _figure(title, f"{unit}{middle}", known, draw, of)


def _edges(values: NDArray[np.float64], bins: Bins, logarithmic: bool) -> NDArray[np.float64]:
    if not isinstance(bins, str):
        return bins
    low, high = float(values.min()), float(values.max())
    if bins == "years":
        step = max(1, round((high - low) / BINS))
        return np.arange(low - 0.5, high + step, step)
    if bins == "counts" and high <= MANY:
        return np.arange(0.5, high + 1)
    if logarithmic:
        return np.geomspace(low * 0.95, high * 1.05, BINS + 1)
    return np.linspace(low - 1e-6, high + 1e-6, BINS + 1)


def _pose(axes: Axes, yaw: NDArray[np.float64], pitch: NDArray[np.float64]) -> None:
    edges = np.arange(-90, 91, 5.0)
    high = edges[6:-6]
    axes.hist2d(np.clip(yaw, -89.9, 89.9), np.clip(pitch, high[0], high[-1]), bins=[edges, high], cmap="Blues",
                norm=LogNorm(vmin=0.6))
    axes.axhline(0, color="#c9d1d9", linewidth=0.6)
    axes.axvline(0, color="#c9d1d9", linewidth=0.6)
    axes.set_xlabel("yaw: the nose to the right of the picture is above 0")
    axes.set_ylabel("pitch: looking up is above 0")


def _figure(title: str, unit: str, known: NDArray[np.bool_], draw: Callable[[Axes], None], of: str = "faces") -> str:
    count = int(known.sum())
    said = f"{title}, {unit}" + ("" if count == len(known) else f"; known of {count:,} of {len(known):,} {of}")
    if not count:
        return f"<figure><figcaption><b>{escape(title)}</b>: known of no face</figcaption></figure>"
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(4.4, 2.9))
        draw(figure.add_axes((0.15, 0.16, 0.82, 0.8)))
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    content = base64.b64encode(stream.getvalue()).decode()
    return (f'<figure><figcaption><b>{escape(title)}</b>{escape(said.removeprefix(title))}</figcaption>'
            f'<img src="data:image/png;base64,{content}" alt="{escape(said)}"></figure>')


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
