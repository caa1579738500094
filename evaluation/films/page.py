"""The report of judged films: one HTML file with everything inside, which plays them without a script.

In: a folder that `evaluate_films` wrote. Out: the file. A film's frames stand one below the other in one picture, and
the style sheet shows one after the other; all that belongs to a film starts at one time and so stays in step: before
and after side by side, one over the other, and the line that runs through likeness over time.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pyarrow.compute as pc
from PIL import Image

from anchorface.evaluation.charts import COLOURS, Dot, curves, intervals
from anchorface.evaluation.films.measured import SHOWN
from anchorface.evaluation.page_results import results_table
from anchorface.evaluation.page_style import STYLE
from anchorface.evaluation.stored import STRIP
from anchorface.evaluation.tables import columns, number
from anchorface.records import storage
from anchorface.records.state import read_state

PLAYED = """
.film { --slow: 1; padding: 18px 0; border-bottom: 1px solid var(--rule); }
.reels { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin:10px 0; }
.reel { width:100%; border-radius:8px; background-size:100% calc(var(--frames) * 100%); aspect-ratio:var(--shape);
  animation:reel calc(var(--seconds) * var(--slow) * 1s) steps(var(--frames), jump-none) infinite; }
@keyframes reel { from { background-position:0 0; } to { background-position:0 100%; } }
.cursor { animation:cursor calc(var(--seconds) * var(--slow) * 1s) steps(var(--frames), jump-none) infinite; }
@keyframes cursor { from { transform:none; } to { transform:translateX(var(--run)); } }
.film:has(.pause:checked) :is(.reel, .cursor) { animation-play-state:paused; }
.film:has(.slow:checked) { --slow: 4; }
.film .slide { aspect-ratio:var(--shape); } .film .slide .reel { width:100cqw; border-radius:0; }
.film .pair { display:grid; grid-template-columns:repeat(auto-fit,minmax(260px,1fr)); gap:24px; align-items:start; }
@media (prefers-reduced-motion:reduce) { .reel, .cursor { animation-play-state:paused; } }
"""
SMALL_PRINT = ("Small print: bootstrap 95 % intervals, films drawn with replacement. The truth's own line shows what a "
               "film without any error has. The arrows sort.")
STILL = 1.0
"""Seconds for which a film of one frame is shown."""


def write_film_page(folder: str, out: str, *, title: str = "", shown: int = 8) -> str:
    """Write the report of judged films.

    Args:
        folder: what `evaluate_films` wrote. out: the HTML file. title: a name for it. shown: films that are played, at
            most: half of them the worst, half the first of the others.

    Returns:
        out.

    Raises:
        DataError, StorageError: a file is missing or damaged.
    """
    table = read_state(storage.join(folder, "table.json"), dict[str, Any])
    rows = storage.read_table(storage.join(folder, "rows.parquet")).to_pylist()
    of: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["number"], {})[row["condition"]] = row
    slugs = [c["slug"] for c in table["conditions"]]
    numbers = _played(of, slugs, shown)
    films = "".join(_film(folder, number, of[number], slugs) for number in numbers)
    name = escape(title) if title else "films"
    head = _headline(table)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table["notes"])
    dropped = "".join(f"<li>{escape(row['uri'])}: {escape(row['cause'])}</li>" for row in table["dropped"])
    body = "".join((
        f"<section><h2>Frame by frame</h2><p>{len(numbers)} of {len(of)} films, those first in which likeness is "
        f"lowest; at most their first {SHOWN} frames. Drag the lower right corner of the upper picture.</p>{films}"
        "</section>",
        f"<section><h2>Likeness</h2><figure>{_chart(table)}</figure>{results_table(table, SMALL_PRINT)}"
        f"{_differences(table)}</section>",
        f"<section><h2>What could not be judged, and why</h2><ul>{dropped}{notes}</ul></section>"
        if dropped or notes else "",
        f"<section><h2>How to repeat it</h2>{_protocol(table)}</section>",
    ))
    page = (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>anchorface · {name}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{PLAYED}</style></head>'
            f'<body><header><div class="brand">anchorface · {name}</div><h1>{escape(head)}</h1><p class="lead">'
            f"{escape(table['judged'])}</p></header>{body}<footer>Made by anchorface from films and settings "
            f'<span class="hash">{table["protocol_id"]}</span>. This file stands alone.</footer></body></html>')
    storage.write_atomic(out, page.encode())
    return out


def _played(of: Mapping[int, Mapping[str, Mapping[str, Any]]], slugs: Sequence[str], shown: int) -> list[int]:
    """Numbers of the films that are played: the worst by likeness of any output, then the first of the others."""
    outputs = [slug for slug in slugs if slug not in ("truth", "degraded")]
    worst = {n: min((row["judge_target"] for slug, row in rows.items() if slug in outputs
                     and row["judge_target"] is not None), default=math.inf) for n, rows in of.items()}
    first = sorted(worst, key=lambda n: (worst[n], n))[:math.ceil(shown / 2)]
    return [*first, *[n for n in of if n not in first][:shown - len(first)]]


def _film(folder: str, number: int, rows: Mapping[str, Mapping[str, Any]], slugs: Sequence[str]) -> str:
    """A film's reels, one before the other, and its likeness over time."""
    strips = {slug: found for slug in slugs if (found := _strip(folder, slug, number)) is not None}
    played = next((row for row in rows.values() if row["seconds"]), None)
    name = escape(next(iter(rows.values()))["identity"])
    if played is None or not strips:
        causes = {row["cause"] for row in rows.values() if row["cause"]}
        return f'<div class="film"><h3>{name}</h3><p class="absent">{escape("; ".join(sorted(causes)))}</p></div>'
    seconds = played["seconds"]
    count = min(len(seconds), SHOWN)
    length = seconds[count - 1] * count / (count - 1) if count > 1 else STILL
    wide, tall = Image.open(io.BytesIO(next(iter(strips.values())))).size
    order = [slug for slug in (*(s for s in slugs if s != "truth"), "truth") if slug in rows]
    rules = "".join(f"#film{number} .{_class(slugs, slug)} {{ background-image:url(data:image/jpeg;base64,"
                    f"{base64.b64encode(strip).decode()}); }}" for slug, strip in strips.items())
    reels = "".join(_cell(slugs, slug, rows[slug], slug in strips) for slug in order)
    before = "degraded" if "degraded" in strips else next((s for s in order if s in strips), "")
    slides = "".join(
        f'<figure><figcaption>{escape(before)} | {escape(slug)}</figcaption><div class="slide">{_reel(slugs, slug)}'
        f'<div class="over">{_reel(slugs, before)}</div></div></figure>'
        for slug in [s for s in order if s in strips and s != before][:2])
    lines = {slug: (seconds, [math.nan if v is None else v for v in rows[slug]["likeness"]]) for slug in order
             if slug != "truth" and rows[slug]["likeness"]}
    lines = {slug: line for slug, line in lines.items() if any(map(math.isfinite, line[1]))}
    chart = curves(lines, "seconds", "likeness to the truth", cursor=seconds[count - 1]) if lines and count > 1 else ""
    style = f"--frames:{count}; --seconds:{length:.4f}; --shape:{wide} / {tall // count}"
    return (f'<div class="film" id="film{number}" style="{style}"><style>{rules}</style><h3>{name}</h3>'
            '<label><input type="checkbox" class="pause"> pause</label> <label><input type="checkbox" class="slow"> '
            f'slower</label><div class="reels">{reels}</div><div class="pair"><div class="slides">{slides}</div>'
            f"<figure>{chart}</figure></div></div>")


def _class(slugs: Sequence[str], slug: str) -> str:
    return f"w{slugs.index(slug)}"


def _reel(slugs: Sequence[str], slug: str) -> str:
    return f'<div class="reel {_class(slugs, slug)}" role="img" aria-label="{escape(slug, True)}"></div>'


def _cell(slugs: Sequence[str], slug: str, row: Mapping[str, Any], there: bool) -> str:
    cause = f'<span class="absent">{escape(row["cause"])}</span>' if row["cause"] else ""
    like = "" if row["judge_target"] is None else f" {row['judge_target']:.3f}"
    return (f"<figure><figcaption>{escape(slug)}<b>{like}</b> {cause}</figcaption>"
            f"{_reel(slugs, slug) if there else ''}</figure>")


def _strip(folder: str, slug: str, number: int) -> bytes | None:
    """A film's frames by a condition; of its file, only the rows around this one are read."""
    uri = storage.join(folder, "conditions", f"{slug}.parquet")
    found = storage.read_table(uri, (STRIP,), pc.field("number") == number)[STRIP].to_pylist()
    return bytes(found[0]) if found and found[0] is not None else None


def _headline(table: Mapping[str, Any]) -> str:
    means = {c["label"]: c["measures"]["judge_target"]["mean"] for c in table["conditions"]
             if c["kind"] == "outputs" and c["measures"]["judge_target"]}
    if not means:
        return "No output could be judged"
    best = max(means, key=lambda label: means[label])
    return f"Nearest to the person through the films: {best}, likeness {means[best]:.3f}"


def _chart(table: Mapping[str, Any]) -> str:
    rows = []
    for found in table["conditions"]:
        if found["kind"] == "truth" or not found["measures"]["judge_target"]:
            continue
        dots = [Dot(mean=value["mean"], low=value["low"], high=value["high"], note=note, colour=colour, hollow=hollow)
                for key, note, colour, hollow in (("judge_target", "likeness to the truth", COLOURS[0], False),
                                                  ("judge_mean", "likeness to the references", COLOURS[1], True))
                if (value := found["measures"][key])]
        rows.append((found["label"], dots))
    return intervals(rows, "judge's cosine: filled to the truth, hollow to the references") if rows else ""


def _differences(table: Mapping[str, Any]) -> str:
    named = {m.key: m for m in columns(dict(table))}
    rows = []
    for found in table["differences"]:
        measure = named[found["measure"]]
        low, high = number(found["low"], measure), number(found["high"], measure)
        rows.append(f"<tr><td>{escape(found['from'])} → {escape(found['to'])}</td><td>{escape(measure.label)}</td>"
                    f"<td>{number(found['mean'], measure)}<small>{low} – {high}</small></td>"
                    f"<td>{found['p']:.4f}</td></tr>")
    if not rows:
        return ""
    return ('<details><summary>differences over the same films</summary><div class="wide"><table><thead><tr><th>from → '
            f"to</th><th>measure</th><th>changes by</th><th>p</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
            "</div></details>")


def _protocol(table: Mapping[str, Any]) -> str:
    judge = table["judge"]
    facts = [("Judge", f"{escape(judge['name'])} <span class=\"hash\">{judge['sha256'][:16]}</span>"),
             ("Faces", f"{escape(table['landmarks'])}, where the truth's landmarks are not known"),
             ("Clips", f"a new one every {table['clip']} frames"),
             *((f"Outputs: {escape(name)}", escape(of["folder"])) for name, of in table["outputs"].items()),
             *((f"Column: {escape(m.label)}", escape((m.absent and f"no numbers: {m.absent}") or m.source))
               for m in columns(dict(table)) if m.absent or m.source)]
    body = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in facts)
    return f'<div class="wide"><table class="left"><tbody>{body}</tbody></table></div>'
