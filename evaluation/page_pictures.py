"""The report's pictures: rows of degraded, references, restored, truth, each with what the judge says.

In: the conditions' JPEG bytes by picture number, the protocol, the dataset version (for the references).
Out: HTML fragments with the pictures inline.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import pyarrow.compute as pc

from anchorface.degradation import Plan, explain
from anchorface.evaluation.cases import face_picture
from anchorface.evaluation.protocol import Protocol, ProtocolRow
from anchorface.faces.images import encode_jpeg
from anchorface.records import DataError, storage
from anchorface.records.dataset import DatasetVersion


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All pictures of one evaluation: `answers[slug][number]` is a row of measures, `image` reads its picture."""

    folder: str
    protocol: Protocol
    dataset: DatasetVersion
    answers: dict[str, dict[int, dict[str, Any]]]

    @classmethod
    def open(cls, folder: str, protocol: Protocol, dataset: DatasetVersion, slugs: Sequence[str]) -> "Gallery":
        """Read the conditions' measures from an evaluation folder."""
        rows = storage.read_table(storage.join(folder, "rows.parquet")).to_pylist()
        answers = {slug: {row["number"]: row for row in rows if row["condition"] == slug} for slug in slugs}
        return cls(folder=folder, protocol=protocol, dataset=dataset, answers=answers)

    def image(self, slug: str, number: int) -> bytes:
        """The JPEG bytes of a condition's answer; of its file, only the rows around this one are read."""
        uri = storage.join(self.folder, "conditions", f"{slug}.parquet")
        found = storage.read_table(uri, ("image",), pc.field("number") == number)["image"].to_pylist()
        if not found:
            raise DataError(f"{uri}: no picture {number}; run evaluate again")
        return bytes(found[0])

    @cached_property
    def gains(self) -> dict[int, float]:
        """Likeness with references minus likeness of the degraded input, per picture; empty where not both ran."""
        three, degraded = self.answers.get("three", {}), self.answers.get("degraded", {})
        return {n: three[n]["judge_target"] - degraded[n]["judge_target"] for n in three if n in degraded}

    @cached_property
    def surplus(self) -> dict[int, float]:
        """How much nearer to the first reference the restoration is than the truth, per picture."""
        return {n: row["surplus"] for n, row in self.answers.get("three", {}).items() if row["surplus"] is not None}


RESTORED = (("without", "restored without"), ("three", "restored with references"))
ESTIMATES = (("without", "without, sample"), ("without_mean", "without, mean estimate"), ("three", "with, sample"),
             ("three_mean", "with, mean estimate"))


def grid(gallery: Gallery, numbers: Sequence[int], columns: Sequence[tuple[str, str]] = RESTORED,
         show_references: bool = True) -> str:
    """One row per picture number: degraded, references, the given columns, the truth."""
    columns = [(slug, name) for slug, name in columns if slug in gallery.answers]
    wide = len(columns) + 2 + show_references
    names = ["degraded input", *(["references"] if show_references else []), *(name for _, name in columns), "truth"]
    head = '<div class="case names"><div></div>' + "".join(f"<div>{name}</div>" for name in names) + "</div>"
    rows = {row.number: row for row in gallery.protocol.rows}
    body = "".join(_case(gallery, rows[n], columns, show_references) for n in numbers if n in rows)
    return f'<div style="--columns:{wide}">{head}{body}</div>'


def first(gallery: Gallery, count: int) -> list[int]:
    """The protocol's first pictures: each of another person, drawn before anything was restored."""
    return [row.number for row in gallery.protocol.rows[:count]]


def least_gained(gallery: Gallery, count: int) -> list[int]:
    """Pictures in which likeness gained least."""
    return sorted(gallery.gains, key=lambda n: gallery.gains[n])[:count]


def most_copied(gallery: Gallery, count: int) -> list[int]:
    """Pictures that are nearer to the reference than the truth is, the worst first."""
    return [n for n in sorted(gallery.surplus, key=lambda n: -gallery.surplus[n]) if gallery.surplus[n] > 0][:count]


def _case(gallery: Gallery, row: ProtocolRow, columns: Sequence[tuple[str, str]], show_references: bool) -> str:
    truth = encode_jpeg(face_picture(gallery.dataset, row.target, gallery.protocol.size).image, 92)
    plan = Plan.from_json(row.plan)
    gaps = "".join(f"<li>{escape(reason.partition(',')[0])}</li>" for reason in row.reasons)
    cells = [f'<div class="who"><b>picture {row.number}</b>{escape(row.identity)}<ul>{gaps}</ul></div>',
             _answer(gallery, "degraded", row.number, explain(plan))]
    if show_references:
        pictures = [face_picture(gallery.dataset, face_id, gallery.protocol.size).image for face_id in row.references]
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
    copied = ' <span class="copy">copy</span>' if row["copied"] and row["references_shown"] else ""
    return (f'<div>{_image(gallery.image(slug, number), text)}<div class="under"><b>{row["judge_target"]:.2f}</b> · '
            f'{row["psnr"]:.1f} dB{copied}</div></div>')


def _image(content: bytes, text: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(text, True)}" title="{escape(text, True)}" src="data:image/jpeg;base64,{data}">'
