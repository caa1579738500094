"""The report's pictures: rows of degraded, references, restored, truth, each with what the judge says.

In: the conditions' JPEG bytes by picture number, the protocol, its source (for the references).
Out: HTML fragments with the pictures inline.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from statistics import fmean
from typing import Any

import pyarrow.compute as pc

from anchorface.degradation import Plan, explain
from anchorface.evaluation.album import AlbumPicture
from anchorface.evaluation.protocol import Protocol, ProtocolRow
from anchorface.evaluation.sources import Source, face_picture
from anchorface.faces.images import encode_jpeg
from anchorface.records import DataError, storage


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All pictures of one evaluation: `answers[slug][number]` is a row of measures, `image` reads its picture."""

    folder: str
    protocol: Protocol
    source: Source
    answers: dict[str, dict[int, dict[str, Any]]]
    outputs: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: str, protocol: Protocol, source: Source, conditions: Sequence[Mapping[str, Any]]
             ) -> "Gallery":
        """Read the conditions' measures from an evaluation folder.

        Args:
            conditions: those of its table.json.
        """
        rows = storage.read_table(storage.join(folder, "rows.parquet")).to_pylist()
        answers = {c["slug"]: {row["number"]: row for row in rows if row["condition"] == c["slug"]} for c in conditions}
        return cls(folder=folder, protocol=protocol, source=source, answers=answers,
                   outputs=tuple(c["slug"] for c in conditions if c["kind"] == "outputs"))

    def image(self, slug: str, number: int) -> bytes:
        """The JPEG bytes of a condition's answer; of its file, only the rows around this one are read."""
        uri = storage.join(self.folder, "conditions", f"{slug}.parquet")
        found = storage.read_table(uri, ("image",), pc.field("number") == number)["image"].to_pylist()
        if not found or found[0] is None:
            raise DataError(f"{uri}: no picture {number}; run evaluate again")
        return bytes(found[0])

    @cached_property
    def shown(self) -> str:
        """The method whose cases are picked: ours with references, or of other programs the one that answered most, and
        most like the truth."""
        if "three" in self.answers:
            return "three"
        rank = {slug: (len(known), fmean(known)) for slug in self.outputs
                if (known := self._known(slug, "judge_target").values())}
        return max(rank, key=lambda slug: rank[slug], default="")

    def _known(self, slug: str, measure: str) -> dict[int, float]:
        return {n: row[measure] for n, row in self.answers.get(slug, {}).items() if row[measure] is not None}

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """The methods that stand side by side, with their names."""
        return (*((slug, name) for slug, name in RESTORED if slug in self.answers),
                *((slug, slug) for slug in self.outputs))

    @cached_property
    def likenesses(self) -> dict[int, float]:
        """The shown method's likeness to the truth, per picture that has one."""
        return self._known(self.shown, "judge_target")

    @cached_property
    def gains(self) -> dict[int, float]:
        """What the shown method adds to the degraded input's likeness, per picture; empty where not both ran."""
        degraded = self._known("degraded", "judge_target")
        return {n: value - degraded[n] for n, value in self.likenesses.items() if n in degraded}

    @cached_property
    def surplus(self) -> dict[int, float]:
        """How much nearer to the first reference the shown method is than the truth, per picture."""
        return self._known(self.shown, "surplus")


RESTORED = (("without", "restored without"), ("three", "restored with references"))
ESTIMATES = (("without", "without, sample"), ("without_mean", "without, mean estimate"), ("three", "with, sample"),
             ("three_mean", "with, mean estimate"))


def grid(gallery: Gallery, numbers: Sequence[int], columns: Sequence[tuple[str, str]] | None = None,
         show_references: bool = True) -> str:
    """One row per picture number: degraded, references, the given columns (all methods by default), the truth."""
    columns = [(slug, name) for slug, name in columns or gallery.columns if slug in gallery.answers]
    wide = len(columns) + 2 + show_references
    names = ["degraded input", *(["references"] if show_references else []), *(name for _, name in columns), "truth"]
    head = '<div class="case names"><div></div>' + "".join(f"<div>{escape(name)}</div>" for name in names) + "</div>"
    rows = {row.number: row for row in gallery.protocol.rows}
    body = "".join(_case(gallery, rows[n], columns, show_references) for n in numbers if n in rows)
    return f'<div class="wide"><div class="cases" style="--columns:{wide}">{head}{body}</div></div>'


def album(pictures: Sequence[AlbumPicture]) -> str:
    """One row per picture of an album: as it is, the person's best ones, restored."""
    names = "".join(f"<div>{name}</div>" for name in ("the worst picture", "the best ones", "restored with them"))
    rows = []
    for one in pictures:
        inside = "".join(_image(encode_jpeg(image, 90), "a photograph of the same person") for image in one.references)
        known = "training has seen this person" if one.learned else "training has never seen this person"
        rows.append(
            f'<div class="case"><div class="who"><b>{escape(one.identity)}</b>a face of {one.side} px<br>{known}</div>'
            f'<div>{_image(encode_jpeg(one.before, 92), "as it is")}</div>'
            f'<div><div class="mosaic{" single" if len(one.references) == 1 else ""}">{inside}</div></div>'
            f'<div>{_image(encode_jpeg(one.after, 92), "restored")}</div></div>')
    return f'<div style="--columns:3"><div class="case names"><div></div>{names}</div>{"".join(rows)}</div>'


def first(gallery: Gallery, count: int) -> list[int]:
    """The protocol's first pictures: each of another person, drawn before anything was restored."""
    return [row.number for row in gallery.protocol.rows[:count]]


def least_gained(gallery: Gallery, count: int) -> list[int]:
    """Pictures in which likeness gained least."""
    return sorted(gallery.gains, key=lambda n: gallery.gains[n])[:count]


def most_copied(gallery: Gallery, count: int) -> list[int]:
    """Pictures that are nearer to the reference than the truth is, the worst first."""
    return [n for n in sorted(gallery.surplus, key=lambda n: -gallery.surplus[n]) if gallery.surplus[n] > 0][:count]


def median(gallery: Gallery, count: int) -> list[int]:
    """Pictures whose likeness to the truth lies in the middle: neither the best nor the worst."""
    order = sorted(gallery.likenesses, key=lambda n: gallery.likenesses[n])
    start = max(0, (len(order) - count) // 2)
    return order[start:start + count]


def sliders(gallery: Gallery, numbers: Sequence[int]) -> str:
    """The degraded input over the shown method, and that over the truth: drag the lower right corner of the upper one.

    No script is needed: the upper picture is a box that the browser lets one resize.
    """
    rows = {row.number: row for row in gallery.protocol.rows}
    parts = []
    for number in numbers:
        row = gallery.answers[gallery.shown][number]
        if row["judge_target"] is None or number not in rows:
            continue
        answer = _image(gallery.image(gallery.shown, number), gallery.shown)
        truth = encode_jpeg(face_picture(gallery.source, rows[number].target, gallery.protocol.size).image, 92)
        pairs = [(_image(gallery.image("degraded", number), "the degraded input"), answer, "input | restored")
                 ] if "degraded" in gallery.answers else []
        pairs.append((answer, _image(truth, "the true photograph"), "restored | truth"))
        parts += [f'<figure><div class="slide">{below}<div class="over">{above}</div></div><figcaption>picture '
                  f'{number}: {name}, {row["judge_target"]:.2f}</figcaption></figure>' for above, below, name in pairs]
    return f'<div class="slides">{"".join(parts)}</div>' if parts else ""


def explained(gallery: Gallery) -> str:
    """Every case: who, how it was degraded, why each reference was chosen."""
    rows = []
    for row in gallery.protocol.rows:
        how = explain(Plan.from_json(row.plan)) if row.plan else f"as published: {row.degraded}"
        why = "".join(f"<li>{escape(reason)}</li>" for reason in row.reasons)
        rows.append(f"<tr><td>{row.number}</td><td>{escape(row.name)}</td><td>{escape(row.identity)}</td>"
                    f"<td>{escape(how)}</td><td><ul>{why}</ul></td></tr>")
    return ('<details><summary>all cases</summary><div class="wide"><table class="left"><thead><tr><th>number</th>'
            "<th>name</th><th>person</th><th>degradation</th><th>references</th></tr></thead><tbody>"
            f'{"".join(rows)}</tbody></table></div></details>')


def _case(gallery: Gallery, row: ProtocolRow, columns: Sequence[tuple[str, str]], show_references: bool) -> str:
    truth = encode_jpeg(face_picture(gallery.source, row.target, gallery.protocol.size).image, 92)
    plan = explain(Plan.from_json(row.plan)) if row.plan else f"as published: {row.degraded}"
    gaps = "".join(f"<li>{escape(reason.partition(',')[0])}</li>" for reason in row.reasons)
    cells = [f'<div class="who"><b>picture {row.number}</b>{escape(row.identity)}<ul>{gaps}</ul></div>',
             _answer(gallery, "degraded", row.number, plan)]
    if show_references:
        pictures = [face_picture(gallery.source, face_id, gallery.protocol.size).image for face_id in row.references]
        inside = "".join(_image(encode_jpeg(picture, 90), reason)
                         for picture, reason in zip(pictures, row.reasons, strict=True))
        cells.append(f'<div><div class="mosaic{" single" if len(pictures) == 1 else ""}">{inside}</div></div>')
    cells += [_answer(gallery, slug, row.number, name) for slug, name in columns]
    cells.append(f'<div>{_image(truth, "the true photograph")}</div>')
    return f'<div class="case">{"".join(cells)}</div>'


def _answer(gallery: Gallery, slug: str, number: int, text: str) -> str:
    if slug not in gallery.answers:
        return "<div></div>"
    row = gallery.answers[slug][number]
    if row["psnr"] is None:
        return f'<div class="under">{escape(row["cause"])}</div>'
    seen = row.get("cause") if row["judge_target"] is None else f'{row["judge_target"]:.2f}'
    copied = ' <span class="copy">copy</span>' if row["copied"] and row["references_shown"] else ""
    return (f'<div>{_image(gallery.image(slug, number), text)}<div class="under"><b>{escape(str(seen))}</b> · '
            f'{row["psnr"]:.1f} dB{copied}</div></div>')


def _image(content: bytes, text: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(text, True)}" title="{escape(text, True)}" src="data:image/jpeg;base64,{data}">'
