"""The training feed: a sample is a function of its position, and of nothing else.

In: a dataset version (pipelines.feed.dataset), frozen FeedSettings, a position (samples since the start of the run).
Out: `Sample`s, `ClipSample`s where the settings ask for several frames, and batches of NumPy arrays as
pipelines.feed.sample describes them.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anchorface import degradation
from anchorface.degradation.appearance import Appearance
from anchorface.degradation.balance import Severity, acceptance, draw_balanced
from anchorface.degradation.clip_ranges import ClipProfile
from anchorface.faces.align import mirrored_points
from anchorface.faces.images import decode_jpeg
from anchorface.pipelines.feed.clips import Clips, attributes
from anchorface.pipelines.feed.dataset import CropReader, Dataset, shard_sizes
from anchorface.pipelines.feed.latents import Latents
from anchorface.pipelines.feed.order import Rows, batches_per_epoch, schedule, share
from anchorface.pipelines.feed.sample import Batch, ClipSample, Sample, collate, room
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.nouns import Clip, Pair
from anchorface.records.seeds import rng

SEVERITY_FACES, SEVERITY_SIDE = 2, 64
"""The faces that severity is measured on, and their side, px: our choice, about a millisecond a try."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn for a position before any picture is read; a batch's are drawn together, which is quicker than each
    between two pictures. targets: the target's row, or those of a clip. references: theirs. mirrored: all of them.
    appearance: the target's plan and each reference's, or none. clip: None for a picture.
    """

    targets: tuple[int, ...]
    references: tuple[int, ...]
    mirrored: bool
    plan: degradation.Plan | degradation.ClipPlan
    appearance: tuple[degradation.Plan, ...]
    pair: Pair
    clip: Clip | None


class Feed:
    """Samples of one dataset version under one set of settings.

    It keeps what can be computed again (an epoch's order, a batch's number of references, bytes of shards) and nothing
    else.

    Args:
        dataset: the opened version. settings: what decides a sample.
        latents: the folder of cached tokens of clean pictures (pipelines.feed.latents); samples then carry these for
            target and references, and no reference's picture is decoded.

    Raises:
        ConfigurationError: embeddings of another network than settings.embedder, no size, or latents for clips or
            beside an appearance.
        DataError: no face to train on in this split, no clip where the settings ask for clips, or no latents in the
            folder.
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
        if settings.frames > 1 and latents:
            raise ConfigurationError(f"{latents}: cached latents are of pictures; leave recipe.latents empty where "
                                     "feed.frames is more than 1")
        if settings.appearance and latents:
            raise ConfigurationError(f"{latents}: cached latents are of pictures as they are; leave recipe.latents "
                                     "empty where there is a feed.appearance")
        self._clips = Clips(dataset, settings, rows) if settings.frames > 1 else None
        self.rows: Rows = rows if self._clips is None else self._clips.first
        most = len(settings.reference_count_probabilities) - 1
        self._capacity = np.minimum(
            dataset.admissible(settings.policy)[rows] if self._clips is None else self._clips.capacity, most)
        self._sizes = shard_sizes(dataset, self.rows)
        self._crops = CropReader(dataset)
        self._latents = Latents(latents, dataset, settings.size) if latents else None
        self._profile = settings.degradations()
        self._appearance = Appearance(settings.appearance) if settings.appearance else None
        self._severity = Severity(settings.severity) if settings.severity else None
        self._clean = self._severity_faces() if settings.severity else ()
        if self._severity is not None:
            acceptance(self._profile, target=self._severity, images=self._clean)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._counts = lru_cache(maxsize=4)(self._make_counts)

    def target_rows(self, batch_number: int) -> Rows:
        """The dataset's rows that are the targets of a global batch, or the first of each where these are clips."""
        epoch, place = divmod(batch_number, batches_per_epoch(len(self.rows), self.settings.batch))
        return self._epoch(epoch)[place]

    def sample(self, position: int) -> Sample:
        """The sample of a position: the same bytes in any process, at any time."""
        drawn = self._drawn(position)
        return self._made(drawn, {name: array[0] for name, array in self._room([drawn]).items()})

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """This rank's share of a global batch; see `pipelines.feed.order.share`."""
        first = step * self.settings.batch
        drawn = [self._drawn(first + place) for place in share(self.settings.batch, rank, world)]
        pictures = self._room(drawn)
        return collate([self._made(one, {name: array[number] for name, array in pictures.items()})
                        for number, one in enumerate(drawn)], pictures)

    def _drawn(self, position: int) -> Drawn:
        """All that is drawn for a position."""
        settings, columns = self.settings, self.dataset.columns
        number, place = divmod(position, settings.batch)
        row = int(self.target_rows(number)[place])
        targets = np.array([row]) if self._clips is None else self._clips.rows(row)
        clip = None if self._clips is None else self._clips.clip(targets)
        chosen = self._references(position, row)
        plan, appearance = self._plan(position, clip), self._appearances(position, 1 + len(chosen))
        return Drawn(
            targets=tuple(targets.tolist()), references=tuple(chosen), plan=plan, appearance=appearance, clip=clip,
            mirrored=settings.flip and bool(rng(settings.seed, "flip", position).random() < 0.5),
            pair=Pair(
                position=position, identity=str(columns["identity"][row]), target=str(columns["face_id"][row]),
                references=tuple(str(columns["face_id"][r]) for r in chosen), reasons=tuple(chosen.values()),
                plan=plan.to_json(), appearance=tuple(one.to_json() for one in appearance),
            ))

    def _room(self, drawn: list[Drawn]) -> Batch:
        return room(len(drawn), len(drawn[0].references), self.settings.size, cached=self._latents is not None,
                    degraded=not self.settings.degrade_on_device, frames=self.settings.frames)

    def _made(self, drawn: Drawn, into: Batch) -> Sample:
        """A drawn sample. into: arrays of a `room` without the first axis, which take its pictures."""
        columns, rows, target = self.dataset.columns, [*drawn.targets, *drawn.references], into["target"]
        frames = target if drawn.clip else target[None]
        landmarks = np.stack([self.picture(row, drawn.mirrored, place)[1] for row, place in zip(
            drawn.targets, frames, strict=True)])
        references = [] if self._latents else [self.picture(row, drawn.mirrored, place) for row, place in zip(
            drawn.references, into["references"], strict=True)]
        for images, shown in zip([frames, *(image[None] for image, _ in references)] if drawn.appearance else [],
                                 drawn.appearance, strict=True):
            for image in images:
                image[:] = degradation.apply(image, shown)
        if isinstance(drawn.plan, degradation.ClipPlan):
            into["degraded"][:] = degradation.apply_clip(target, drawn.plan)
        elif "degraded" in into:
            into["degraded"][:] = degradation.apply(target, drawn.plan)
        raw = columns["embedding"][rows] * columns["norm"][rows].astype(np.float32)[:, None]
        count = len(drawn.targets)
        said: dict[str, Any] = {
            "position": drawn.pair.position, "target": target, "degraded": into.get("degraded"),
            "references": tuple(image for image, _ in references), "reference_embeddings": raw[count:],
            "reference_landmarks": tuple(points for _, points in references), "pair": drawn.pair,
        }
        if drawn.clip is not None:
            return ClipSample(
                **said, target_landmarks=landmarks, target_embedding=raw[:count], clip=drawn.clip,
                seconds=np.array(drawn.clip.seconds, np.float32), attributes=attributes(columns, rows[:count]))
        return Sample(
            **said, target_landmarks=landmarks[0], target_embedding=raw[0],
            latents=np.stack([self._latents.tokens(row, drawn.mirrored) for row in rows]) if self._latents else None)

    def _plan(self, position: int, clip: Clip | None = None) -> degradation.Plan | degradation.ClipPlan:
        """The degradation of a position, of a clip where it has one."""
        numbers, size = rng(self.settings.seed, "degradation", position), self.settings.size
        if clip is not None:
            assert isinstance(self._profile, ClipProfile), "FeedSettings says so"
            steps = len(clip.seconds) - 1
            return degradation.draw_clip(self._profile, numbers, steps + 1, size,
                                         rate=round(steps / clip.seconds[-1], 3))
        if self._severity is None:
            return degradation.draw(self._profile, numbers, size)
        return draw_balanced(self._profile, numbers, size, target=self._severity, images=self._clean)

    def _appearances(self, position: int, pictures: int) -> tuple[degradation.Plan, ...]:
        """The appearance of a position's target (of a clip's frames alike) and of its references."""
        if self._appearance is None:
            return ()
        numbers, size = rng(self.settings.seed, "appearance", position), self.settings.size
        return tuple(self._appearance.draw(numbers, size, size) for _ in range(pictures))

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

    def _references(self, position: int, row: int) -> dict[int, str]:
        """The references of the sample of a position: row -> why, in order."""
        drawn, count = self._counts(position // self.settings.batch)
        if not count:
            return {}
        draw = rng(self.settings.seed, "references", position)
        if self._clips is not None:
            return dict(islice(self._clips.references(row, drawn, draw).items(), count))
        candidates = {str(self.dataset.columns["face_id"][r]): r for r in self.dataset.group_rows(row)}
        chosen = self.dataset.references(row, self.settings.policy, drawn, draw)[:count]
        return {candidates[choice.face_id]: choice.reason for choice in chosen}

    def picture(self, row: int, mirrored: bool,
                into: NDArray[np.uint8] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A face's crop, uint8 [S, S, 3], and its landmarks there, float32 [5, 2].

        Args:
            into: contiguous, takes the crop and is returned.
        """
        size = self.settings.size
        into = np.empty((size, size, 3), np.uint8) if into is None else into
        image = decode_jpeg(self._crops.jpeg(row), into)
        landmarks = (self.dataset.columns["crop_landmarks"][row] + 0.5) * (size / image.shape[0]) - 0.5
        if image is not into:
            way = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
            cv2.resize(image, (size, size), dst=into, interpolation=way)
        if mirrored:
            cv2.flip(into, 1, dst=into)
            landmarks = mirrored_points(landmarks, size)
        return into, landmarks.astype(np.float32)


def sample(dataset: Dataset, settings: FeedSettings, position: int) -> Sample:
    """One sample, from nothing but its arguments; `Feed` gives many of them faster."""
    return Feed(dataset, settings).sample(position)
