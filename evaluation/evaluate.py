"""Judge a checkpoint: run every condition of a frozen protocol, measure, and write rows and tables.

In: a checkpoint folder, a dataset version, a protocol (or the arguments to freeze one). Out, in one folder:

    protocol.json                  what is judged (evaluation.protocol)
    conditions/{slug}.parquet      one row per picture: measures, and the picture as JPEG; a condition that stands
                                   here, made from the same protocol, checkpoint and settings, is not run again
    rows.parquet                   all measures, without pixels
    table.json, table.csv          means with 95 % intervals (evaluation.tables)

Conditions: the truth itself, the degraded input, what the autoencoder alone keeps of the truth, and the restorer
without references, with one and with all (up to three), each as a sample and as the one-step mean estimate; and with
another person's references, which should not make the picture that person's.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from anchorface.evaluation.cases import Case, FacePicture, cases, judge_crop
from anchorface.evaluation.metrics import likeness, psnr, ssim
from anchorface.evaluation.protocol import Protocol, check_judge, freeze, weight_hash
from anchorface.evaluation.tables import table, write_tables
from anchorface.faces.embed import Embedder, embedder
from anchorface.faces.images import encode_jpeg
from anchorface.records import ConfigurationError, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Reference, Restorer, SamplerSettings

FORMAT = 2
WHOSE = ("own", "stranger")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to answer a degraded face.

    kind: `truth`, `degraded`, `autoencoder` or `restored`. references: how many are shown at most. whose: the person's
    `own`, or those of a `stranger`: the next picture's in the protocol that shows another person.
    fidelity: 0 = sample, 1 = mean estimate.
    """

    slug: str
    label: str
    kind: str
    references: int = 0
    fidelity: float = 0.0
    whose: str = "own"

    def __post_init__(self) -> None:
        if self.whose not in WHOSE:
            raise ConfigurationError(f"condition {self.slug}: references of {self.whose!r}; known: {', '.join(WHOSE)}")


CONDITIONS: tuple[Condition, ...] = (
    Condition(slug="truth", label="the truth itself", kind="truth"),
    Condition(slug="autoencoder", label="the truth through the autoencoder", kind="autoencoder"),
    Condition(slug="degraded", label="degraded input", kind="degraded"),
    Condition(slug="without", label="without references", kind="restored"),
    Condition(slug="without_mean", label="without references, mean estimate", kind="restored", fidelity=1.0),
    Condition(slug="one", label="with one reference", kind="restored", references=1),
    Condition(slug="one_mean", label="with one reference, mean estimate", kind="restored", references=1, fidelity=1.0),
    Condition(slug="three", label="with three references", kind="restored", references=3),
    Condition(slug="three_mean", label="with three references, mean estimate", kind="restored", references=3,
              fidelity=1.0),
    Condition(slug="stranger", label="with three references of another person", kind="restored", references=3,
              whose="stranger"),
)


def evaluate(checkpoint: str, dataset_uri: str, out: str, *, protocol: Protocol | None = None,
             judge: str = "judge_small", split: str = "test", profile: str = "refldm-severe", count: int = 64,
             seed: int = 0, settings: SamplerSettings | None = None, restorer: Restorer | None = None,
             conditions: Sequence[Condition] = CONDITIONS, device: str = "cpu",
             progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run what is not yet done and write the tables.

    Args:
        checkpoint: a checkpoint folder. dataset_uri: a dataset version. out: folder or URI for the results.
        protocol: a frozen protocol; None: freeze one from judge, split, profile, count and seed.
        settings: the sampler's; each condition sets its own fidelity.
        restorer: an open restorer of that checkpoint, to spare loading it again.
        progress: takes one line of text at a time.

    Returns:
        The content of table.json.

    Raises:
        ConfigurationError: the judge is the checkpoint's own embedder, or the sizes do not fit.
        CheckpointError, DataError: see Restorer and Protocol.
    """
    say = progress or (lambda line: None)
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
    every: list[Case] = list(cases(dataset, protocol))
    judged = _Judged.of(every, network)
    tables = []
    for number, condition in enumerate(conditions, start=1):
        uri = storage.join(out, "conditions", f"{condition.slug}.parquet")
        made_from = _fingerprint(protocol, restorer, settings, condition)
        rows = _done(uri, made_from)
        if rows is None:
            say(f"[{number}/{len(conditions)}] {condition.label}: {len(every)} pictures")
            outputs = _outputs(condition, every, restorer, settings, protocol.embedder == restorer.embedder_name,
                               say)
            rows = _measure(condition, every, outputs, judged, network)
            storage.write_table(uri, rows.replace_schema_metadata({"made_from": made_from}))
        else:
            say(f"[{number}/{len(conditions)}] {condition.label}: done before")
        tables.append(rows.drop_columns(["image"]).replace_schema_metadata(None))
    rows = pa.concat_tables(tables)
    storage.write_table(storage.join(out, "rows.parquet"), rows)
    result = table(rows, [asdict(c) for c in conditions], seed=protocol.seed)
    result |= {
        "scale": _scale(judged, every),
        "protocol_id": protocol.protocol_id, "manifest_id": protocol.manifest_id, "split": protocol.split,
        "profile": protocol.profile, "size": protocol.size, "seed": protocol.seed,
        "judge": {"name": protocol.judge, "sha256": protocol.judge_sha256},
        "embedder": {"name": restorer.embedder_name, "sha256": weight_hash(restorer.embedder_name)},
        "checkpoint": restorer.summary(), "settings": asdict(settings),
    }
    write_tables(out, result)
    return result


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """The judge's unit embeddings of targets [N, D], of each row's references [R, D], and of a stranger's [R, D]."""

    targets: np.ndarray
    references: tuple[np.ndarray, ...]
    strangers: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, every: Sequence[Case], network: Embedder) -> "_Judged":
        targets = _embed(network, [judge_crop(c.target.image, c.target.landmarks) for c in every])
        references = tuple(_embed(network, [judge_crop(r.image, r.landmarks) for r in c.references]) for c in every)
        strangers = tuple(np.zeros((0, network.dimension)) if other is None else references[other]
                          for other in _strangers(every))
        return cls(targets=targets, references=references, strangers=strangers)


def _strangers(every: Sequence[Case]) -> list[int | None]:
    """For each case the number of the next one that shows another person and has references; None without any."""
    count = len(every)
    return [next((other % count for other in range(n + 1, n + count)
                  if every[other % count].row.identity != case.row.identity and every[other % count].references), None)
            for n, case in enumerate(every)]


def _scale(judged: _Judged, every: Sequence[Case]) -> dict[str, float | None]:
    """What the judge's cosines mean here: between targets of different people, and target to reference."""
    people = np.array([c.row.identity for c in every])
    different = people[:, None] != people[None, :]
    cosines = judged.targets @ judged.targets.T
    same = [float(v) for t, r in zip(judged.targets, judged.references, strict=True) for v in r @ t]
    return {"different_people": float(cosines[different].mean()) if different.any() else None,
            "same_person": float(np.mean(same)) if same else None}


def _embed(network: Embedder, crops: Sequence[np.ndarray]) -> np.ndarray:
    if not crops:
        return np.zeros((0, network.dimension))
    units = [network.embed(np.stack(crops[start:start + 64]))[0] for start in range(0, len(crops), 64)]
    return np.concatenate(units).astype(np.float64)


def _outputs(condition: Condition, every: Sequence[Case], restorer: Restorer, settings: SamplerSettings,
             own_network: bool, say: Callable[[str], None]) -> np.ndarray:
    """uint8 [N, S, S, 3]: the condition's answer to every case."""
    if condition.kind == "truth":
        return np.stack([c.target.image for c in every])
    if condition.kind == "degraded":
        return np.stack([c.degraded for c in every])
    shown = [c.references[:condition.references] for c in every]
    if condition.whose == "stranger":
        shown = [() if other is None else shown[other] for other in _strangers(every)]
    parts: list[np.ndarray] = []
    for start in range(0, len(every), restorer.batch):
        part = every[start:start + restorer.batch]
        if condition.kind == "autoencoder":
            parts.append(restorer.reconstruct(np.stack([c.target.image for c in part])))
        else:
            parts.append(restorer.restore_aligned(
                np.stack([c.degraded for c in part]),
                [[_reference(r, own_network) for r in pictures] for pictures in shown[start:start + len(part)]],
                landmarks=np.stack([c.target.landmarks for c in part]), seeds=[c.row.seed for c in part],
                settings=replace(settings, fidelity=condition.fidelity)))
        say(f"    {sum(map(len, parts))}/{len(every)}")
    return np.concatenate(parts)


def _reference(picture: FacePicture, own_network: bool) -> Reference:
    """A reference for the restorer; the face table's embedding serves only if the restorer's own network made it."""
    return Reference(image=picture.image, landmarks=picture.landmarks,
                     raw_embedding=picture.raw_embedding if own_network else None)


def _measure(condition: Condition, every: Sequence[Case], outputs: np.ndarray, judged: _Judged,
             network: Embedder) -> pa.Table:
    targets = np.stack([c.target.image for c in every])
    units = _embed(network, [judge_crop(o, c.target.landmarks) for o, c in zip(outputs, every, strict=True)])
    ratios, similarities = psnr(outputs, targets), ssim(outputs, targets)
    rows: list[dict[str, Any]] = []
    for n, case in enumerate(every):
        seen = likeness(units[n], judged.targets[n], judged.references[n])
        rows.append({
            "condition": condition.slug, "number": case.row.number, "identity": case.row.identity,
            "target": case.row.target, "references_shown": min(condition.references, len(case.references)),
            "psnr": float(ratios[n]), "ssim": float(similarities[n]), "judge_target": seen.target,
            "judge_first": seen.first, "judge_mean": seen.mean, "truth_first": seen.truth_first,
            "truth_mean": seen.truth_mean, "surplus": seen.surplus, "copied": seen.copied,
            "copied_any": seen.copied_any,
            "judge_stranger": float(judged.strangers[n][0] @ units[n]) if len(judged.strangers[n]) else None,
            "image": encode_jpeg(outputs[n], 92),
        })
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


ROW_SCHEMA = pa.schema([
    ("condition", pa.string()), ("number", pa.int32()), ("identity", pa.string()), ("target", pa.string()),
    ("references_shown", pa.int32()), ("psnr", pa.float64()), ("ssim", pa.float64()),
    ("judge_target", pa.float64()), ("judge_first", pa.float64()), ("judge_mean", pa.float64()),
    ("truth_first", pa.float64()), ("truth_mean", pa.float64()), ("surplus", pa.float64()), ("copied", pa.bool_()),
    ("copied_any", pa.bool_()), ("judge_stranger", pa.float64()), ("image", pa.binary()),
])


def _fingerprint(protocol: Protocol, restorer: Restorer, settings: SamplerSettings, condition: Condition) -> str:
    of = {"format": FORMAT, "protocol": protocol.protocol_id, "condition": asdict(condition)}
    if condition.kind in ("restored", "autoencoder"):
        of |= {"checkpoint": restorer.checkpoint_id, "settings": asdict(settings)}
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _done(uri: str, made_from: str) -> pa.Table | None:
    if not storage.exists(uri):
        return None
    rows = storage.read_table(uri)
    return rows if (rows.schema.metadata or {}).get(b"made_from") == made_from.encode() else None
