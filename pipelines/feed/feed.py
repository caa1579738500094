"""The training feed: a sample is a function of its position, and of nothing else.

In: a dataset version (pipelines.feed.dataset), frozen FeedSettings, a position (samples since the start of the run).
Out: `Sample`s, and batches of NumPy arrays as pipelines.feed.sample describes them.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from anchorface import degradation
from anchorface.degradation.balance import Severity, acceptance, draw_balanced
from anchorface.faces.images import decode_jpeg
from anchorface.identity_index import Chosen
from anchorface.pipelines.feed.dataset import CropReader, Dataset, shard_sizes
from anchorface.pipelines.feed.latents import Latents
from anchorface.pipelines.feed.order import Rows, batches_per_epoch, schedule, share
from anchorface.pipelines.feed.sample import Batch, Sample, collate
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.nouns import Pair
from anchorface.records.seeds import rng

SEVERITY_FACES, SEVERITY_SIDE = 2, 64
"""The faces that severity is measured on, and their side, px: our choice, about a millisecond a try."""


class Feed:
    """Samples of one dataset version under one set of settings.

    It keeps what can be computed again (an epoch's order, a batch's number of references, bytes of shards) and nothing
    else.

    Args:
        dataset: the opened version. settings: what decides a sample.
        latents: the folder of cached tokens of clean pictures (pipelines.feed.latents); samples then carry these for
            target and references, and no reference's picture is decoded.

    Raises:
        ConfigurationError: embeddings of another network than settings.embedder, or no size.
        DataError: no face to train on in this split, or no latents in the folder.
    """

    def __init__(self, dataset: Dataset, settings: FeedSettings, latents: str = "") -> None:
        cv2.setNumThreads(1)
        self.dataset, self.settings = dataset, settings
        if not settings.size:
            raise ConfigurationError("size 0: give the side of the pictures in pixels (a recipe's `fed` has it)")
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
        self._capacity = np.minimum(dataset.admissible(settings.policy)[rows], most)
        self._sizes = shard_sizes(dataset, rows)
        self._crops = CropReader(dataset)
        self._latents = Latents(latents, dataset, settings.size) if latents else None
        self._profile = settings.degradations()
        self._severity = Severity(settings.severity) if settings.severity else None
        self._clean = self._severity_faces() if settings.severity else ()
        if self._severity is not None:
            acceptance(self._profile, target=self._severity, images=self._clean)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._counts = lru_cache(maxsize=4)(self._make_counts)

    def target_rows(self, batch_number: int) -> Rows:
        """The dataset's rows that are the targets of a global batch."""
        epoch, place = divmod(batch_number, batches_per_epoch(len(self.rows), self.settings.batch))
        return self._epoch(epoch)[place]

    def sample(self, position: int) -> Sample:
        """The sample of a position: the same bytes in any process, at any time."""
        settings, columns = self.settings, self.dataset.columns
        number, place = divmod(position, settings.batch)
        row = int(self.target_rows(number)[place])
        chosen = self._references(position, row)
        candidates = {str(columns["face_id"][r]): r for r in self.dataset.group_rows(row)}
        reference_rows = [candidates[choice.face_id] for choice in chosen]
        mirrored = settings.flip and rng(settings.seed, "flip", position).random() < 0.5
        target, landmarks = self.picture(row, mirrored)
        references = [] if self._latents else [self.picture(r, mirrored) for r in reference_rows]
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
            references=tuple(image for image, _ in references), target_landmarks=landmarks,
            target_embedding=raw[0], reference_embeddings=raw[1:],
            reference_landmarks=tuple(points for _, points in references), pair=pair,
            latents=np.stack([self._latents.tokens(r, mirrored) for r in (row, *reference_rows)])
            if self._latents else None,
        )

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """This rank's share of a global batch; see `pipelines.feed.order.share`."""
        first, places = step * self.settings.batch, share(self.settings.batch, rank, world)
        return collate([self.sample(first + place) for place in places])

    def _plan(self, position: int) -> degradation.Plan:
        """The degradation of a position."""
        numbers, size = rng(self.settings.seed, "degradation", position), self.settings.size
        if self._severity is None:
            return degradation.draw(self._profile, numbers, size)
        return draw_balanced(self._profile, numbers, size, target=self._severity, images=self._clean)

    def _severity_faces(self) -> tuple[NDArray[np.uint8], ...]:
        """The clean faces that severity is measured on: the first of the split, in the dataset's order."""
        side = (SEVERITY_SIDE, SEVERITY_SIDE)
        return tuple(cv2.resize(self.picture(int(row), False)[0], side, interpolation=cv2.INTER_AREA)
                     for row in self.rows[:SEVERITY_FACES])

    def _make_epoch(self, epoch: int) -> NDArray[np.int64]:
        order = schedule(self._sizes, self._capacity, self.settings.batch, self.settings.seed, epoch)
        return self.rows[order]

    def _make_counts(self, number: int) -> tuple[int, int]:
        """How many references are drawn for a global batch, and how many each of its samples gets: as many as the
        poorest of them can have. `select` always finds as many as are asked and admissible, so no face need be looked
        at to know that.
        """
        shares = self.settings.reference_count_probabilities
        numbers = rng(self.settings.seed, "reference count", number)
        drawn = int(numbers.choice(len(shares), p=np.array(shares) / sum(shares)))
        places = np.searchsorted(self.rows, self.target_rows(number))
        return drawn, min(drawn, int(self._capacity[places].min()))

    def _references(self, position: int, row: int) -> list[Chosen]:
        """The references of the sample of a position."""
        drawn, count = self._counts(position // self.settings.batch)
        if not count:
            return []
        draw = rng(self.settings.seed, "references", position)
        return self.dataset.references(row, self.settings.policy, drawn, draw)[:count]

    def picture(self, row: int, mirrored: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A face's crop, uint8 [S, S, 3], and its landmarks there, float32 [5, 2]."""
        image, size = decode_jpeg(self._crops.jpeg(row)), self.settings.size
        landmarks = (self.dataset.columns["crop_landmarks"][row] + 0.5) * (size / image.shape[0]) - 0.5
        if image.shape[0] != size:
            way = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
            image = cv2.resize(image, (size, size), interpolation=way)
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
            landmarks = landmarks[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([size - 1, 0])
        return image, landmarks.astype(np.float32)


def sample(dataset: Dataset, settings: FeedSettings, position: int) -> Sample:
    """One sample, from nothing but its arguments; `Feed` gives many of them faster."""
    return Feed(dataset, settings).sample(position)
