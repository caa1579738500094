"""Judge restored films: every output against its true film, with rows, intervals over films, and tables.

In: a folder of true films (evaluation.films.folder), and folders of outputs by name, whoever wrote them. Out, in one
folder:

    conditions/{slug}.parquet      one row per film: measures, likeness over time, frames to look at; what stands here,
                                   made from the same files and settings, is not measured again
    rows.parquet                   all rows, without frames
    table.json, .csv, .md, .tex    means with 95 % intervals, films drawn with replacement
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import combinations
from typing import Any

import cv2
import pyarrow as pa

from anchorface.evaluation.exports import write_exports
from anchorface.evaluation.films.folder import FilmCase, film_cases
from anchorface.evaluation.films.known import Eyes, Known, look
from anchorface.evaluation.films.measured import Measurer, rows_table, schema
from anchorface.evaluation.measures import Measure
from anchorface.evaluation.metrics import Opened, open_metrics
from anchorface.evaluation.metrics.films import DIS
from anchorface.evaluation.metrics.landmarks import DETECTOR
from anchorface.evaluation.outputs import Outputs
from anchorface.evaluation.protocol import weight_hash
from anchorface.evaluation.stored import done, measures_of
from anchorface.evaluation.tables import table, write_tables
from anchorface.evaluation.two_sided import cases_of, difference
from anchorface.faces.embed import embedder
from anchorface.records import ConfigurationError, DataError, Dropped, PhotoError, storage
from anchorface.records.kinds import FILMS
from anchorface.records.table_stream import write_stream

FORMAT = 1
NAME = "films"
"""The protocol, as a command names it."""
CLIP = 24
"""Frames from the start of one clip to the next, if nothing else is said: the longest clips of IP-FVR."""
SIDES = ("judge_target", "vidd", "jump", "warping", "tof", "flicker")
"""What two outputs are compared in, film by film."""

MEASURES: tuple[Measure, ...] = (
    Measure(key="judge_target", label="likeness to the truth", digits=3,
            meaning="mean over frames of the judge's cosine with the true film's same frame"),
    Measure(key="judge_mean", label="likeness to the references", digits=3, better="near the truth's own",
            meaning="mean over frames and references of the judge's cosine"),
    Measure(key="surplus", label="surplus", digits=3, better="near 0",
            meaning="likeness to the references minus the truth's own"),
    Measure(key="drift_slope", label="drift, slope", digits=3, unit="per s", better="near 0",
            meaning="by how much the likeness to the truth changes in a second, within clips"),
    Measure(key="drift_spread", label="drift, spread", digits=4, better="lower",
            meaning="how far likeness lies off that line, root mean square"),
    Measure(key="jump", label="jump", digits=4, better="near the truth's own",
            meaning="identity distance of neighbours across borders of clips less that inside clips"),
    Measure(key="vidd", label="VIDD", digits=4, better="near the truth's own",
            meaning="identity distance of neighbouring frames"),
    Measure(key="warping", label="warping error", digits=3, scale=1000, unit="1e-3", better="near the truth's own",
            meaning="mean square difference of a frame and the next one brought back along the true flow"),
    Measure(key="tof", label="tOF", digits=3, unit="px", better="lower",
            meaning="distance of the output's estimated flow from the truth's"),
    Measure(key="flicker", label="flicker", digits=2, unit="levels", better="lower",
            meaning="how differently output and truth change from frame to frame"),
    Measure(key="akd", label="AKD", digits=2, unit="%", better="lower",
            meaning="distance of five landmarks from the truth's, of the distance between its eyes"),
    Measure(key="faces", label="frames with a face", digits=1, scale=100, unit="%",
            meaning="share of the truth's frames with a face in which the output shows one too; likeness is of those"),
    Measure(key="psnr", label="PSNR", digits=2, unit="dB", meaning="fidelity of pixels to the truth"),
    Measure(key="ssim", label="SSIM", digits=3, meaning="fidelity of local structure to the truth"),
)
"""The columns of every table of films."""


def evaluate_films(folder: str, out: str, *, outputs: Mapping[str, str], judge: str = "judge_small",
                   metrics: Sequence[str] = (), clip: int = CLIP, landmarks: str = DETECTOR, seed: int = 0,
                   device: str = "cpu", progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure what is not yet measured and write the tables.

    Args:
        folder: of true films. out: folder or URI for the results. outputs: name to folder of films, each named as the
            true one.
        judge: weight name of the network that says who is seen; it should have had no part in what is judged.
        metrics: names of evaluation.metrics that look at single frames, beside PSNR and SSIM.
        clip: frames from the start of one clip to the next, for drift and jumps.
        landmarks: how faces are found where truth/ does not say: a detector's weight name, or `aligned`.

    Returns:
        The content of table.json.

    Raises:
        ConfigurationError: a clip of fewer than two frames, or metrics that compare sets. DataError: nothing to judge
            by, or two outputs for one film. WeightsError: no such judge here.
    """
    say = progress or (lambda line: None)
    if clip < 2:
        raise ConfigurationError(f"clip {clip}: at least two frames")
    storage.require_writable(storage.join(out, "rows.parquet"))
    cases = film_cases(folder)
    folders = {name: Outputs.open(uri, (case.name for case in cases), FILMS) for name, uri in outputs.items()}
    for name, of in folders.items():
        if of.extra:
            say(f"{name}: {len(of.extra)} files answer no film, among them {of.extra[0]}")
    eyes = Eyes(embedder(judge), landmarks)
    opened, notes = _opened(metrics, eyes, device)
    work = _Work(measurer=Measurer(eyes=eyes, metrics=opened, clip=clip), cases=cases, known=_Known(eyes, say),
                 made_from=[FORMAT, judge, weight_hash(judge), landmarks, weight_hash(landmarks), clip,
                            [o.measure.source for o in opened if o.values], [case.fingerprint() for case in cases]])
    ways = [("truth", "the truth itself", "truth", Outputs.open(storage.join(folder, "gt"), _names(cases), FILMS))]
    if storage.exists(storage.join(folder, "lq")):
        ways.append(("degraded", "degraded input", "degraded",
                     Outputs.open(storage.join(folder, "lq"), _names(cases), FILMS)))
    ways += [(name, name, "outputs", of) for name, of in folders.items()]
    tables = [work.rows(slug, of, storage.join(out, "conditions", f"{slug}.parquet"), say) for slug, _, _, of in ways]
    rows = pa.concat_tables(tables, promote_options="default")
    storage.write_table(storage.join(out, "rows.parquet"), rows)
    conditions = [{"slug": slug, "label": label, "kind": kind, "fidelity": 0.0} for slug, label, kind, _ in ways]
    result = table(rows, conditions, measures=_columns(rows, judge, eyes, opened), seed=seed)
    result |= {
        "differences": _differences(rows, [slug for slug, *_ in ways[1:]], seed),
        "protocol": NAME, "protocol_id": work.protocol_id, "seed": seed, "clip": clip, "landmarks": landmarks,
        "judged": f"{len(cases)} films, clips of {clip} frames; 95 % bootstrap intervals over films.",
        "judge": {"name": judge, "sha256": weight_hash(judge)}, "notes": notes,
        "outputs": {name: {"folder": of.uri, "extra": len(of.extra)} for name, of in folders.items()},
        "dropped": [row for of_film in tables[0]["dropped"].to_pylist() for row in of_film],
    }
    write_tables(out, result)
    write_exports(out, result)
    return result


def _names(cases: Sequence[FilmCase]) -> list[str]:
    return [case.name for case in cases]


def _opened(names: Sequence[str], eyes: Eyes, device: str) -> tuple[tuple[Opened, ...], list[str]]:
    """The metrics of single frames, and what a reader must know; landmarks are always measured, as AKD."""
    opened = tuple(o for o in open_metrics(names, 512, "cpu" if device == "auto" else device)
                   if o.metric.key != "landmarks")
    if sets := [o.metric.key for o in opened if o.metric.of_sets]:
        raise ConfigurationError(f"{', '.join(sets)}: compare sets of pictures, not films")
    notes = [f"{o.measure.label}: no numbers: {o.measure.absent}" for o in opened if o.measure.absent]
    if eyes.absent:
        notes.append(f"frames are not looked through for faces: {eyes.absent}")
    return opened, notes


class _Known:
    """What is known of each true film, looked at when it is first asked for."""

    def __init__(self, eyes: Eyes, say: Callable[[str], None]) -> None:
        self._eyes, self._say = eyes, say
        self._found: dict[str, tuple[Known | str, list[Dropped]]] = {}

    def of(self, case: FilmCase) -> tuple[Known | str, list[Dropped]]:
        """What is known, or the cause why nothing is; and the film or its references that cannot be used."""
        if case.name not in self._found:
            try:
                self._found[case.name] = look(case, self._eyes)
            except (PhotoError, DataError) as error:
                cause = error.cause if isinstance(error, PhotoError) else str(error)
                self._found[case.name] = (f"the truth: {cause}",
                                          [Dropped(stage="films", uri=case.film, row=-1, cause=cause)])
            for row in self._found[case.name][1]:
                self._say(f"{row.uri} is not used: {row.cause}")
        return self._found[case.name]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What every condition is measured with. made_from: everything that rows follow from, outputs aside."""

    measurer: Measurer
    cases: Sequence[FilmCase]
    known: _Known
    made_from: list[Any]

    @property
    def protocol_id(self) -> str:
        """The first 16 hex digits of the hash of films, judge and settings."""
        return _hash(self.made_from)[:16]

    def rows(self, slug: str, outputs: Outputs, uri: str, say: Callable[[str], None]) -> pa.Table:
        """A condition's rows without frames; what is done stays."""
        made_from = _hash([self.made_from, outputs.fingerprint()])
        rows = done(uri, made_from)
        if rows is None:
            say(f"{slug}: {len(self.cases)} films")
            write_stream(uri, schema(self.measurer.metrics).with_metadata({"made_from": made_from}),
                         self._tables(slug, outputs, say))
            rows = measures_of(uri).replace_schema_metadata(None)
        else:
            say(f"{slug}: done before")
        return rows

    def _tables(self, slug: str, outputs: Outputs, say: Callable[[str], None]) -> Iterator[pa.Table]:
        for number, case in enumerate(self.cases):
            known, dropped = self.known.of(case)
            row = {"cause": known} if isinstance(known, str) else self.measurer.row(known, outputs.files.get(case.name))
            named = {"condition": slug, "number": number, "identity": case.name,
                     "dropped": [one.to_row() for one in dropped]}
            yield rows_table([named | row], self.measurer.metrics)
            said = row.get("cause") or f"likeness {row['judge_target']:.3f}"
            say(f"    {case.name}: {said}")


def _hash(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _columns(rows: pa.Table, judge: str, eyes: Eyes, opened: Sequence[Opened]) -> tuple[Measure, ...]:
    """All columns, each with who computed it and, of the warping error, along which flow."""
    judged = f"{judge} {weight_hash(judge)[:16]}"
    pixels, dis = f"torchmetrics {version('torchmetrics')} (Apache-2.0)", f"{DIS} ({cv2.__version__})"
    kinds = {kind for kind in rows["flow"].to_pylist() if kind}
    along = " and ".join(f"{kind} flow{'' if kind == 'exact' else f' of the truth: {dis}'}" for kind in sorted(kinds))
    sources = {"warping": along, "tof": dis, "flicker": "anchorface", "psnr": pixels, "ssim": pixels,
               "akd": eyes.detector_name, "faces": eyes.detector_name}
    found = [replace(m, source=sources.get(m.key, judged), absent=eyes.absent if m.key in ("akd", "faces") else "")
             for m in MEASURES]
    return (*found, *(o.measure for o in opened))


def _differences(rows: pa.Table, slugs: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Mean difference over the same films, for every pair of outputs."""
    return [found for one, other in combinations(slugs, 2) for key in SIDES
            if (found := difference(cases_of(rows, one, key), cases_of(rows, other, key), seed=seed,
                                    named={"from": one, "to": other, "measure": key}))]
