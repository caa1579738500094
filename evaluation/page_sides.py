"""The report's two-sided part: one point a method, the strata, and the differences between any two methods.

In: the content of table.json. Out: an HTML fragment; empty where the table was written before it had these.
"""

from html import escape
from typing import Any

from anchorface.evaluation.charts import scatter
from anchorface.evaluation.strata import STRATA
from anchorface.evaluation.tables import columns, number
from anchorface.evaluation.two_sided import SIDES


def sides(table: dict[str, Any]) -> str:
    """Likeness against copying, one point a method; then by kind of case; then pair by pair."""
    if "strata" not in table:
        return ""
    return ("<h2>Both sides of likeness</h2><p>Who looks like the truth, and at what price? One point a method: up is "
            "likeness to the truth, to the right is what was taken from the reference. A copy moves right without "
            f'moving up.</p><div class="charts">{_chart(table, "copied")}{_chart(table, "surplus")}</div>'
            f"{_strata(table)}{_differences(table)}")


def _chart(table: dict[str, Any], key: str) -> str:
    measure = next(m for m in columns(table) if m.key == key)
    groups: dict[str, list[tuple[float, float, str]]] = {}
    for found in table["conditions"]:
        across, up = found["measures"][key], found["measures"]["judge_target"]
        if across and up and found["kind"] not in ("truth", "autoencoder"):
            name = {"restored": "ours", "degraded": "input"}.get(found["kind"], "other programs")
            groups.setdefault(name, []).append((across["mean"] * measure.scale, up["mean"], found["slug"]))
    label = f"{measure.label}, {measure.unit}" if measure.unit else measure.label
    return f"<figure>{scatter(groups, label, 'likeness to the truth', named=True)}</figure>" if groups else ""


def _strata(table: dict[str, Any]) -> str:
    names = {c["slug"]: c["label"] for c in table["conditions"]}
    measures = {m.key: m for m in columns(table)}
    head = "".join(f"<th>{measures[key].label}</th>" for key in SIDES)
    parts = []
    for stratum in STRATA:
        found = [s for s in table["strata"] if s["by"] == stratum.key]
        if len(found) < 2:
            continue
        body = []
        for entry in found:
            for place, (slug, values) in enumerate(entry["methods"].items()):
                first = f"{escape(entry['bin'])} <small>{entry['rows']} pictures</small>" if place == 0 else ""
                cells = "".join(_cell(values[key], measures[key]) for key in SIDES)
                body.append(f"<tr><td>{first}</td><td>{escape(names[slug])}</td>{cells}</tr>")
        parts.append(f'<details><summary>by {escape(stratum.label)}</summary><div class="wide"><table><thead><tr>'
                     f'<th>cases</th><th>method</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
                     "</details>")
    return f"<h3>By kind of case</h3>{''.join(parts)}" if parts else ""


def _cell(value: dict[str, Any] | None, measure: Any) -> str:
    if value is None:
        return "<td>–</td>"
    return (f"<td>{number(value['mean'], measure)}<small>{number(value['low'], measure)} – "
            f"{number(value['high'], measure)}</small></td>")


def _differences(table: dict[str, Any]) -> str:
    names = {c["slug"]: c["label"] for c in table["conditions"]}
    measures = {m.key: m for m in columns(table)}
    rows = []
    for found in table["differences"]:
        measure = measures[found["measure"]]
        low, high = (f"{found[end] * measure.scale:+.{measure.digits}f}" for end in ("low", "high"))
        pair = f"{escape(names[found['from']])} → {escape(names[found['to']])}"
        rows.append(f"<tr><td>{pair}</td><td>{measure.label}</td>"
                    f"<td>{found['mean'] * measure.scale:+.{measure.digits}f}<small>{low} to {high}</small></td>"
                    f"<td>{found['p']:.4f}</td></tr>")
    if not rows:
        return ""
    return ('<details><summary>any two methods, over the same pictures</summary><p class="note">p: how probable so '
            "large a difference is by chance, people drawn with replacement; not corrected for the number of pairs."
            '</p><div class="wide"><table><thead><tr><th>from → to</th><th>measure</th><th>change</th><th>p</th></tr>'
            f'</thead><tbody>{"".join(rows)}</tbody></table></div></details>')
