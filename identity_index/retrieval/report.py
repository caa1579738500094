"""What a reference policy really gives on real faces: asked shares against achieved ones, and whom nothing can help.

In: an Arrow table with REFERENCE_KEYS (those that are absent are unknown) and `identity`: the face index's, or a
dataset version's, where only faces of the same shard are candidates, as in training. Out: a `RetrievalReport`, and its
rows as a table: one per chosen reference, and one per target without any.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.exclusions import CAUSES
from anchorface.identity_index.retrieval.mismatch import Chosen, MismatchPolicy, Selection, select
from anchorface.identity_index.retrieval.policy import AXES
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.seeds import rng

ONLY_FACE = "only face of the person"

ROW_SCHEMA = pa.schema([
    ("target", pa.string()), ("identity", pa.string()), ("mode", pa.string()), ("rank", pa.int32()),
    ("reference", pa.string()), ("reason", pa.string()), ("admissible", pa.int32()),
    *((axis, pa.float32()) for axis in AXES),
])
"""mode: the policy's or `random`. rank: 1 is best; 0 where there is no reference, and `reason` says why. admissible:
how many could have been chosen. The axes as in identity_index.retrieval.policy, null where unknown."""


@dataclass(frozen=True, kw_only=True)
class BinShare:
    """One bin: its words, the shares of references asked, achieved and drawn by chance on the same targets (of those
    whose size is known), and the share of targets that have any admissible face in it."""

    bin: str
    asked: float | None
    achieved: float
    random: float
    reachable: float


@dataclass(frozen=True, kw_only=True)
class AxisReport:
    """One axis: its bins, the mean size and that of chance, the share of references with an unknown size, and the
    share of the others that fell into the bin that was drawn for them. None where nothing is known, or asked.
    """

    name: str
    bins: tuple[BinShare, ...]
    mean: float | None
    random_mean: float | None
    unknown: float
    met: float | None

    @property
    def apart(self) -> float | None:
        """Total variation between asked and achieved shares, 0 (equal) to 1; None if nothing is asked or known."""
        return self._apart([one.achieved for one in self.bins])

    @property
    def random_apart(self) -> float | None:
        """The same for references drawn by chance."""
        return self._apart([one.random for one in self.bins])

    def _apart(self, shares: list[float]) -> float | None:
        if self.met is None:
            return None
        return 0.5 * sum(abs(share - (one.asked or 0.0)) for share, one in zip(shares, self.bins, strict=True))


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """What a policy gave.

    targets: how many faces were asked for. references: how many were given. without: why targets got none, and how
    many. refused: causes of refused pairs, and how many. admissible: int64 [targets], candidates that could have been
    chosen. diversity, random_diversity: mean mismatch score between two references of one target (None without
    such pairs). rows: ROW_SCHEMA.
    """

    policy: MismatchPolicy
    k: int
    targets: int
    references: int
    without: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int], ...]
    admissible: NDArray[np.int64]
    diversity: float | None
    random_diversity: float | None
    axes: tuple[AxisReport, ...]
    rows: pa.Table

    @property
    def none(self) -> int:
        """Targets without any admissible reference."""
        return sum(number for _, number in self.without)


def retrieval_report(
    faces: pa.Table, policy: MismatchPolicy, *, k: int = 3, count: int = 0, seed: int = 0
) -> RetrievalReport:
    """Choose references for many targets, by the policy and by chance, and count.

    Args:
        faces: one row per face.
        policy: the rules.
        k: references wanted for each target.
        count: how many targets, drawn evenly from all faces; 0 for all.
        seed: decides the targets and every choice, whatever the order of rows.

    Raises:
        DataError: no faces. ConfigurationError: k is below 1 or count below 0.
    """
    if not len(faces):
        raise DataError("reference report: the table holds no faces")
    if k < 1 or count < 0:
        raise ConfigurationError(f"reference report: k {k}, count {count}; at least 1 and 0 are needed")
    asked, by_chance = _Tally(policy, k), _Tally(replace(policy, mode="random"), k)
    for identity, album, target in targets(faces, count, seed):
        name = str(album.face_id[target])
        for tally, draw in ((asked, "references"), (by_chance, "random references")):
            made = select(album, target, tally.policy, k, rng(seed, f"{draw} of {name}"))
            tally.add(identity, album, target, made)
    return _report(asked, by_chance)


@dataclass
class _Tally:
    """What choices of one policy add up to; arrays [axes, n] per target."""

    policy: MismatchPolicy
    k: int
    sizes: list[NDArray[np.float64]] = field(default_factory=list)
    wanted: list[NDArray[np.int64]] = field(default_factory=list)
    reached: list[NDArray[np.bool_]] = field(default_factory=list)
    admissible: list[int] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    without: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, identity: str, album: Album, target: int, made: Selection) -> None:
        """Count one target."""
        causes = _causes(made, target)
        self.refused.update(causes)
        self.admissible.append(len(made.admitted))
        row = {"target": str(album.face_id[target]), "identity": identity, "mode": self.policy.mode,
               "admissible": len(made.admitted)}
        if not len(made.admitted):
            why = ", ".join(sorted(causes, key=CAUSES.index)) or ONLY_FACE
            self.without[why] += 1
            self.rows.append({**row, "rank": 0, "reference": None, "reason": why})
            return
        bins = np.where(np.isnan(made.sizes), -1, self.policy.passed(made.sizes))
        self.reached.append((bins[:, :, None] == np.arange(self.policy.ends.shape[2] + 1)).any(axis=1))
        sizes = made.sizes[:, made.places]
        self.sizes.append(sizes)
        self.wanted.append(made.wanted.T)
        for rank, (chosen, column) in enumerate(zip(made.references(album), sizes.T.tolist(), strict=True), start=1):
            known = {axis: None if np.isnan(size) else size for axis, size in zip(AXES, column, strict=True)}
            self.rows.append({**row, "rank": rank, "reference": chosen.face_id, "reason": chosen.reason, **known})
        self.apart += [float(self.policy.score(album.gaps(np.array([one]))[0])[0, two])
                       for one, two in combinations(made.chosen, 2)]


def _report(asked: _Tally, by_chance: _Tally) -> RetrievalReport:
    policy = asked.policy
    empty = np.zeros((len(AXES), 0))
    sizes, random = (np.concatenate([empty, *tally.sizes], axis=1) for tally in (asked, by_chance))
    wanted = np.concatenate([empty.astype(np.int64), *asked.wanted], axis=1)
    bins, random_bins = policy.passed(sizes), policy.passed(random)
    reached = np.mean(asked.reached, axis=0) if asked.reached else np.zeros((len(AXES), policy.ends.shape[2] + 1))
    # Shares of all targets, also of those whom nothing can help.
    reached = reached * len(asked.reached) / len(asked.admissible)
    axes = []
    for number, axis in enumerate(policy.axes):
        known, random_known = ~np.isnan(sizes[number]), ~np.isnan(random[number])
        achieved = _shares(bins[number][known], len(axis.bins) + 1)
        chance = _shares(random_bins[number][random_known], len(axis.bins) + 1)
        drawn = known & (wanted[number] >= 0)
        axes.append(AxisReport(
            name=axis.name, mean=_mean(sizes[number][known]), random_mean=_mean(random[number][random_known]),
            unknown=1.0 - float(known.mean()) if len(known) else 0.0,
            met=_mean((bins[number] == wanted[number])[drawn]),
            bins=tuple(BinShare(bin=axis.bin_told(place), asked=axis.asked[place] if axis.asked else None,
                                achieved=achieved[place], random=chance[place], reachable=float(reached[number, place]))
                       for place in range(len(axis.bins) + 1))))
    rows = sorted([*asked.rows, *by_chance.rows], key=lambda row: (row["target"], row["mode"] == "random", row["rank"]))
    return RetrievalReport(
        policy=policy, k=asked.k, targets=len(asked.admissible), references=sizes.shape[1],
        without=tuple(asked.without.most_common()), refused=tuple(asked.refused.most_common()),
        admissible=np.array(sorted(asked.admissible), np.int64), diversity=_mean(np.array(asked.apart)),
        random_diversity=_mean(np.array(by_chance.apart)), axes=tuple(axes),
        rows=pa.Table.from_pylist(rows, schema=ROW_SCHEMA))


def choose_for(
    faces: pa.Table, face_id: str, policy: MismatchPolicy, *, k: int = 3, seed: int = 0
) -> tuple[str, list[Chosen], list[tuple[str, int]]]:
    """The choice that the report makes for one face.

    Returns:
        Its identity, the references with their reasons, and why other faces of the person were refused: cause, number.

    Raises:
        DataError: no such face.
    """
    place = pc.index(faces["face_id"], face_id).as_py()
    if place < 0:
        raise DataError(f"no face {face_id!r} among the {len(faces)} faces here; `--out` lists them")
    whole = pc.equal(faces["identity"], faces["identity"][place])
    if "shard" in faces.column_names:
        whole = pc.and_(whole, pc.equal(faces["shard"], faces["shard"][place]))
    for identity, album, target in targets(faces.filter(whole), 0, seed):
        if album.face_id[target] == face_id:
            made = select(album, target, policy, k, rng(seed, f"references of {face_id}"))
            return identity, made.references(album), _causes(made, target).most_common()
    raise AssertionError("the face stands among its person's")


def targets(faces: pa.Table, count: int, seed: int) -> Iterator[tuple[str, Album, int]]:
    """Some faces of a table, each with its candidates.

    Args:
        faces: as for `retrieval_report`.
        count: how many, drawn evenly; 0 for all.
        seed: decides which, whatever the order of rows.

    Yields:
        Identity, album of the candidates, and the face's number in it; person by person in the order of their names.
    """
    names = sorted(faces["face_id"].to_pylist())
    if 0 < count < len(names):
        drawn = rng(seed, "reference report targets").permutation(len(names))[:count].tolist()
        names = [names[number] for number in drawn]
    wanted = set(names)
    identities = np.array(faces["identity"].to_pylist(), np.str_)
    shards = np.array(faces["shard"].to_pylist() if "shard" in faces.column_names else [""] * len(faces), np.str_)
    whole = Album.of_table(faces)
    order = np.lexsort((whole.face_id, shards, identities))
    same = (identities[order][1:] == identities[order][:-1]) & (shards[order][1:] == shards[order][:-1])
    for rows in np.split(order, np.flatnonzero(~same) + 1):
        album = whole.take(rows)
        for number, face_id in enumerate(album.face_id.tolist()):
            if face_id in wanted:
                yield str(identities[rows[0]]), album, number


def _causes(made: Selection, target: int) -> Counter[str]:
    """Why faces other than the target were refused, and how many."""
    return Counter(CAUSES[number] for number in np.delete(made.refused, target).tolist() if number)


def _shares(bins: NDArray[np.int64], count: int) -> list[float]:
    shares: list[float] = (np.bincount(bins, minlength=count) / max(len(bins), 1)).tolist()
    return shares


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
