"""The training feed: a sample is a function of its position, and of nothing else.

In: a dataset version (pipelines.dataset), frozen FeedSettings, a position (samples since the start of the run).
Out: `Sample`s and batches of NumPy arrays, S = settings.size pixels, R references, b samples of this rank:

    position              int64 [b]
    target, degraded      uint8 [b, S, S, 3], RGB
    references            uint8 [b, R, S, S, 3], RGB; R = 0 is an array without references
    landmarks             float32 [b, 5, 2], the target's, in S-pixel crop coordinates (the degraded image's too)
    target_embedding      float32 [b, D], raw: unit vector times norm
    reference_embeddings  float32 [b, R, D], raw
    digest                str [b], SHA-256 of each sample's bytes

The dataset travels to Ray workers once, through shared memory; a worker returns finished batches. Ray decides where
a batch is made, never which one comes next.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anchorface import degradation
from anchorface.degradation.balance import Severity, acceptance, draw_balanced
from anchorface.degradation.operations.resize import resize
from anchorface.faces.images import decode_jpeg
from anchorface.identity_index import Chosen, MismatchPolicy
from anchorface.pipelines.dataset import CropReader, Dataset, open_dataset, shard_sizes
from anchorface.pipelines.order import Rows, batches_per_epoch, schedule
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.nouns import Pair
from anchorface.records.seeds import rng

Batch = dict[str, NDArray[Any]]

SEVERITY_FACES, SEVERITY_SIDE = 2, 64
"""The faces that severity is measured on, and their side, px: our choice, about a millisecond a try."""


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """What decides a sample, beside its position and the dataset version.

    dataset: the version's URI, or the folder with `latest`. batch: global, over all ranks.
    profile: of degradations. degradation_overrides: ranges to use instead of the profile's own, range by key as in
    `Profile.with_ranges` (a mapping is taken, and kept as its pairs). severity: bins (lowest dB, highest dB, share)
    that the severities of the plans shall follow, measured on the split's first faces; none for the profile's own.
    reference_count_probabilities: of 0, 1, 2, ... references. size: pixels. flip: mirror half of the samples, target
    and references together. embedder: the network that the embeddings must come from, None for any.
    identities: only these persons' faces as targets, None for all of the split.
    """

    dataset: str
    split: str = "train"
    seed: int = 0
    batch: int = 16
    profile: str = "refldm-train"
    degradation_overrides: tuple[tuple[str, Any], ...] = ()
    severity: tuple[tuple[float, float, float], ...] = ()
    policy: MismatchPolicy = field(default_factory=MismatchPolicy)
    reference_count_probabilities: tuple[float, ...] = (0.3, 0.3, 0.2, 0.2)
    size: int = 128
    flip: bool = False
    embedder: str | None = None
    identities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shares = self.reference_count_probabilities
        if not shares or min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ConfigurationError(f"reference_count_probabilities {shares}: shares that add up to 1 are needed")
        if self.batch < 1 or 0 < self.size < 16:
            raise ConfigurationError(f"batch {self.batch}, size {self.size}: at least 1 sample and 16 px are needed")
        object.__setattr__(self, "degradation_overrides", _as_pairs(self.degradation_overrides))
        object.__setattr__(self, "severity", _as_tuples(self.severity))
        self.degradations()
        if self.severity:
            Severity(self.severity)

    def degradations(self) -> degradation.Profile:
        """The profile with its ranges replaced.

        Raises:
            ConfigurationError: an unknown range or numbers that are none; the key is named.
        """
        return degradation.profile(self.profile).with_ranges({
            key: dict(given) if given and _is_pairs(given) else given for key, given in self.degradation_overrides})


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training sample; the arrays are as the module describes, without the first axis. pair: how it was made."""

    position: int
    target: NDArray[np.uint8]
    degraded: NDArray[np.uint8]
    references: tuple[NDArray[np.uint8], ...]
    target_landmarks: NDArray[np.float32]
    target_embedding: NDArray[np.float32]
    reference_embeddings: NDArray[np.float32]
    pair: Pair

    @property
    def degraded_landmarks(self) -> NDArray[np.float32]:
        """The target's: a degradation moves no pixel."""
        return self.target_landmarks

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the sample."""
        total = hashlib.sha256(json.dumps(asdict(self.pair), sort_keys=True).encode())
        arrays = (self.target, self.degraded, *self.references, self.target_landmarks, self.target_embedding,
                  self.reference_embeddings)
        for array in arrays:
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


class Feed:
    """Samples of one dataset version under one set of settings.

    It keeps what can be computed again (an epoch's order, a batch's choices, bytes of shards) and nothing else.

    Raises:
        ConfigurationError: embeddings of another network than settings.embedder.
        DataError: no face to train on in this split.
    """

    def __init__(self, dataset: Dataset, settings: FeedSettings) -> None:
        cv2.setNumThreads(1)
        self.dataset, self.settings = dataset, settings
        made_by = dataset.manifest.settings.get("find_faces", {}).get("networks", {}).get("embedder")
        if settings.embedder is not None and made_by is not None and made_by != settings.embedder:
            raise ConfigurationError(
                f"the dataset's embeddings come from {made_by!r}, the recipe wants {settings.embedder!r}: "
                "run find_faces, group and shards again with that embedder"
            )
        rows = dataset.split_rows(settings.split)
        if settings.identities is not None:
            rows = rows[np.isin(dataset.columns["identity"][rows], np.array(settings.identities, dtype=np.str_))]
        if not len(rows):
            raise DataError(f"{dataset.uri}: no face of split {settings.split!r} to train on")
        self.rows: Rows = rows
        most = len(settings.reference_count_probabilities) - 1
        self._capacity = np.minimum(dataset.admissible(rows, settings.policy), most)
        self._sizes = shard_sizes(dataset, rows)
        self._crops = CropReader(dataset)
        self._profile = settings.degradations()
        self._severity = Severity(settings.severity) if settings.severity else None
        self._clean = self._severity_faces() if settings.severity else ()
        if self._severity is not None:
            acceptance(self._profile, target=self._severity, images=self._clean)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._choices = lru_cache(maxsize=4)(self._make_choices)

    def target_rows(self, batch_number: int) -> Rows:
        """The dataset's rows that are the targets of a global batch."""
        epoch, place = divmod(batch_number, batches_per_epoch(len(self.rows), self.settings.batch))
        return self._epoch(epoch)[place]

    def sample(self, position: int) -> Sample:
        """The sample of a position: the same bytes in any process, at any time."""
        settings, columns = self.settings, self.dataset.columns
        number, place = divmod(position, settings.batch)
        row = int(self.target_rows(number)[place])
        chosen = self._choices(number)[place]
        candidates = {str(columns["face_id"][r]): r for r in self.dataset.group_rows(row)}
        reference_rows = [candidates[choice.face_id] for choice in chosen]
        mirrored = settings.flip and rng(settings.seed, "flip", position).random() < 0.5
        target, landmarks = self._crop(row, mirrored)
        plan = self._plan(position)
        norms = columns["norm"][[row, *reference_rows]].astype(np.float32)
        raw = columns["embedding"][[row, *reference_rows]] * norms[:, None]
        pair = Pair(
            position=position, identity=str(columns["identity"][row]), target=str(columns["face_id"][row]),
            references=tuple(choice.face_id for choice in chosen), reasons=tuple(choice.reason for choice in chosen),
            plan=plan.to_json(),
        )
        return Sample(
            position=position, target=target, degraded=degradation.apply(target, plan),
            references=tuple(self._crop(r, mirrored)[0] for r in reference_rows), target_landmarks=landmarks,
            target_embedding=raw[0], reference_embeddings=raw[1:], pair=pair,
        )

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """This rank's slice of a global batch."""
        share = self.settings.batch // world
        first = step * self.settings.batch + rank * share
        return collate([self.sample(position) for position in range(first, first + share)])

    def _plan(self, position: int) -> degradation.Plan:
        """The degradation of a position."""
        numbers, size = rng(self.settings.seed, "degradation", position), self.settings.size
        if self._severity is None:
            return degradation.draw(self._profile, numbers, size)
        return draw_balanced(self._profile, numbers, size, target=self._severity, images=self._clean)

    def _severity_faces(self) -> tuple[NDArray[np.uint8], ...]:
        """The clean faces that severity is measured on: the first of the split, in the dataset's order."""
        side = (SEVERITY_SIDE, SEVERITY_SIDE)
        return tuple(cv2.resize(self._crop(int(row), False)[0], side, interpolation=cv2.INTER_AREA)
                     for row in self.rows[:SEVERITY_FACES])

    def _make_epoch(self, epoch: int) -> NDArray[np.int64]:
        order = schedule(self._sizes, self._capacity, self.settings.batch, self.settings.seed, epoch)
        return self.rows[order]

    def _make_choices(self, number: int) -> list[list[Chosen]]:
        """The references of every sample of a global batch: as many for each as the poorest of them can have."""
        settings, shares = self.settings, self.settings.reference_count_probabilities
        drawn = int(rng(settings.seed, "reference count", number).choice(len(shares), p=np.array(shares) / sum(shares)))
        rows = self.target_rows(number)
        if drawn == 0:
            return [[] for _ in rows]
        chosen = []
        for place, row in enumerate(rows.tolist()):
            position = number * settings.batch + place
            draw = rng(settings.seed, "references", position)
            chosen.append(self.dataset.references(row, settings.policy, drawn, draw))
        count = min(len(choice) for choice in chosen)
        return [choice[:count] for choice in chosen]

    def _crop(self, row: int, mirrored: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A crop at settings.size, and its landmarks there."""
        image, size = decode_jpeg(self._crops.jpeg(row)), self.settings.size
        landmarks = (self.dataset.columns["crop_landmarks"][row] + 0.5) * (size / image.shape[0]) - 0.5
        if image.shape[0] != size:
            way = "area" if image.shape[0] > size else "cubic"
            image = resize(image, height=size, width=size, interpolation=way)
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
            landmarks = landmarks[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([size - 1, 0])
        return image, landmarks.astype(np.float32)


def _as_pairs(given: Any) -> tuple[tuple[str, Any], ...]:
    """Overrides as sorted pairs of key and tuples, so that settings stay frozen and equal ones have equal digests.

    Raises:
        ConfigurationError: neither a mapping nor its pairs.
    """
    pairs = tuple(given.items()) if isinstance(given, Mapping) else _as_tuples(given)
    if not _is_pairs(pairs) or len({key for key, _ in pairs}) < len(pairs):
        raise ConfigurationError(f"degradation_overrides {given!r}: a mapping of range to numbers is needed, such as "
                                 '{"jpeg.quality": [30, 90]}')
    return tuple(sorted(((str(key), _as_tuples(value)) for key, value in pairs), key=lambda pair: pair[0]))


def _as_tuples(given: Any) -> Any:
    """Lists as tuples and mappings as tuples of pairs, all the way down."""
    if isinstance(given, Mapping):
        return tuple((key, _as_tuples(value)) for key, value in given.items())
    return tuple(_as_tuples(value) for value in given) if isinstance(given, list | tuple) else given


def _is_pairs(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)


def sample(dataset: Dataset, settings: FeedSettings, position: int) -> Sample:
    """One sample, from nothing but its arguments; `Feed` gives many of them faster."""
    return Feed(dataset, settings).sample(position)


def collate(samples: list[Sample]) -> Batch:
    """Samples with equally many references as one dictionary of arrays."""
    target = np.stack([s.target for s in samples])
    count = len(samples[0].references)
    return {
        "position": np.array([s.position for s in samples], dtype=np.int64),
        "target": target,
        "degraded": np.stack([s.degraded for s in samples]),
        "references": np.array([s.references for s in samples], dtype=np.uint8).reshape(
            len(samples), count, *target.shape[1:]
        ),
        "landmarks": np.stack([s.target_landmarks for s in samples]),
        "target_embedding": np.stack([s.target_embedding for s in samples]),
        "reference_embeddings": np.stack([s.reference_embeddings for s in samples]),
        "digest": np.array([s.digest for s in samples], dtype=np.str_),
    }


def batches(
    dataset_uri: str, settings: FeedSettings, start_step: int, stop_step: int, *, rank: int = 0, world: int = 1,
    engine: str = "ray", concurrency: int = 1, num_cpus: float = 0.5, steps_per_task: int = 2,
) -> Iterator[Batch]:
    """This rank's batches of steps [start_step, stop_step), in order.

    Args:
        dataset_uri: the dataset version; empty for settings.dataset.
        settings: what decides a sample.
        start_step, stop_step: global batches; step s holds positions s * batch ... (s + 1) * batch - 1.
        rank, world: this process and how many there are; each takes its contiguous share of every global batch.
        engine: `ray` (Ray Data, ahead of the reader) or `inline` (in this process).
        concurrency: Ray workers of this rank. num_cpus: CPUs that Ray books for each. All ranks' workers and the
            training processes must fit into the cluster's CPUs together, or a rank waits for ever: on two CPUs two
            ranks of half a CPU leave one worker of half a CPU to each.
        steps_per_task: steps that one Ray task makes, best about a second of work.

    Yields:
        Dictionaries of arrays as the module describes them. The bytes depend on nothing but settings, dataset
        version, step, rank and world.

    Raises:
        ConfigurationError: world does not divide the batch, or an unknown engine.
        DataError: no dataset there, or a damaged shard.
    """
    if settings.batch % world or not 0 <= rank < world:
        raise ConfigurationError(f"batch {settings.batch} over world {world}, rank {rank}: world must divide the batch")
    if engine not in ("ray", "inline"):
        raise ConfigurationError(f"feed engine {engine!r}: it is 'ray' or 'inline'")
    dataset = open_dataset(dataset_uri or settings.dataset)
    feed = Feed(dataset, settings)
    if engine == "inline":
        return (feed.batch(step, rank, world) for step in range(start_step, stop_step))
    from anchorface.pipelines.ray_feed import stream

    return stream(
        dataset, settings, start_step, stop_step, rank=rank, world=world, concurrency=concurrency, num_cpus=num_cpus,
        steps_per_task=steps_per_task,
    )


def global_digest(made: Iterable[Batch]) -> str:
    """One hash for a set of batches of any ranks in any order: of (position, digest), sorted by position.

    Raises:
        DataError: a position that came twice.
    """
    digests: dict[int, str] = {}
    for batch in made:
        for position, digest in zip(batch["position"].tolist(), batch["digest"].tolist(), strict=True):
            if position in digests:
                raise DataError(f"position {position} came twice")
            digests[position] = digest
    lines = "".join(f"{position} {digests[position]}\n" for position in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
