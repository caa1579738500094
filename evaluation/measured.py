"""Answers as rows: who the judges see in each picture, and what the metrics say of it.

In: a few cases and a condition's answers. Out: an Arrow table, one row a case. A case without a picture keeps its row,
with the cause; one without a face keeps what looks at pixels alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from anchorface.evaluation.cases import Case
from anchorface.evaluation.conditions import Condition
from anchorface.evaluation.judged import Judged, embed
from anchorface.evaluation.measures import OF_ANOTHER_JUDGE
from anchorface.evaluation.metrics import Opened, psnr, ssim
from anchorface.evaluation.metrics.catalogue import Features, Values
from anchorface.evaluation.metrics.landmarks import found
from anchorface.evaluation.outputs import Answer
from anchorface.faces.detect import Detector
from anchorface.faces.embed import Embedder
from anchorface.faces.images import encode_jpeg
from anchorface.faces.likeness import judge_crop, likeness

ROW_SCHEMA = pa.schema([
    ("condition", pa.string()), ("number", pa.int32()), ("identity", pa.string()), ("target", pa.string()),
    ("references_shown", pa.int32()), ("psnr", pa.float64()), ("ssim", pa.float64()),
    ("judge_target", pa.float64()), ("judge_first", pa.float64()), ("judge_mean", pa.float64()),
    ("truth_first", pa.float64()), ("truth_mean", pa.float64()), ("surplus", pa.float64()), ("copied", pa.bool_()),
    ("copied_any", pa.bool_()), ("judge_stranger", pa.float64()), ("image", pa.binary()),
])
"""Every row's columns, in every file that was ever written."""
IMAGE, FEATURES = "image", "features"
NO_FACE = "no face"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A judge and what it says of the protocol's clean pictures."""

    network: Embedder
    judged: Judged


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Measures answers. judges: by name, the protocol's own first. detector: looks whether another program's picture
    shows a face; None: not looked for.
    """

    judges: Mapping[str, Judge]
    metrics: Sequence[Opened] = ()
    detector: Detector | None = None

    def schema(self, condition: Condition) -> pa.Schema:
        """The columns of a condition's rows."""
        more = [(column(key, name), pa.bool_() if key == "copied" else pa.float64())
                for name in list(self.judges)[1:] for key in OF_ANOTHER_JUDGE]
        more += [(o.metric.key, pa.float64()) for o in self.metrics if o.values and not o.metric.of_sets]
        if self.features is not None:
            more.append((FEATURES, pa.list_(pa.float32())))
        if condition.kind == "outputs":
            more.append(("cause", pa.string()))
        return pa.schema([*ROW_SCHEMA, *more])

    @property
    def features(self) -> Features | None:
        """The network whose features compare sets of pictures, if a metric of that kind is ready."""
        ready = [o.values for o in self.metrics if o.values and o.metric.of_sets]
        return cast(Features, ready[0]) if ready else None

    def rows(self, condition: Condition, part: Sequence[Case], answers: Sequence[Answer]) -> pa.Table:
        """Rows of `schema(condition)` for a few cases."""
        there = [n for n, answer in enumerate(answers) if answer.image is not None]
        columns = self._of_pixels(part, answers, there)
        causes = [answer.cause for answer in answers]
        faces = there
        if condition.kind == "outputs" and self.detector is not None and there:
            seen = found(self.detector, np.stack([cast(np.ndarray, answers[n].image) for n in there]))
            faces = [n for n, points in zip(there, seen, strict=True) if points is not None]
            for n in set(there) - set(faces):
                causes[n] = NO_FACE
        columns |= self._of_persons(part, answers, faces)
        rows: list[dict[str, Any]] = []
        for n, case in enumerate(part):
            image = answers[n].image
            rows.append({
                "condition": condition.slug, "number": case.row.number, "identity": case.row.identity,
                "target": case.row.target, "references_shown": min(condition.references, len(case.row.references)),
                IMAGE: None if image is None else encode_jpeg(image, 92), "cause": causes[n] or None,
                **{key: values.get(n) for key, values in columns.items()},
            })
        return pa.Table.from_pylist(rows, schema=self.schema(condition))

    def _of_pixels(self, part: Sequence[Case], answers: Sequence[Answer], there: Sequence[int]
                   ) -> dict[str, dict[int, Any]]:
        """What each metric says of the pictures that are there: column to case to value."""
        if not there:
            return {}
        images = np.stack([cast(np.ndarray, answers[n].image) for n in there])
        targets = np.stack([part[n].target.image for n in there])
        found = {"psnr": psnr(images, targets), "ssim": ssim(images, targets)}
        for opened in self.metrics:
            if opened.values and not opened.metric.of_sets:
                found[opened.metric.key] = cast(Values, opened.values)(images, targets)
        columns: dict[str, dict[int, Any]] = {
            key: {n: float(value) for n, value in zip(there, values, strict=True) if np.isfinite(value)}
            for key, values in found.items()}
        if self.features is not None:
            columns[FEATURES] = dict(zip(there, self.features(images), strict=True))
        return columns

    def _of_persons(self, part: Sequence[Case], answers: Sequence[Answer], faces: Sequence[int]
                    ) -> dict[str, dict[int, Any]]:
        """What each judge says: column to case to value."""
        columns: dict[str, dict[int, Any]] = {}
        for place, (name, judge) in enumerate(self.judges.items()):
            crops = [judge_crop(cast(np.ndarray, answers[n].image), part[n].target.landmarks) for n in faces]
            for n, unit in zip(faces, embed(judge.network, crops), strict=True):
                number = part[n].row.number
                seen = likeness(unit, judge.judged.targets[number], judge.judged.references[number])
                stranger = judge.judged.strangers[number]
                said = {
                    "judge_target": seen.target, "judge_first": seen.first, "judge_mean": seen.mean,
                    "truth_first": seen.truth_first, "truth_mean": seen.truth_mean, "surplus": seen.surplus,
                    "copied": seen.copied, "copied_any": seen.copied_any,
                    "judge_stranger": float(stranger[0] @ unit) if len(stranger) else None,
                }
                for key, value in said.items():
                    if place == 0 or key in OF_ANOTHER_JUDGE:
                        columns.setdefault(column(key, name if place else ""), {})[n] = value
        return columns


def column(key: str, judge: str) -> str:
    """The column of a further judge's measure; the protocol's own judge has the bare ones."""
    return f"{key}:{judge}" if judge else key
