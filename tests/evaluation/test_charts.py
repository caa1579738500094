"""What keeps a chart of many methods readable: names that do not lie on one another, a legend inside the picture."""

import re
from itertools import combinations

from anchorface.evaluation.charts import scatter

TEXT = re.compile(r'<text x="([-\d.]+)" y="([-\d.]+)" text-anchor="(\w+)"[^>]*>([^<]+)</text>')
LETTER = 6.0
"""Width of a letter, roughly, in the drawing's units."""


def boxes(svg: str, names: list[str]) -> dict[str, tuple[float, float, float]]:
    """Left end, right end and base line of the texts that are these names."""
    found = {}
    for x, y, anchor, name in TEXT.findall(svg):
        if name in names:
            left = float(x) - (LETTER * len(name) if anchor == "end" else 0)
            found[name] = (left, left + LETTER * len(name), float(y))
    return found


def test_names_of_methods_at_one_place_do_not_lie_on_one_another() -> None:
    names = [f"method-{n}" for n in range(6)]
    points = [(0.0, 0.6 + 0.001 * n, name) for n, name in enumerate(names)] + [(1.0, 0.9, "far")]
    found = boxes(scatter({"all": points}, "copied", "likeness", named=True), names)
    assert len(found) == 6
    for one, other in combinations(found.values(), 2):
        assert one[1] < other[0] or other[1] < one[0] or abs(one[2] - other[2]) >= 12


def test_a_legend_of_many_groups_takes_more_lines_and_the_plot_begins_below_it() -> None:
    names = [f"another program, number {n}" for n in range(8)]
    svg = scatter({name: [(n, n, "a point")] for n, name in enumerate(names)}, "x", "y")
    found = boxes(svg, names)
    assert len(found) == 8 and max(right for _, right, _ in found.values()) < 440
    assert len({base for _, _, base in found.values()}) == 4
    marks = re.findall(r'<g><title>a point</title><circle cx="[\d.]+" cy="([\d.]+)"', svg)
    assert min(map(float, marks)) > max(base for _, _, base in found.values())
    assert svg.count('fill="#fff" stroke=') == 2 * 2, "colours that come again are told apart"
