"""Judge a checkpoint: run every condition of a frozen protocol, measure, and write rows and tables.

In: a checkpoint folder, a dataset version, a protocol (or the arguments to freeze one). Out, in one folder:

    protocol.json                  what is judged (evaluation.protocol)
    conditions/{slug}.parquet      one row per picture: measures, and the picture as JPEG; a condition that stands
                                   here, made from the same protocol, checkpoint and settings, is not run again
    rows.parquet                   all measures, without pixels
    table.json, table.csv          means with 95 % intervals (evaluation.tables)

Pictures are read, answered, measured and written `restorer.batch` rows at a time, once for every condition: memory
does not grow with the pictures of a protocol, only by the judge's vectors and the measures of each row.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.cases import Case, FacePicture, cases
from anchorface.evaluation.conditions import CONDITIONS, Condition
from anchorface.evaluation.judged import Judged, embed
from anchorface.evaluation.metrics import psnr, ssim
from anchorface.evaluation.protocol import Protocol, check_judge, freeze, weight_hash
from anchorface.evaluation.tables import table, write_tables
from anchorface.faces.embed import Embedder, embedder
from anchorface.faces.images import encode_jpeg
from anchorface.faces.likeness import judge_crop, likeness
from anchorface.records import ConfigurationError, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.records.table_stream import write_stream
from anchorface.restoration import Reference, Restorer, SamplerSettings
from anchorface.restoration.erased import heed_erasures

FORMAT = 2


def evaluate(checkpoint: str, dataset_uri: str, out: str, *, protocol: Protocol | None = None,
             judge: str = "judge_small", split: str = "test", profile: str = "refldm-severe", count: int = 64,
             seed: int = 0, settings: SamplerSettings | None = None, restorer: Restorer | None = None,
             conditions: Sequence[Condition] = CONDITIONS, device: str = "cpu", erased: str = "warn",
             progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run what is not yet done and write the tables.

    Args:
        checkpoint: a checkpoint folder. dataset_uri: a dataset version. out: folder or URI for the results.
        protocol: a frozen protocol; None: freeze one from judge, split, profile, count and seed.
        settings: the sampler's; each condition sets its own fidelity.
        restorer: an open restorer of that checkpoint, to spare loading it again.
        erased: what is done where people whom the checkpoint saw were erased since: `warn` or `refuse`.
        progress: takes one line of text at a time.

    Returns:
        The content of table.json.

    Raises:
        ConfigurationError: the judge is the checkpoint's own embedder, or the sizes do not fit.
        CheckpointError, DataError: see Restorer and Protocol. ConsentError: see `erased`.
    """
    say = progress or (lambda line: None)
    heed_erasures(checkpoint, erased, say)
    settings = settings or SamplerSettings()
    dataset = DatasetVersion.open(dataset_uri)
    restorer = restorer or Restorer(checkpoint, device=device)
    if protocol is None:
        protocol = freeze(dataset, judge=judge, split=split, profile=profile, size=restorer.size, count=count,
                          seed=seed)
    check_judge(protocol.judge, restorer.embedder_name)
    if protocol.size != restorer.size:
        raise ConfigurationError(f"protocol of {protocol.size} px, but checkpoint {checkpoint} restores "
                                 f"{restorer.size} px; freeze a protocol of that size")
    storage.write_atomic(storage.join(out, "protocol.json"), protocol.to_json().encode())
    network = embedder(protocol.judge)
    judged = Judged.of(dataset, protocol, network)
    work = _Work(dataset=dataset, protocol=protocol, restorer=restorer, settings=settings, network=network,
                 judged=judged)
    tables = []
    for number, condition in enumerate(conditions, start=1):
        uri = storage.join(out, "conditions", f"{condition.slug}.parquet")
        made_from = _fingerprint(protocol, restorer, settings, condition)
        rows = _done(uri, made_from)
        if rows is None:
            say(f"[{number}/{len(conditions)}] {condition.label}: {len(protocol.rows)} pictures")
            write_stream(uri, ROW_SCHEMA.with_metadata({"made_from": made_from}), _run(condition, work, say))
            rows = storage.read_table(uri, MEASURED).replace_schema_metadata(None)
        else:
            say(f"[{number}/{len(conditions)}] {condition.label}: done before")
        tables.append(rows)
    rows = pa.concat_tables(tables)
    storage.write_table(storage.join(out, "rows.parquet"), rows)
    result = table(rows, [asdict(c) for c in conditions], seed=protocol.seed)
    result |= {
        "scale": judged.scale([row.identity for row in protocol.rows]),
        "protocol_id": protocol.protocol_id, "manifest_id": protocol.manifest_id, "split": protocol.split,
        "profile": protocol.profile, "size": protocol.size, "seed": protocol.seed,
        "judge": {"name": protocol.judge, "sha256": protocol.judge_sha256},
        "embedder": {"name": restorer.embedder_name, "sha256": weight_hash(restorer.embedder_name)},
        "checkpoint": restorer.summary(), "settings": asdict(settings),
    }
    write_tables(out, result)
    return result


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What every condition is run with."""

    dataset: DatasetVersion
    protocol: Protocol
    restorer: Restorer
    settings: SamplerSettings
    network: Embedder
    judged: Judged


def _run(condition: Condition, work: _Work, say: Callable[[str], None]) -> Iterator[pa.Table]:
    """Answer and measure every row, `restorer.batch` rows at a time: no more pictures than theirs are in memory."""
    count = len(work.protocol.rows)
    for start in range(0, count, work.restorer.batch):
        stop = min(start + work.restorer.batch, count)
        yield _chunk(condition, list(cases(work.dataset, work.protocol, start, stop)), work)
        say(f"    {stop}/{count}")


def _chunk(condition: Condition, part: Sequence[Case], work: _Work) -> pa.Table:
    """Rows of ROW_SCHEMA for a few cases."""
    outputs = _outputs(condition, part, work)
    targets = np.stack([c.target.image for c in part])
    units = embed(work.network, [judge_crop(o, c.target.landmarks) for o, c in zip(outputs, part, strict=True)])
    ratios, similarities = psnr(outputs, targets), ssim(outputs, targets)
    rows: list[dict[str, Any]] = []
    for n, case in enumerate(part):
        row, judged = case.row, work.judged
        seen = likeness(units[n], judged.targets[row.number], judged.references[row.number])
        stranger = judged.strangers[row.number]
        rows.append({
            "condition": condition.slug, "number": row.number, "identity": row.identity, "target": row.target,
            "references_shown": min(condition.references, len(row.references)),
            "psnr": float(ratios[n]), "ssim": float(similarities[n]), "judge_target": seen.target,
            "judge_first": seen.first, "judge_mean": seen.mean, "truth_first": seen.truth_first,
            "truth_mean": seen.truth_mean, "surplus": seen.surplus, "copied": seen.copied,
            "copied_any": seen.copied_any,
            "judge_stranger": float(stranger[0] @ units[n]) if len(stranger) else None,
            "image": encode_jpeg(outputs[n], 92),
        })
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def _outputs(condition: Condition, part: Sequence[Case], work: _Work) -> np.ndarray:
    """uint8 [n, S, S, 3]: the condition's answer to each case."""
    if condition.kind == "degraded":
        return np.stack([c.degraded for c in part])
    targets = np.stack([c.target.image for c in part])
    if condition.kind == "truth":
        return targets
    if condition.kind == "autoencoder":
        return work.restorer.reconstruct(targets)
    own_network = work.protocol.embedder == work.restorer.embedder_name
    return work.restorer.restore_aligned(
        np.stack([c.degraded for c in part]),
        [[_reference(picture, own_network) for picture in _shown(condition, c, work.protocol)] for c in part],
        landmarks=np.stack([c.target.landmarks for c in part]), seeds=[c.row.seed for c in part],
        settings=replace(work.settings, fidelity=condition.fidelity))


def _shown(condition: Condition, case: Case, protocol: Protocol) -> tuple[FacePicture, ...]:
    """The references that a condition shows with a case: a stranger's are read when they are needed."""
    if condition.whose == "own":
        return case.references(condition.references)
    other = protocol.strangers[case.row.number]
    return () if other is None else replace(case, row=protocol.rows[other]).references(condition.references)


def _reference(picture: FacePicture, own_network: bool) -> Reference:
    """A reference for the restorer; the face table's embedding serves only if the restorer's own network made it."""
    return Reference(image=picture.image, landmarks=picture.landmarks,
                     raw_embedding=picture.raw_embedding if own_network else None)


ROW_SCHEMA = pa.schema([
    ("condition", pa.string()), ("number", pa.int32()), ("identity", pa.string()), ("target", pa.string()),
    ("references_shown", pa.int32()), ("psnr", pa.float64()), ("ssim", pa.float64()),
    ("judge_target", pa.float64()), ("judge_first", pa.float64()), ("judge_mean", pa.float64()),
    ("truth_first", pa.float64()), ("truth_mean", pa.float64()), ("surplus", pa.float64()), ("copied", pa.bool_()),
    ("copied_any", pa.bool_()), ("judge_stranger", pa.float64()), ("image", pa.binary()),
])
MEASURED = tuple(name for name in ROW_SCHEMA.names if name != "image")


def _fingerprint(protocol: Protocol, restorer: Restorer, settings: SamplerSettings, condition: Condition) -> str:
    of = {"format": FORMAT, "protocol": protocol.protocol_id, "condition": asdict(condition)}
    if condition.kind in ("restored", "autoencoder"):
        of |= {"checkpoint": restorer.checkpoint_id, "settings": asdict(settings)}
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _done(uri: str, made_from: str) -> pa.Table | None:
    """A finished condition's rows without their pictures; None where it is to be run."""
    if not storage.exists(uri):
        return None
    rows = storage.read_table(uri, MEASURED)
    done = (rows.schema.metadata or {}).get(b"made_from") == made_from.encode()
    return rows.replace_schema_metadata(None) if done else None
