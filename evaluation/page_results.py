"""The report's numbers in words and figures: headline, tiles, interval chart, table, copying, trade-off.

In: the content of table.json and the rows. Out: HTML fragments. Sentences follow from the numbers: the page says
so when references do not help, or when the test is too small to tell.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import pyarrow as pa

from anchorface.evaluation.charts import COLOURS, Dot, intervals, scatter
from anchorface.evaluation.tables import best_of, columns, number

TILES = (("degraded", "degraded input"), ("without", "restored, no reference"), ("one", "restored, one reference"),
         ("three", "restored, three references"))
MAIN = ("degraded", "without", "one", "three")
FRAME = ("truth", "autoencoder")
MOST_POINTS = 1500
"""Of one method in a chart."""
LAST = 10000
"""The place of a row without a number, whichever way up its column is sorted."""
SMALL_PRINT = ("Small print: bootstrap 95 % intervals, people drawn with replacement. The truth's own line shows how "
               "near the true photograph is to the references; the autoencoder's line is the ceiling that this "
               "network's latent space sets. The arrows sort.")
TRIVIAL = ("psnr", "copied", "copied_any", "surplus")


def condition(table: dict[str, Any], slug: str) -> dict[str, Any] | None:
    """One condition of the table, None where it was not run."""
    return next((c for c in table["conditions"] if c["slug"] == slug), None)


def mean(table: dict[str, Any], slug: str, measure: str = "judge_target") -> float | None:
    """A mean of the table, None where there is none."""
    found = condition(table, slug)
    return found["measures"][measure]["mean"] if found and found["measures"][measure] else None


def headline(table: dict[str, Any]) -> tuple[str, str]:
    """The result in one sentence and in one paragraph, for a reader who knows nothing yet."""
    values = {slug: mean(table, slug) for slug in MAIN}
    degraded, without, three = values["degraded"], values["without"], values["three"]
    if degraded is None or without is None or three is None:
        title = "How near the restored faces come to the true ones"
    elif table["order"]["intervals_apart"] or _sure(table):
        title = (f"References bring the person back: likeness {three:.2f} with them, {without:.2f} without, "
                 f"{degraded:.2f} before restoration")
    elif table["order"]["holds"]:
        title = (f"References help on average ({three:.2f} against {without:.2f} in likeness), but this test is too "
                 "small to be sure of every step")
    elif three > without:
        title = f"References raise likeness from {without:.2f} to {three:.2f}; without them, restoration adds none"
    else:
        title = f"On these pictures references do not raise likeness: {three:.2f} with, {without:.2f} without"
    ours = bool(table.get("checkpoint", True))
    parts = [f"{table['rows']} photographs of {table['identities']} people"
             f"{' whom the restorer never saw' if ours else ''} were degraded "
             f"(profile <b>{escape(table['profile'])}</b>) and restored. A judge network"
             f"{' that took no part in training' if ours else ''} then compared each result with the true photograph: "
             "<b>likeness</b> is its cosine, 1 for the same picture."]
    scale = table.get("scale") or {}
    if scale.get("same_person") is not None and scale.get("different_people") is not None:
        parts.append(f"To read it: two photographs of <i>different</i> people get {scale['different_people']:.2f}, two "
                     f"<i>different</i> photographs of one person {scale['same_person']:.2f}.")
    copied = [(mean(table, slug, "copied"), name) for slug, name in
              (("three", "with references"), ("without", "without"), ("degraded", "for the degraded input"))]
    told = [f"{100 * value:.0f} % {name}" for value, name in copied if value is not None]
    if told:
        parts.append("Copy rate, the share of pictures that are nearer to the first reference than the truth itself "
                     f"is: {', '.join(told)}.")
    if _sure(table) and not table["order"]["intervals_apart"]:
        parts.append("The intervals below overlap, but picture by picture each step is a gain beyond chance.")
    return title, " ".join(parts)


def _sure(table: dict[str, Any]) -> bool:
    """Whether both steps of degraded < without < three are gains beyond chance, picture by picture."""
    steps = [c["difference"] for c in table["comparisons"]
             if (c["from"], c["to"]) in (("degraded", "without"), ("without", "three"))]
    return len(steps) == 2 and all(step is not None and step["low"] > 0 for step in steps)


def tiles(table: dict[str, Any]) -> str:
    """The main numbers, large: ours and other programs'."""
    named = [*TILES, *((c["slug"], escape(c["label"])) for c in table["conditions"] if c["kind"] == "outputs")]
    best = max((v for v in (mean(table, slug) for slug, _ in named) if v is not None), default=None)
    parts = []
    for slug, name in named:
        found = condition(table, slug)
        if not found or not found["measures"]["judge_target"]:
            continue
        value = found["measures"]["judge_target"]
        share = max(0.0, min(1.0, value["mean"])) * 100
        parts.append(f'<div class="tile{" best" if value["mean"] == best else ""}"><span>{name}</span>'
                     f'<b>{value["mean"]:.3f}</b><span>95 %: {value["low"]:.3f} to {value["high"]:.3f}</span>'
                     f'<div class="bar"><i style="width:{share:.0f}%"></i></div></div>')
    return f'<div class="tiles">{"".join(parts)}</div>'


def interval_chart(table: dict[str, Any]) -> str:
    """Likeness to the truth (filled) and to the first reference (hollow), condition by condition."""
    rows = []
    for found in table["conditions"]:
        if found["slug"] in FRAME or not found["measures"]["judge_target"]:
            continue
        dots = []
        for key, name, colour, hollow in (("judge_target", "likeness to the truth", COLOURS[0], False),
                                          ("judge_first", "likeness to the first reference", COLOURS[1], True)):
            if value := found["measures"][key]:
                dots.append(Dot(mean=value["mean"], low=value["low"], high=value["high"], note=name, colour=colour,
                                hollow=hollow))
        rows.append((_short(found["label"]), dots))
    guides = []
    scale = table.get("scale") or {}
    if scale.get("different_people") is not None:
        guides.append((scale["different_people"], "other people"))
    if (own := mean(table, "truth", "judge_first")) is not None:
        guides.append((own, "truth to reference"))
    chart = intervals(rows, "judge cosine (0 = unrelated, 1 = same picture)", guides, "likeness with 95 % intervals")
    return chart.replace("<svg", '<svg class="broad"', 1)


def results_table(table: dict[str, Any], small_print: str = "") -> str:
    """Every number of the table with its interval; the best of each measure among the methods is bold.

    small_print: how intervals were drawn and how to read the rows, where it is not pictures of people that are judged.

    The arrows in a column's head sort by it, without a script: each row carries its place in every column, and the
    style sheet orders the rows by the chosen one.
    """
    measures, best = columns(table), best_of(table)
    heads = ['<th>condition <label class="sort" title="as run"><input type="radio" name="sort" checked>&#8634;</label>'
             "</th>"]
    rules, places = [], [_places(table, measure.key) for measure in measures]
    for number_of, measure in enumerate(measures):
        arrows = "".join(f'<label class="sort" title="{name} first"><input type="radio" name="sort" '
                         f'id="sort{number_of}{end}">{sign}</label>'
                         for end, sign, name in (("h", "&#9662;", "highest"), ("l", "&#9652;", "lowest")))
        heads.append(f'<th title="{escape(measure.meaning, True)}">{escape(measure.label)}'
                     f'{f", {measure.unit}" if measure.unit else ""} {arrows}</th>')
        orders = {"h": f"var(--k{number_of})", "l": f"var(--l{number_of}, calc(0 - var(--k{number_of})))"}
        rules += [f".results:has(#sort{number_of}{end}:checked) tbody tr {{ order:{order}; }}"
                  for end, order in orders.items()]
    body = []
    for row, found in enumerate(table["conditions"]):
        cells = []
        for measure in measures:
            value = found["measures"].get(measure.key)
            if value is None or (found["slug"] == "truth" and measure.key in TRIVIAL):
                why = f' class="absent" title="{escape(measure.absent, True)}"' if measure.absent else ""
                cells.append(f"<td{why}>–</td>")
                continue
            top = (found["slug"], measure.key) in best
            between = "" if value["low"] == value["high"] and not value["identities"] else (
                f'<small>{number(value["low"], measure)} – {number(value["high"], measure)}</small>')
            cells.append(f'<td{" class=best" if top else ""}>{number(value["mean"], measure)}{between}</td>')
        kind = "frame" if found["slug"] in FRAME else ("main" if found["slug"] in MAIN else "")
        keys = ";".join(f"--k{n}:{of[row]}" + (f";--l{n}:{LAST}" if of[row] == LAST else "")
                        for n, of in enumerate(places))
        causes = "".join(f'<small class="absent">{count} × {escape(cause)}</small>'
                         for cause, count in found.get("causes", {}).items())
        body.append(f'<tr class="{kind}" style="{keys}"><td>{escape(found["label"])}{causes}</td>{"".join(cells)}</tr>')
    meanings = "; ".join(f"<b>{escape(m.label)}</b>: {escape(m.meaning)}"
                         + (f' <span class="absent">(no numbers: {escape(m.absent)})</span>' if m.absent else "")
                         for m in measures)
    return (f'<style>{"".join(rules)}</style><div class="wide">'
            f'<table class="results" style="--columns:{len(measures)}">'
            f'<thead><tr>{"".join(heads)}</tr></thead><tbody>{"".join(body)}</tbody>'
            f'</table></div><p class="note">{meanings}. {sampler(table)} {small_print or SMALL_PRINT}</p>')


def _places(table: dict[str, Any], key: str) -> list[int]:
    """Each row's place in a column, the highest mean first; rows without a number stand last either way up."""
    means = {n: float(c["measures"][key]["mean"]) for n, c in enumerate(table["conditions"]) if c["measures"].get(key)}
    order = sorted(means, key=lambda n: -means[n])
    return [order.index(n) + 1 if n in means else LAST for n in range(len(table["conditions"]))]


def sampler(table: dict[str, Any]) -> str:
    """How the samples of the table were drawn, in a sentence; nothing where the table does not say."""
    settings = table.get("settings")
    if not settings:
        return ""
    scales = {word: settings.get(f"{word}_guidance") for word in ("input", "context")}
    own = "".join(f", {word} guidance {scale:g}" for word, scale in scales.items() if scale is not None)
    pushed, trust = ("as the checkpoint says" if settings.get(name) is None else f"{settings[name]:g}"
                     for name in ("reference_guidance", "trust"))
    return (f"Samples: Euler steps {settings['steps']}, guidance {settings['guidance']:g}, reference guidance {pushed}"
            f", trust in references {trust}{own}, {settings['precision']}; mean estimates: "
            f"{settings['mean_draws']} draws, one step each, no guidance.")


def comparisons(table: dict[str, Any]) -> str:
    """Paired differences in likeness, picture by picture."""
    names = {c["slug"]: c["label"] for c in table["conditions"]}
    rows = []
    for pair in table["comparisons"]:
        if not (value := pair["difference"]):
            continue
        sure = "yes" if value["low"] > 0 else ("no, it falls" if value["high"] < 0 else "not certain")
        rows.append(f'<tr><td>{escape(names[pair["from"]])} → {escape(names[pair["to"]])}</td>'
                    f'<td>{value["mean"]:+.3f}<small>{value["low"]:+.3f} to {value["high"]:+.3f}</small></td>'
                    f'<td>{100 * pair["better_share"]:.0f} %</td><td>{sure}</td></tr>')
    if not rows:
        return ""
    return ('<h3>The same pictures, pair by pair</h3><div class="wide"><table><thead><tr><th>from → to</th>'
            "<th>likeness changes by</th><th>pictures that gain</th><th>gain beyond chance</th></tr></thead>"
            f'<tbody>{"".join(rows)}</tbody></table></div>')


def copying(table: dict[str, Any], rows: pa.Table) -> str:
    """What copying is, and every picture on one chart: above the diagonal lies a copy."""
    groups = {}
    programs = [(c["slug"], c["label"]) for c in table["conditions"] if c["kind"] == "outputs"]
    for slug, name in (("three", "with references"), ("without", "without"), *programs):
        points = [(row["truth_first"], row["judge_first"], f'picture {row["number"]}: truth {row["truth_first"]:.2f}, '
                   f'restored {row["judge_first"]:.2f}') for row in rows.to_pylist()
                  if row["condition"] == slug and row["truth_first"] is not None]
        points = points[:MOST_POINTS]
        if points:
            groups[name] = points
    if not groups:
        return ""
    chart = scatter(groups, "the truth's likeness to the reference", "the restored picture's likeness to it",
                    diagonal=("nearer than the truth: copied", "further than the truth"))
    told = [f"<b>{100 * value:.1f} %</b> {name}" for slug, name in
            (("degraded", "for the degraded input"), ("without", "without references"), ("one", "with one reference"),
             ("three", "with three"),
             *((slug, f"for {escape(label)}") for slug, label in programs))
            if (value := mean(table, slug, "copied")) is not None]
    surplus = mean(table, "three", "surplus")
    pulls = [(mean(table, slug, measure), mean(table, "without", measure))
             for slug, measure in (("stranger", "judge_stranger"), ("three", "judge_first"))]
    moved = [shown - alone for shown, alone in pulls if shown is not None and alone is not None]
    swap = "" if len(moved) < len(pulls) else (
        f"<p>Shown another person's references, the pictures move {moved[0]:+.3f} towards the first of them;"
        f" shown the right ones, {moved[1]:+.3f} towards the first of those.</p>")
    side = "nearer to" if surplus is not None and surplus > 0 else "further from"
    more = "" if surplus is None else (f" With three references the pictures are on average {abs(surplus):.3f} {side} "
                                       "the reference than the truth is.")
    return ('<div class="two"><div><h2>Does it copy the reference?</h2><p>A restorer that sees another photograph of '
            "the person can cheat: paste that face, and look more like the reference than the person does in this very "
            "picture. So each restored picture is compared with its first reference, and so is the truth. Points above "
            f"the diagonal are copies.</p><p>Copy rate: {', '.join(told)}.{more}</p>{swap}"
            '<p class="muted">Without references nothing can be copied: that number is chance. Nor would a perfect '
            "restorer reach zero: tiny errors fall on both sides of the diagonal, so a share near a half with no "
            "surplus means truth, and a large share with a large surplus means copying.</p></div>"
            f"<figure>{chart}</figure></div>")


def trade_off(table: dict[str, Any]) -> str:
    """Pixels against likeness: samples and mean estimates."""
    groups: dict[str, Sequence[tuple[float, float, str]]] = {}
    for name, wanted in (("sample", 0.0), ("mean estimate", 1.0)):
        groups[name] = [_place(c) for c in table["conditions"] if c["kind"] == "restored" and c["fidelity"] == wanted]
    groups["degraded input"] = [_place(c) for c in table["conditions"] if c["kind"] == "degraded"]
    groups = {name: points for name, points in groups.items() if points}
    return scatter(groups, "PSNR, dB", "likeness to the truth", named=True) if groups else ""


def _place(found: dict[str, Any]) -> tuple[float, float, str]:
    measures = found["measures"]
    name = _short(found["label"]).replace(", mean", "") if found["kind"] == "restored" else ""
    return measures["psnr"]["mean"], measures["judge_target"]["mean"], name


def _short(label: str) -> str:
    return label.replace("references", "refs").replace("reference", "ref").replace(", mean estimate", ", mean")
