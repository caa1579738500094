"""A frozen protocol: who is judged, on which picture, with which references, how degraded, by whom.

In: a dataset version, and names of split, profile and judge. Out: one JSON file whose bytes are a function of
its arguments; anyone who holds the dataset version and the weights can repeat every number from it.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from anchorface.degradation import draw
from anchorface.faces import weights
from anchorface.identity_index import MismatchPolicy
from anchorface.identity_index import references as mismatched
from anchorface.records import ConfigurationError, DataError, WeightsError, derive, rng
from anchorface.records.dataset import DatasetVersion
from anchorface.records.hashes import sha256
from anchorface.records.state import parsed

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """One judged picture.

    number: its place. target, references: face ids; reasons: why each reference was chosen. plan: the
    degradation as canonical JSON. seed: the sampler's noise for this picture, in every condition.
    degraded: the degraded picture's file in a published folder, where no plan makes it. case: the name of the files
    that programs write for this row, without their ending; empty: the number in five digits.
    """

    number: int
    identity: str
    target: str
    references: tuple[str, ...]
    reasons: tuple[str, ...]
    plan: str
    seed: int
    degraded: str = ""
    case: str = ""

    @property
    def name(self) -> str:
        """The name of the files that programs write for this row, without their ending."""
        return self.case or f"{self.number:05d}"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is judged, complete with hashes.

    size: px of the pictures judged. judge: weight name of the network that judges. embedder: of the network that
    made the dataset's embeddings, by which references were chosen.
    """

    name: str
    manifest_id: str
    split: str
    profile: str
    size: int
    seed: int
    policy: dict[str, Any]
    judge: str
    judge_sha256: str
    embedder: str
    embedder_sha256: str
    rows: tuple[ProtocolRow, ...]
    format: int = FORMAT

    @property
    def protocol_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @cached_property
    def strangers(self) -> tuple[int | None, ...]:
        """For each row the number of the next one that shows another person and has references; None without any."""
        count = len(self.rows)
        return tuple(next((other % count for other in range(number + 1, number + count)
                           if self.rows[other % count].identity != row.identity
                           and self.rows[other % count].references), None)
                     for number, row in enumerate(self.rows))

    def to_json(self) -> str:
        """Canonical JSON: equal protocols have equal bytes, those without a row's late fields the bytes of before."""
        values = asdict(self)
        for row in values["rows"]:
            for late in ("degraded", "case"):
                if not row[late]:
                    del row[late]
        return json.dumps(values, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it back.

        Raises:
            DataError: not a protocol, or one of another format.
        """
        try:
            values = parsed(text, dict[str, Any], "protocol.json")
            if values["format"] != FORMAT:
                raise DataError(f"protocol of format {values['format']}; this version reads format {FORMAT}")
            rows = tuple(ProtocolRow(**{**r, "references": tuple(r["references"]), "reasons": tuple(r["reasons"])})
                         for r in values.pop("rows"))
            return cls(rows=rows, **values)
        except (KeyError, TypeError) as error:
            raise DataError(f"not an anchorface protocol: {error!r}") from error


def freeze(dataset: DatasetVersion, *, judge: str, split: str = "test", profile: str = "refldm-severe",
           size: int = 128, count: int = 64, references: int = 3, policy: MismatchPolicy | None = None,
           seed: int = 0, name: str = "held-out") -> Protocol:
    """Choose and write down what will be judged.

    Targets go round the identities of the split in a shuffled order (every person once, then every person a
    second time, and so on), so that few persons with many photographs do not decide the result. A face without
    any usable reference (another photograph of the person that is no near-duplicate) cannot be a target.

    Args:
        dataset: the dataset version.
        judge: weight name of the judge; must not be the dataset's embedder.
        split: held-out split. profile: a name from `degradation.profiles()`. size: px. count: rows at most.
        policy: how references are chosen; default: by mismatch, as in training.

    Raises:
        ConfigurationError: the judge is the network that the anchor uses.
        DataError: the split is empty, shares an identity with another split, or offers no target.
    """
    policy = policy or MismatchPolicy()
    embedder = embedder_of(dataset)
    check_judge(judge, embedder)
    of_split: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in dataset.rows(split):
        of_split[row["identity"]].append(row)
    elsewhere = {row["identity"] for row in dataset.rows(columns=("identity", "split")) if row["split"] != split}
    if not of_split:
        raise DataError(f"{dataset.uri}: no faces in split {split!r}; splits: {sorted(dataset.manifest.counts)}")
    if shared := sorted(elsewhere & set(of_split)):
        raise DataError(f"{dataset.uri}: identities on both sides of split {split!r}: {', '.join(shared[:5])}")
    rows: list[ProtocolRow] = []
    for person, target in _rounds(of_split, seed):
        if len(rows) == count:
            break
        chosen = mismatched(target, of_split[person], policy, references,
                            rng(seed, "evaluation references", len(rows)))
        if not chosen:
            continue
        plan = draw(profile, rng(seed, "evaluation degradation", len(rows)), size=size)
        rows.append(ProtocolRow(number=len(rows), identity=person, target=target["face_id"],
                                references=tuple(c.face_id for c in chosen),
                                reasons=tuple(c.reason for c in chosen), plan=plan.to_json(),
                                seed=derive(seed, "evaluation noise", len(rows))))
    if not rows:
        raise DataError(f"{dataset.uri}: nobody in split {split!r} has two photographs that differ; "
                        "add photographs or choose another split")
    plain_policy = json.loads(json.dumps(asdict(policy)))
    return Protocol(name=name, manifest_id=dataset.manifest.manifest_id, split=split, profile=profile, size=size,
                    seed=seed, policy=plain_policy, judge=judge, judge_sha256=weight_hash(judge),
                    embedder=embedder, embedder_sha256=weight_hash(embedder), rows=tuple(rows))


def embedder_of(dataset: DatasetVersion) -> str:
    """The name of the network that made a dataset version's embeddings; `unknown` where it does not say."""
    settings = dataset.manifest.settings
    networks = settings.get("find_faces", settings).get("networks", settings)
    return str(networks.get("embedder", "unknown"))


def check_judge(judge: str, embedder: str) -> None:
    """Refuse a judge that the restorer was trained against.

    Raises:
        ConfigurationError: both are the same network.
    """
    hashes = {weight_hash(judge), weight_hash(embedder)}
    if judge == embedder or (len(hashes) == 1 and hashes != {"not found"}):
        raise ConfigurationError(f"judge {judge!r} is {embedder!r}, in the restorer's anchor or loss; judge with "
                                 "another one: judge_small (synthetic) or mobilefacenet_y1_ms1m_112 (photographs)")


def weight_hash(name: str) -> str:
    """SHA-256 of a weight file as found on this machine; `not found` where it is not here."""
    if name == "unknown":
        return "not found"
    try:
        return sha256(weights.find(name))
    except WeightsError:
        return "not found"


def _rounds(of_split: dict[str, list[dict[str, Any]]], seed: int) -> list[tuple[str, dict[str, Any]]]:
    people = sorted(of_split)
    order = {person: rng(seed, f"evaluation targets of {person}").permutation(len(of_split[person]))
             for person in people}
    people = [people[i] for i in rng(seed, "evaluation identities").permutation(len(people))]
    rounds = max(len(rows) for rows in of_split.values())
    return [(person, sorted(of_split[person], key=lambda row: row["face_id"])[order[person][turn]])
            for turn in range(rounds) for person in people if turn < len(of_split[person])]
