"""The tables for other places: LaTeX for a paper, Markdown for a page of text; CSV stands in evaluation.tables.

In: the content of table.json. Out: table.tex (booktabs), table.md: the columns with numbers, each mean with its
interval, the best of the methods bold; then who computed each column, and which have no numbers and why.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anchorface.evaluation.measures import Measure
from anchorface.evaluation.strata import STRATA
from anchorface.evaluation.tables import best_of, columns, number
from anchorface.records import storage
from anchorface.records.markdown import cell

ESCAPES = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}",
           "^": r"\textasciicircum{}", "°": r"\textdegree{}"}


def write_exports(out: str, result: dict[str, Any]) -> None:
    """Write table.tex and table.md, each whole or not at all."""
    storage.write_atomic(storage.join(out, "table.md"), markdown(result).encode())
    storage.write_atomic(storage.join(out, "table.tex"), latex(result).encode())


def write_plain(out: str, result: Mapping[str, Any], head: Sequence[str], rows: Sequence[Sequence[str]],
                remarks: Sequence[str]) -> None:
    """Write a table of ready words as table.json (`result`), table.csv, table.md and table.tex."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([head, *rows])
    lines = _lines(head, [[cell(word) for word in row] for row in rows])
    text = "\n".join([*lines, "", *(f"- {cell(remark)}" for remark in remarks), ""])
    body = "\n".join(" & ".join(escaped(word) for word in row) + r" \\" for row in (head, *rows))
    said = "".join(f"% {remark}\n" for remark in remarks)
    tabular = (f"{said}\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n"
               f"{body}\n\\end{{tabular}}\n")
    for name, content in (("json", json.dumps(result, indent=1)), ("csv", sink.getvalue()), ("md", text),
                          ("tex", tabular)):
        storage.write_atomic(storage.join(out, f"table.{name}"), content.encode())


def markdown(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    measures, rows = _body(result, lambda text: f"**{text}**", cell)
    lines = _lines(["method", *(_named(m) for m in measures)], rows)
    lines += ["", *_markdown_strata(result), *_markdown_differences(result), "Columns:", ""]
    lines += [f"- {cell(_named(m))}: {cell(m.meaning)}"
              + (f"; no numbers: {cell(m.absent)}" if m.absent else f"; {cell(m.source)}" if m.source else "")
              for m in columns(result)]
    judged = result.get("judged") or (
        f"{result['rows']} pictures of {result['identities']} persons, {result['size']} px, "
        f"{cell(result['profile'])}; 95 % bootstrap intervals over persons.")
    lines += ["", f"Protocol {result.get('protocol', 'own')}, {result['protocol_id']}: {judged}"]
    return "\n".join([*lines, ""])


def latex(result: dict[str, Any]) -> str:
    """The main table as LaTeX, for booktabs."""
    measures, rows = _body(result, lambda text: rf"\textbf{{{text}}}", escaped)
    head = " & ".join(["method", *(escaped(_named(m)) for m in measures)])
    body = "\n".join(" & ".join(row) + r" \\" for row in rows)
    sources = "\n".join(f"% {_named(m)}: {(m.absent and 'no numbers: ' + m.absent) or m.source}"
                        for m in columns(result))
    return (f"% anchorface, protocol {result.get('protocol', 'own')} {result['protocol_id']}\n{sources}\n"
            f"\\begin{{tabular}}{{l{'r' * len(measures)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n"
            "\\end{tabular}\n")


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(ESCAPES.get(sign, sign) for sign in text.replace("\n", " "))


def _named(measure: Measure) -> str:
    return f"{measure.label}, {measure.unit}" if measure.unit else measure.label


def _body(result: dict[str, Any], bold: Callable[[str], str], clean: Callable[[str], str]
          ) -> tuple[list[Measure], list[list[str]]]:
    """The columns that have a number, and a row a condition."""
    measures = [m for m in columns(result) if any(c["measures"].get(m.key) for c in result["conditions"])]
    best = best_of(result)
    rows = []
    for condition in result["conditions"]:
        row = [clean(condition["label"])]
        for measure in measures:
            value = condition["measures"].get(measure.key)
            if value is None:
                row.append("–")
                continue
            text = number(value["mean"], measure)
            top = (condition["slug"], measure.key) in best
            row.append((bold(text) if top else text) + _interval(value, measure))
        rows.append(row)
    return measures, rows


def _interval(value: Mapping[str, Any], measure: Measure) -> str:
    if value["low"] == value["high"]:
        return ""
    return f" ({number(value['low'], measure)} to {number(value['high'], measure)})"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cell(name) for name in head)} |", "| --- |" + " ---: |" * (len(head) - 1),
            *(f"| {' | '.join(row)} |" for row in rows)]


def _markdown_strata(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    sides = {m.key: m for m in columns(result)}
    for stratum in STRATA:
        found = [s for s in result.get("strata", ()) if s["by"] == stratum.key]
        if len(found) < 2:
            continue
        rows = []
        for entry in found:
            for slug, values in entry["methods"].items():
                rows.append([cell(f"{entry['bin']} ({entry['rows']})"), cell(slug), *(
                    number(v["mean"], sides[key]) + _interval(v, sides[key]) if v else "–"
                    for key, v in values.items())])
        names: Mapping[str, Any] = next(iter(found[0]["methods"].values()), {})
        lines += [f"By {stratum.label}:", "", *_lines(["bin (pictures)", "method", *(_named(sides[k]) for k in names)],
                                                      rows), ""]
    return lines


def _markdown_differences(result: dict[str, Any]) -> list[str]:
    sides = {m.key: m for m in columns(result)}
    rows = [[cell(d["from"]), cell(d["to"]), cell(sides[d["measure"]].label),
             f"{d['mean'] * sides[d['measure']].scale:+.{sides[d['measure']].digits}f}"
             + _interval(d, sides[d["measure"]]), f"{d['p']:.4f}"] for d in result.get("differences", ())]
    what = "films" if "clip" in result else "pictures"
    return [f"Differences over the same {what}:", "", *_lines(["from", "to", "measure", "change", "p"], rows), ""
            ] if rows else []
