"""Charts as inline SVG: intervals, histograms, curves, scatter. Text stays text, every mark has a tooltip.

In: plain numbers. Out: one `<svg>` string without any outside reference; colours are safe for the colour-blind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

COLOURS = ("#1f6fb2", "#d8742a", "#3a8f6b", "#8d5fa8", "#b8443f", "#7a8691")
INK, MUTED, RULE = "#1d2733", "#66727f", "#e3e8ed"
LEGEND, NEXT = 30.0, 14.0
"""Height of a legend of one line, and from one line of text to the next."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """A plot area in a `width` x `height` view box; x and y are data ranges."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 44
    right: float = 14
    top: float = 14
    bottom: float = 42

    def at_x(self, value: float) -> float:
        share = (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        share = (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def frame(self, x_label: str, y_label: str = "", x_ticks: bool = True, y_ticks: bool = True) -> str:
        """Rules, tick numbers and axis names."""
        parts = []
        base, ceiling = self.height - self.bottom, self.top
        for tick in ticks(*self.x) if x_ticks else ():
            parts += [_line(self.at_x(tick), ceiling, self.at_x(tick), base, RULE),
                      _text(self.at_x(tick), base + 16, plain(tick), anchor="middle", colour=MUTED)]
        for tick in ticks(*self.y) if y_ticks else ():
            parts += [_line(self.left, self.at_y(tick), self.width - self.right, self.at_y(tick), RULE),
                      _text(self.left - 7, self.at_y(tick) + 4, plain(tick), anchor="end", colour=MUTED)]
        parts.append(_text((self.left + self.width - self.right) / 2, self.height - 8, x_label, anchor="middle",
                           colour=MUTED))
        if y_label:
            middle = (ceiling + base) / 2
            parts.append(f'<text transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle" '
                         f'fill="{MUTED}">{escape(y_label)}</text>')
        return "".join(parts)

    def svg(self, body: str, title: str) -> str:
        return (f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(title, True)}" '
                f'font-size="12">{body}</svg>')


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A mean with its interval on a row of `intervals`; hollow for the second kind of mark."""

    mean: float
    low: float
    high: float
    note: str
    colour: str = INK
    hollow: bool = False


def intervals(rows: Sequence[tuple[str, Sequence[Dot]]], x_label: str, guides: Sequence[tuple[float, str]] = (),
              title: str = "intervals") -> str:
    """One line per label, dots with whiskers; guides: (value, name) as dashed vertical lines."""
    numbers = [v for _, dots in rows for d in dots for v in (d.low, d.high)] + [value for value, _ in guides]
    axes = Axes(width=980, height=58 + 42 * len(rows) + (18 if guides else 0), x=spread(numbers, floor=0.0),
                y=(len(rows), 0), left=232, right=64, top=28 if guides else 8)
    body = [axes.frame(x_label, y_ticks=False)]
    places = sorted(guides)
    close = len(places) == 2 and axes.at_x(places[1][0]) - axes.at_x(places[0][0]) < 150
    for (value, name), anchor in zip(places, ("end", "start") if close else ("middle",) * len(places), strict=True):
        body += [_line(axes.at_x(value), axes.top - 4, axes.at_x(value), axes.height - axes.bottom, MUTED, dash="4 4"),
                 _text(axes.at_x(value), axes.top - 10, name, anchor=anchor, colour=MUTED)]
    for number, (label, dots) in enumerate(rows):
        y = axes.at_y(number + 0.5)
        body.append(_text(axes.left - 14, y + 4, label, anchor="end", colour=INK))
        for place, dot in enumerate(dots):
            height = y + (0 if len(dots) == 1 else (-6 if place == 0 else 8))
            note = f"{label}: {dot.note} {dot.mean:.3f} [{dot.low:.3f}, {dot.high:.3f}]"
            body.append(f"<g><title>{escape(note)}</title>"
                        + _line(axes.at_x(dot.low), height, axes.at_x(dot.high), height, dot.colour, width=2.5)
                        + _circle(axes.at_x(dot.mean), height, 5.5, dot.colour, hollow=dot.hollow) + "</g>")
            if place == 0:
                body.append(_text(axes.at_x(dot.high) + 10, height + 4, f"{dot.mean:.2f}", colour=dot.colour,
                                  bold=True))
    return axes.svg("".join(body), title)


def histogram(series: Mapping[str, Sequence[float]], edges: Sequence[float] | np.ndarray, x_label: str) -> str:
    """Shares (per cent) per bin of one or more series, the first one filled; values outside count at the ends."""
    borders = np.asarray(edges, dtype=np.float64)
    shares = {}
    for name, values in series.items():
        inside = np.clip(np.asarray(values, dtype=np.float64), borders[0], np.nextafter(borders[-1], -np.inf))
        counts = np.histogram(inside, borders)[0]
        shares[name] = 100.0 * counts / max(1, counts.sum())
    top = max([1.0, *(float(s.max(initial=0.0)) for s in shares.values())])
    legend, room = _legend(list(shares), width=380)
    axes = Axes(width=380, height=190 + room, x=(float(borders[0]), float(borders[-1])), y=(0.0, top * 1.08), top=room)
    body = [axes.frame(x_label, "% of faces")]
    for number, (name, share) in enumerate(shares.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(axes.at_x(borders[0]), axes.at_y(0.0))]
        for low, high, value in zip(borders, borders[1:], share, strict=False):
            points += [(axes.at_x(low), axes.at_y(value)), (axes.at_x(high), axes.at_y(value))]
        points.append((axes.at_x(borders[-1]), axes.at_y(0.0)))
        fill = f'fill="{colour}" fill-opacity=".18"' if number == 0 else 'fill="none"'
        body.append(f'<polyline points="{_points(points)}" {fill} stroke="{colour}" stroke-width="1.8">'
                    f"<title>{escape(name)}</title></polyline>")
    return axes.svg("".join([*body, legend]), x_label)


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str,
           cursor: float | None = None) -> str:
    """Lines over x; long noisy lines are drawn pale with their running mean on top.

    cursor: up to this x a line of the class `cursor` may be moved, by `--run` px of the drawing.
    """
    xs = [x for line in series.values() for x in line[0]]
    ys = [y for line in series.values() for y in line[1] if np.isfinite(y)]
    span = spread(_typical(ys))
    left = 28 + 7 * max(len(plain(tick)) for tick in ticks(*span))
    legend, top = _legend(list(series), width=380, left=left) if len(series) > 1 else ("", 14.0)
    axes = Axes(width=380, height=190 + max(top, LEGEND), x=(min(xs), max(xs)), y=span, top=top, left=left)
    body = [axes.frame(x_label, y_label)]
    for number, (name, (x, y)) in enumerate(series.items()):
        colour, values = COLOURS[number % len(COLOURS)], np.asarray(y, dtype=np.float64)
        if len(values) > 40:
            body.append(_polyline(axes, x, values, colour, "opacity:.25"))
            values = _running_mean(values, max(3, len(values) // 25))
        body.append(_polyline(axes, x, values, colour, "stroke-width:2", name))
    body.append(legend)
    if cursor is not None:
        start, run = axes.at_x(min(xs)), axes.at_x(cursor) - axes.at_x(min(xs))
        body.append(f'<g class="cursor" style="--run:{run:.1f}px">'
                    f"{_line(start, axes.top, start, axes.height - axes.bottom, INK)}</g>")
    return axes.svg("".join(body), y_label)


def scatter(groups: Mapping[str, Sequence[tuple[float, float, str]]], x_label: str, y_label: str,
            diagonal: tuple[str, str] | None = None, named: bool = False) -> str:
    """Points (x, y, text) in groups, the text as a tooltip or, `named`, beside the point.

    diagonal: names for the halves above and below y = x.
    """
    xs = [x for points in groups.values() for x, _, _ in points]
    ys = [y for points in groups.values() for _, y, _ in points]
    both = spread(xs + ys) if diagonal else None
    legend, top = _legend(list(groups), width=440, left=50)
    axes = Axes(width=440, height=(400 if diagonal else 300) + top - LEGEND, x=both or spread(xs), y=both or spread(ys),
                top=top, left=50)
    body, names = [axes.frame(x_label, y_label)], list[tuple[float, float, str]]()
    if diagonal:
        low, high = axes.x
        corners = [(axes.at_x(x), axes.at_y(y)) for x, y in ((low, low), (low, high), (high, high))]
        body += [f'<polygon points="{_points(corners)}" fill="#b8443f" fill-opacity=".06"/>',
                 _line(axes.at_x(low), axes.at_y(low), axes.at_x(high), axes.at_y(high), MUTED, dash="4 4"),
                 _text(axes.at_x(low) + 10, axes.at_y(high) + 18, diagonal[0], colour="#b8443f"),
                 _text(axes.at_x(high) - 10, axes.at_y(low) - 10, diagonal[1], anchor="end", colour=MUTED)]
    for number, (_name, points) in enumerate(groups.items()):
        for x, y, note in points:
            body.append(f"<g><title>{escape(note)}</title>{_mark(axes.at_x(x), axes.at_y(y), number, 0.75)}</g>")
            names.append((axes.at_x(x), axes.at_y(y), note))
    if named:
        body.append(_names(names, 0.6 * axes.width))
    return axes.svg("".join([*body, legend]), y_label)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between the ends, about five of them."""
    if not high > low:
        low, high = min(low, high), max(low, high)
    size = (high - low) / about or 1.0
    power = 10.0 ** np.floor(np.log10(size))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= size * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(round(n * step, 10)) + 0.0 for n in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def spread(values: Sequence[float], floor: float | None = None) -> tuple[float, float]:
    """The range of the values with some air; `floor` is reached at least."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    air = 0.06 * (high - low) or 0.1
    return (low - air if floor is None or low - air < floor else floor), high + air


def plain(value: float) -> str:
    """A tick's number, thousands as 12k."""
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _typical(values: Sequence[float]) -> list[float]:
    """Without the first wild values, so that one spike does not flatten the curve."""
    return [float(v) for v in np.quantile(values, (0.0, 0.985))] if len(values) > 40 else list(values) or [0.0, 1.0]


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _polyline(axes: Axes, x: Sequence[float], y: np.ndarray, colour: str, style: str, name: str = "") -> str:
    points = _points([(axes.at_x(a), max(axes.top, axes.at_y(b))) for a, b in zip(x, y, strict=True) if np.isfinite(b)])
    title = f"<title>{escape(name)}</title>" if name else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" style="{style}">{title}</polyline>'


def _legend(names: Sequence[str], *, width: float, left: float = Axes.left) -> tuple[str, float]:
    """What each colour is, in as many lines as the names need, and the height that they take."""
    parts, x, y = [], left, 12.0
    for number, name in enumerate(names):
        long = 30 + 6.4 * len(name)
        if x > left and x + long > width:
            x, y = left, y + NEXT
        parts += [_mark(x + 5, y, number), _text(x + 15, y + 4, name, colour=INK)]
        x += long
    return "".join(parts), LEGEND + y - 12


def _names(points: Sequence[tuple[float, float, str]], right: float) -> str:
    """Each point's name beside it, left of it beyond `right`; names that would lie on one another stand in lines."""
    parts, taken = [], list[tuple[float, float, float]]()
    for x, y, name in sorted(points, key=lambda point: point[1]):
        beyond, long = x > right, 6.4 * len(name)
        start = x - 9 - long if beyond else x + 9
        below = [line for low, high, line in taken if start < high and low < start + long and line > y - NEXT]
        y = max(below, default=y - NEXT) + NEXT
        taken.append((start, start + long, y))
        parts.append(_text(x - 9 if beyond else x + 9, y + 4, name, anchor="end" if beyond else "start", colour=MUTED))
    return "".join(parts)


def _mark(x: float, y: float, number: int, opacity: float = 1.0) -> str:
    """A group's dot; hollow once the colours begin again."""
    return _circle(x, y, 4.5, COLOURS[number % len(COLOURS)], hollow=number >= len(COLOURS), opacity=opacity)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1.0, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
            f'stroke-width="{width:g}" stroke-linecap="round"{dashes}/>')


def _circle(x: float, y: float, radius: float, colour: str, hollow: bool = False, opacity: float = 1.0) -> str:
    fill = f'fill="{colour}" fill-opacity="{opacity:g}"'
    if hollow:
        fill = f'fill="#fff" stroke="{colour}" stroke-width="2"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {fill}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK, bold: bool = False) -> str:
    weight = ' font-weight="650"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'
