"""Judge restorations: answer every case of a frozen protocol in every condition, measure, and write rows and tables.

In: a checkpoint folder, folders that other programs wrote, or both; a dataset version and a protocol (or the arguments
to freeze one), or a published folder. Out, in one folder:

    protocol.json                  what is judged (evaluation.protocol)
    conditions/{slug}.parquet      one row per picture: measures, and the picture as JPEG; a condition that stands
                                   here, made from the same protocol, checkpoint and settings, is not run again
    rows.parquet                   all measures, without pixels
    table.json, table.csv          means with 95 % intervals (evaluation.tables)
    table.tex, table.md            the same for a paper and for a page of text (evaluation.exports)

Pictures are read, answered, measured and written a batch at a time, once for every condition: memory does not grow with
the pictures of a protocol, only by the judges' vectors and the measures of each row.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from anchorface.evaluation.answers import WITHOUT_CHECKPOINT, Answerer
from anchorface.evaluation.cases import cases
from anchorface.evaluation.conditions import CONDITIONS, Condition
from anchorface.evaluation.exports import write_exports
from anchorface.evaluation.judged import Judged
from anchorface.evaluation.measured import Judge, Measurer
from anchorface.evaluation.measures import MEASURES, Measure, for_judge
from anchorface.evaluation.metrics import open_metrics
from anchorface.evaluation.metrics.landmarks import DETECTOR
from anchorface.evaluation.outputs import Outputs
from anchorface.evaluation.protocol import Protocol, check_judge, freeze, weight_hash
from anchorface.evaluation.protocols import freeze_folder
from anchorface.evaluation.set_values import set_values
from anchorface.evaluation.sources import Source
from anchorface.evaluation.stored import done, measures_of
from anchorface.evaluation.strata import strata_of
from anchorface.evaluation.tables import table, write_tables
from anchorface.evaluation.two_sided import two_sided
from anchorface.faces.detect import Detector
from anchorface.faces.embed import embedder
from anchorface.records import ConfigurationError, Dropped, WeightsError, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.records.table_stream import write_stream
from anchorface.records.uses import note_dataset
from anchorface.restoration import Restorer, SamplerSettings
from anchorface.restoration.erased import heed_erasures

FORMAT = 2
BATCH = 16
"""Cases at once where no checkpoint is judged."""
COUNT = 64
"""Pictures of a protocol that is frozen without a number."""
OWN = "own"
"""The protocol that is frozen from a dataset version."""


def evaluate(checkpoint: str | None, dataset_uri: str, out: str, *, protocol: Protocol | None = None,
             judge: str = "judge_small", judges: Sequence[str] = (), metrics: Sequence[str] = (),
             outputs: Mapping[str, str] | None = None, published: str = OWN, landmarks: str = DETECTOR,
             size: int | None = None, split: str = "test", profile: str = "refldm-severe", count: int | None = None,
             seed: int = 0, settings: SamplerSettings | None = None, restorer: Restorer | None = None,
             conditions: Sequence[Condition] = CONDITIONS, device: str = "cpu", erased: str = "warn",
             progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run what is not yet done and write the tables.

    Args:
        checkpoint: a checkpoint folder; None: the outputs of other programs alone are judged.
        dataset_uri: a dataset version; or a folder in the layout of a published protocol. out: folder or URI for the
            results.
        protocol: a frozen protocol; None: freeze one from judge, split, profile, count and seed.
        judge: the judge of the main columns. judges: further ones, each with columns of its own.
        metrics: names of evaluation.metrics beside PSNR and SSIM. outputs: name to folder of other programs' pictures.
        published: a name of evaluation.protocols; `own` with a dataset version freezes one of it.
        landmarks: how faces are found in a published folder: a detector's weight name, or `aligned`.
        size: px of the pictures; None: the checkpoint's, or 512 without one. count: pictures at most; None: 64 of a
            dataset version, all of a published folder.
        settings: the sampler's; each condition sets its own fidelity.
        restorer: an open restorer of that checkpoint, to spare loading it again.
        erased: what is done where people whom the checkpoint saw were erased since: `warn` or `refuse`.
        progress: takes one line of text at a time.

    Returns:
        The content of table.json.

    Raises:
        ConfigurationError: a judge took part in the checkpoint's training, the sizes do not fit, or nothing is to be
            judged.
        CheckpointError, DataError: see Restorer, Protocol, freeze_folder and Outputs. ConsentError: see `erased`.
    """
    say = progress or (lambda line: None)
    if checkpoint is None and not outputs:
        raise ConfigurationError("nothing to judge: give a checkpoint, or outputs of other programs as NAME=FOLDER")
    if checkpoint is not None:
        heed_erasures(checkpoint, erased, say)
    storage.require_writable(storage.join(out, "protocol.json"))
    if checkpoint is not None:
        restorer = restorer or Restorer(checkpoint, device=device)
    settings = settings or SamplerSettings()
    size = size or (protocol.size if protocol else restorer.size if restorer else 512)
    dropped: tuple[Dropped, ...] = ()
    source: Source
    if protocol is not None:
        source = DatasetVersion.open(dataset_uri)
    else:
        source, protocol, dropped = frozen(
            dataset_uri, judge=judge, size=size, published=published, landmarks=landmarks, split=split, profile=profile,
            count=count, seed=seed, progress=say)
    names = tuple(dict.fromkeys((protocol.judge, *judges)))
    if restorer is not None:
        for name in names:
            for embedder_name in restorer.description.embedders:
                check_judge(name, embedder_name)
        if protocol.size != restorer.size:
            raise ConfigurationError(f"protocol of {protocol.size} px, but checkpoint {checkpoint} restores "
                                     f"{restorer.size} px; freeze a protocol of that size")
    folders = {name: Outputs.open(uri, (row.name for row in protocol.rows))
               for name, uri in (outputs or {}).items()}
    for name, folder in folders.items():
        if folder.extra:
            say(f"{name}: {len(folder.extra)} files answer no case, among them {folder.extra[0]}")
    storage.write_atomic(storage.join(out, "protocol.json"), protocol.to_json().encode())
    if isinstance(source, DatasetVersion):
        note_dataset(source.uri, "evaluation", out, say, manifest=protocol.manifest_id)
    measurer, notes = _measurer(source, protocol, names, metrics, bool(folders), device)
    for note in notes:
        say(note)
    run = [c for c in conditions if restorer is not None or c.kind in WITHOUT_CHECKPOINT]
    run += [Condition(slug=name, label=name, kind="outputs", references=max(len(r.references) for r in protocol.rows))
            for name in folders]
    work = _Work(source=source, protocol=protocol, measurer=measurer, batch=restorer.batch if restorer else BATCH,
                 answerer=Answerer(protocol=protocol, restorer=restorer, settings=settings, outputs=folders))
    rows = _rows(run, work, out, say)
    storage.write_table(storage.join(out, "rows.parquet"), rows)
    described = [asdict(c) for c in run]
    sets, measures = set_values(out, [c.slug for c in run], measurer.metrics, seed=protocol.seed)
    columns = _columns(names, measures)
    result = table(rows, described, measures=columns, seed=protocol.seed, of_sets=sets)
    result |= two_sided(rows, described, strata_of(source, protocol, rows), seed=protocol.seed)
    first = measurer.judges[protocol.judge].judged
    apart = restorer.description.loss_embedder if restorer else None
    result |= {
        "scale": first.scale([row.identity for row in protocol.rows]), "protocol": protocol.name,
        "protocol_id": protocol.protocol_id, "manifest_id": protocol.manifest_id, "split": protocol.split,
        "profile": protocol.profile, "size": protocol.size, "seed": protocol.seed,
        "judge": {"name": protocol.judge, "sha256": protocol.judge_sha256},
        "judges": [{"name": name, "sha256": weight_hash(name)} for name in names],
        "embedder": {"name": restorer.embedder_name, "sha256": weight_hash(restorer.embedder_name)} if restorer
        else {"name": "none: no checkpoint was judged", "sha256": ""},
        "loss_embedder": asdict(apart) if apart else None,
        "checkpoint": restorer.summary() if restorer else {}, "settings": asdict(settings) if restorer else {},
        "outputs": {name: {"folder": folder.uri, "extra": len(folder.extra)}
                    for name, folder in folders.items()},
        "notes": notes, "dropped": [row.to_row() for row in dropped],
    }
    write_tables(out, result)
    write_exports(out, result)
    return result


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What every condition is run with."""

    source: Source
    protocol: Protocol
    answerer: Answerer
    measurer: Measurer
    batch: int

    def tables(self, condition: Condition, say: Callable[[str], None]) -> Iterator[pa.Table]:
        """Answer and measure every row, a batch at a time: no more pictures than its are in memory."""
        count = len(self.protocol.rows)
        for start in range(0, count, self.batch):
            stop = min(start + self.batch, count)
            part = list(cases(self.source, self.protocol, start, stop))
            yield self.measurer.rows(condition, part, self.answerer.answers(condition, part))
            say(f"    {stop}/{count}")

    def made_from(self, condition: Condition) -> str:
        """A hash of everything that a condition's rows follow from."""
        of: dict[str, Any] = {"format": FORMAT, "protocol": self.protocol.protocol_id, "condition": asdict(condition)}
        restorer = self.answerer.restorer
        if condition.kind in ("restored", "autoencoder") and restorer is not None:
            of |= {"checkpoint": restorer.checkpoint_id, "settings": asdict(self.answerer.settings)}
        if condition.kind == "outputs":
            of |= {"outputs": self.answerer.outputs[condition.slug].fingerprint(),
                   "faces": self.measurer.detector is not None}
        if further := list(self.measurer.judges)[1:]:
            of |= {"judges": [(name, weight_hash(name)) for name in further]}
        if ready := [(o.metric.key, o.measure.source) for o in self.measurer.metrics if o.values]:
            of |= {"metrics": ready}
        return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def frozen(uri: str, *, judge: str, size: int, published: str = OWN, landmarks: str = DETECTOR, split: str = "test",
           profile: str = "refldm-severe", count: int | None = None, seed: int = 0,
           progress: Callable[[str], None] | None = None) -> tuple[Source, Protocol, tuple[Dropped, ...]]:
    """A protocol, frozen from a dataset version or from a published folder, with its source and what of that cannot be
    judged. Arguments and errors as in `evaluate`.
    """
    if published == OWN and not storage.exists(storage.join(uri, "gt")):
        dataset = DatasetVersion.open(uri)
        return dataset, freeze(dataset, judge=judge, split=split, profile=profile, size=size, count=count or COUNT,
                               seed=seed), ()
    protocol, folder, dropped = freeze_folder(published, uri, judge=judge, size=size, count=count, seed=seed,
                                              landmarks=landmarks, progress=progress)
    if progress is not None:
        first = f", the first: {dropped[0].uri}: {dropped[0].cause}" if dropped else ""
        progress(f"{published}: {len(protocol.rows)} cases of {len({row.identity for row in protocol.rows})} persons; "
                 f"{len(dropped)} files cannot be used{first}")
    return folder, protocol, dropped


def _measurer(source: Source, protocol: Protocol, judges: Sequence[str], metrics: Sequence[str], outputs: bool,
              device: str) -> tuple[Measurer, list[str]]:
    """The judges and metrics, opened, and what a reader must know of them."""
    opened = open_metrics(metrics, protocol.size, "cpu" if device == "auto" else device)
    notes = [f"{o.measure.label}: no numbers: {o.measure.absent}" for o in opened if o.measure.absent]
    notes += [f"{o.measure.label}: not for commercial use: {o.metric.licence}" for o in opened
              if "oncommercial" in o.metric.licence]
    detector = None
    if outputs:
        try:
            detector = Detector(DETECTOR)
        except WeightsError as error:
            notes.append(f"outputs are not looked through for faces: {str(error).splitlines()[0]}")
    networks = {name: embedder(name) for name in judges}
    return Measurer(judges={name: Judge(network=network, judged=Judged.of(source, protocol, network))
                            for name, network in networks.items()}, metrics=opened, detector=detector), notes


def _columns(judges: Sequence[str], measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """All columns of the table, each with who computed it."""
    return (*for_judge(judges[0], weight_hash(judges[0]), MEASURES),
            *(m for name in judges[1:] for m in for_judge(name, weight_hash(name), MEASURES, further=True)), *measures)


def _rows(conditions: Sequence[Condition], work: _Work, out: str, say: Callable[[str], None]) -> pa.Table:
    """Every condition's measures; what is done stays."""
    tables = []
    for number, condition in enumerate(conditions, start=1):
        uri = storage.join(out, "conditions", f"{condition.slug}.parquet")
        made_from = work.made_from(condition)
        rows = done(uri, made_from)
        if rows is None:
            say(f"[{number}/{len(conditions)}] {condition.label}: {len(work.protocol.rows)} pictures")
            schema = work.measurer.schema(condition).with_metadata({"made_from": made_from})
            write_stream(uri, schema, work.tables(condition, say))
            rows = measures_of(uri).replace_schema_metadata(None)
        else:
            say(f"[{number}/{len(conditions)}] {condition.label}: done before")
        tables.append(rows)
    return pa.concat_tables(tables, promote_options="default")
