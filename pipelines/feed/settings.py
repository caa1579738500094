"""What decides a sample of the feed, beside its position and the dataset version.

In: keyword arguments, mappings and lists as a recipe's JSON has them. Out: FeedSettings of tuples, checked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

from anchorface import degradation
from anchorface.degradation.appearance import Appearance
from anchorface.degradation.balance import Severity
from anchorface.degradation.clip import clip_profile, clip_profiles
from anchorface.identity_index import MismatchPolicy
from anchorface.records.bounds import SEED, SHARE, SIZE, Bounds, check
from anchorface.records.errors import ConfigurationError
from anchorface.records.manifest import CLASSES
from anchorface.records.terms import WITHDRAWN, term

REFUSED = ("consent", WITHDRAWN)


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """What decides a sample, beside its position and the dataset version.

    dataset: the version's URI, or the folder with `latest`. batch: global, over all ranks.
    frames: of a sample; 1 is a picture, more are a clip of one track. stride: from one of them to the next, in frames
    of the film. clip_profile: of a clip's degradations (degradation.clip), needed for clips and for nothing else.
    profile: of a picture's degradations. degradation_overrides: ranges to use instead of the profile's own, range by
    key as in `Profile.with_ranges` (a mapping is taken, and kept as its pairs). severity: bins (lowest dB, highest dB,
    share) that the severities of the plans shall follow, measured on the split's first faces; none for the profile's
    own.
    reference_count_probabilities: of 0, 1, 2, ... references. size: pixels; a recipe fills in its model's.
    flip: mirror half of the samples, target and references together. embedder: the network that the embeddings must
    come from, None for any; a recipe fills in its own.
    identities: only these persons' faces as targets, None for all of the split.
    degrade_on_device: the training makes the degraded pictures on its device (degradation.batch), of targets and plans
    that the feed sends; they differ from the feed's own by the rounding of floats, so it decides the sample.
    appearance: a serialised pipeline of albumentations (degradation.appearance) that target and references are shown
    under, each by a draw of its own, before the target is degraded; given as its file, a mapping or JSON, and kept as
    JSON, so that another file's content is another setting. Empty for none.
    requires: what every face must be of: column (`licence`, `consent`, `source`) and what is allowed in it, as classes
    or words (records.terms.allows; a mapping is taken, and kept as its pairs); empty demands nothing. It decides no
    sample: see pipelines.feed.consent.
    """

    dataset: str
    split: str = "train"
    seed: Annotated[int, SEED] = 0
    batch: Annotated[int, SIZE] = 16
    frames: Annotated[int, Bounds(1, 1000)] = 1
    stride: Annotated[int, Bounds(1, 1000)] = 1
    clip_profile: str = ""
    profile: str = "refldm-train"
    degradation_overrides: tuple[tuple[str, Any], ...] = ()
    severity: Annotated[tuple[tuple[float, float, float], ...], Bounds(-1000, 1000)] = ()
    policy: MismatchPolicy = field(default_factory=MismatchPolicy)
    reference_count_probabilities: Annotated[tuple[float, ...], SHARE] = (0.3, 0.3, 0.2, 0.2)
    size: Annotated[int, Bounds(0, 16384)] = 0
    flip: bool = False
    embedder: str | None = None
    identities: tuple[str, ...] | None = None
    degrade_on_device: bool = False
    appearance: str = ""
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "degradation_overrides", _as_pairs(self.degradation_overrides))
        object.__setattr__(self, "severity", _as_tuples(self.severity))
        object.__setattr__(self, "requires", _as_classes(self.requires))
        object.__setattr__(self, "appearance", _as_pipeline(self.appearance))
        check(self, "feed.")
        shares = self.reference_count_probabilities
        if not shares or abs(sum(shares) - 1.0) > 1e-6:
            raise ConfigurationError(f"feed.reference_count_probabilities {shares}: shares that add up to 1 are needed")
        if 0 < self.size < 16:
            raise ConfigurationError(f"feed.size {self.size}: 0 or at least 16 px are needed")
        if (self.frames > 1) != bool(self.clip_profile):
            raise ConfigurationError(f"feed.frames {self.frames}, feed.clip_profile {self.clip_profile!r}: clips (more "
                                     f"than 1 frame) need one of {', '.join(clip_profiles())}, and pictures none")
        for name in ("severity", "degrade_on_device") if self.frames > 1 else ():
            if getattr(self, name):
                raise ConfigurationError(f"feed.{name} is for pictures; leave it out where feed.frames is more than 1")
        self.degradations()
        if self.severity:
            Severity(self.severity)

    def degradations(self) -> degradation.Profile:
        """The profile with its ranges replaced; a ClipProfile where samples are clips.

        Raises:
            ConfigurationError: an unknown range or numbers that are none; the key is named.
        """
        chosen = clip_profile(self.clip_profile) if self.frames > 1 else degradation.profile(self.profile)
        return chosen.with_ranges({
            key: dict(given) if given and _is_pairs(given) else given for key, given in self.degradation_overrides})


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


def _as_classes(given: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Demanded classes as sorted pairs of column and sorted words.

    Raises:
        ConfigurationError: another column, no words, or consent that was withdrawn.
    """
    pairs = _as_tuples(given)
    fits = _is_pairs(pairs) and all(
        column in CLASSES and isinstance(allowed, tuple) and allowed and all(isinstance(word, str) for word in allowed)
        for column, allowed in pairs)
    if not fits or len({column for column, _ in pairs}) < len(pairs):
        raise ConfigurationError(f"feed.requires {given!r}: a mapping of {', '.join(CLASSES)} to lists of allowed "
                                 'words is needed, such as {"licence": ["commercial"], "consent": ["granted"]}')
    refused = [word for column, allowed in pairs for word in allowed if (column, term(column, word)) == REFUSED]
    if refused:
        raise ConfigurationError(f"feed.requires consent {refused}: what was withdrawn is allowed to nobody")
    return tuple(sorted((column, tuple(sorted(set(allowed)))) for column, allowed in pairs))


def _as_pipeline(given: Any) -> str:
    """A pipeline's canonical JSON, of its file or of what stands in one; empty for none.

    Raises:
        ConfigurationError: as `Appearance.parse`. StorageError: there is no such file.
    """
    if isinstance(given, str):
        return (_parsed(given) if given.startswith("{") else Appearance.read(given).text) if given else ""
    return Appearance.parse(given, "feed.appearance").text


@lru_cache(8)
def _parsed(text: str) -> str:
    """The same of JSON; kept, as settings are made from settings again and again."""
    try:
        return Appearance.parse(json.loads(text), "feed.appearance").text
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"feed.appearance: neither a file's name nor JSON: {error}") from error


def _as_tuples(given: Any) -> Any:
    """Lists as tuples and mappings as tuples of pairs, all the way down."""
    if isinstance(given, Mapping):
        return tuple((key, _as_tuples(value)) for key, value in given.items())
    return tuple(_as_tuples(value) for value in given) if isinstance(given, list | tuple) else given


def _is_pairs(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)
