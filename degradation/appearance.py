"""Appearance: exposure, colour, occlusion and the like, as a serialised pipeline of albumentations 2.0.8 declares them.

In: what `A.save(pipeline, file)` writes, JSON or YAML. Out: an `Appearance`, whose `draw` gives a Plan of drawn numbers
that `apply` carries out, before a degradation or alone. The file is data: its names are looked up among those that a
plan can hold, and nothing else is imported or run.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from anchorface.degradation.clip_plan import ClipOperation, ClipPlan
from anchorface.degradation.operations.appearance import (
    NUMBERS,
    SEEDS,
    VERSION,
    albumentations,
    drawn_values,
    library,
)
from anchorface.degradation.plan import Operation, Plan
from anchorface.records import storage
from anchorface.records.errors import ConfigurationError, DataError

MOST_BYTES, MOST_TRANSFORMS, MOST_CHOSEN, MOST_DEPTH = 5000, 50, 50, 40
"""Of a pipeline: its canonical text, its transforms, how often one group may choose among its own, and brackets within
brackets. Our choice."""
GROUPS: dict[str, set[str]] = {"Compose": set(), "Sequential": set(), "OneOf": set(), "OneOrOther": set(),
                               "SomeOf": {"n", "replace"}, "RandomOrder": {"n", "replace"}}
"""Groups of transforms, and what is said of each beside its probability and its transforms."""
OF_OTHERS = {"bbox_params", "keypoint_params", "additional_targets"}
TENSORS = ("ToFloat", "FromFloat", "Normalize", "ToTensorV2", "ToTensor3D", "ToRGB")
MORE_THAN_A_PICTURE = ("FDA", "HistogramMatching", "PixelDistributionAdaptation", "TextImage", "OverlayElements",
                       "MaskDropout", "ConstrainedCoarseDropout", "Mosaic")
_TRIED = 64


@dataclass(frozen=True)
class Appearance:
    """A pipeline. text: its canonical JSON, from `read` or `parse`."""

    text: str

    @classmethod
    def read(cls, uri: str) -> "Appearance":
        """The pipeline of a file, YAML by its suffix or JSON.

        Raises:
            ConfigurationError: as `parse`. StorageError: there is no such file.
        """
        content = storage.read_bytes(uri)
        if len(content) > 10 * MOST_BYTES:
            raise ConfigurationError(f"{uri}: {len(content):,} bytes; a pipeline has at most {10 * MOST_BYTES:,}")
        try:
            text = content.decode()
            given = _of_yaml(text) if uri.lower().endswith((".yaml", ".yml")) else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{uri}: neither JSON nor, by its suffix, YAML without aliases: "
                                     f"{type(error).__name__}. Write it by albumentations.save(pipeline, file)"
                                     ) from error
        return cls.parse(given, uri)

    @classmethod
    def parse(cls, given: Any, where: str = "appearance") -> "Appearance":
        """The pipeline of a dictionary of `A.to_dict`. where: said before what is wrong.

        Raises:
            ConfigurationError: no pipeline, one of another version, too large a one, or a transform that cannot be in
                one; the transform is named, and what to do.
        """
        if not isinstance(given, Mapping) or not isinstance(given.get("transform"), dict):
            raise ConfigurationError(f"{where}: no pipeline of albumentations: write it by albumentations.save")
        if given.get("__version__") != VERSION:
            raise ConfigurationError(f"{where}: a pipeline of albumentations {given.get('__version__')!r}; this reads "
                                     f"{VERSION}: save it with that version")
        try:
            text = json.dumps({"__version__": VERSION, "transform": given["transform"]}, sort_keys=True,
                              separators=(",", ":"), allow_nan=False)
            if len(text) > MOST_BYTES:
                raise ConfigurationError(f"{len(text):,} characters; a pipeline has at most {MOST_BYTES:,}")
            leaves = list(_leaves(json.loads(text)["transform"]))
            if len(leaves) > MOST_TRANSFORMS:
                raise ConfigurationError(f"{len(leaves)} transforms; a pipeline has at most {MOST_TRANSFORMS}")
            for name, settings in leaves:
                _try(name, settings)
        except (ConfigurationError, DataError, ValueError, TypeError, RecursionError) as error:
            raise ConfigurationError(f"{where}: {error}") from error
        return cls(text)

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Draw every number of one picture's appearance; a pure function of its arguments.

        Args:
            rng: where the numbers come from. height, width: of the picture, px.

        Returns:
            A plan named by the pipeline's digest, without operations where chance chose none.
        """
        operations = []
        for name, settings in _chosen(_tree(self.text), rng, False):
            values = drawn_values(name, settings, int(rng.integers(2**32)), (height, width))
            operations.append(Operation.of("albumentations", transform=name, settings=settings, **values))
        return Plan(profile=f"albumentations {self.digest}", size=min(height, width), operations=tuple(operations))

    def before(self, plan: Plan | ClipPlan, rng: np.random.Generator, height: int, width: int) -> Plan | ClipPlan:
        """A degradation's plan with an appearance drawn before it, of a clip the same for all frames; as `draw`."""
        shown = self.draw(rng, height, width)
        name = f"{plan.profile} after {shown.profile}"
        if isinstance(plan, Plan):
            return replace(plan, profile=name, operations=shown.operations + plan.operations)
        first = tuple(ClipOperation(one.name, one.parameters) for one in shown.operations)
        return replace(plan, profile=name, operations=first + plan.operations)


def _of_yaml(text: str) -> Any:
    """What a YAML text says. Aliases, which a few bytes can make endless, and depth, which takes the reader's time, are
    refused while it is read.

    Raises:
        ValueError: no YAML, or more than a pipeline holds.
    """
    import yaml  # where such a file is read, and nowhere else

    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MOST_DEPTH:
                raise ValueError(f"aliases, or deeper than {MOST_DEPTH}")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from error


@lru_cache(8)
def _tree(text: str) -> dict[str, Any]:
    return dict(json.loads(text)["transform"])


def _leaves(node: Any) -> Iterator[tuple[str, str]]:
    """Every transform of a pipeline with its settings, checked but for these."""
    if not isinstance(node, dict) or not isinstance(node.get("__class_fullname__"), str):
        raise ConfigurationError(f"{str(node)[:60]!r} is no transform: it has no __class_fullname__")
    name, chance = node["__class_fullname__"], node.get("p")
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise ConfigurationError(f"{name}: p is {chance!r}, not a probability")
    if name not in GROUPS:
        yield _leaf(node)
        return
    said = node.keys() - {"__class_fullname__", "p", "transforms", "is_check_shapes"} - GROUPS[name]
    if strange := sorted(said - OF_OTHERS) or sorted(key for key in said if node[key]):
        raise ConfigurationError(f"{name}: {', '.join(strange)} are for more than one picture, or unknown: leave them "
                                 "out")
    children = node.get("transforms")
    if not isinstance(children, list) or not children:
        raise ConfigurationError(f"{name}: transforms are {str(children)[:60]!r}, not a list of at least one")
    count, again = node.get("n", 1), node.get("replace", False)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_CHOSEN or again not in (0, 1):
        raise ConfigurationError(f"{name}: n is {count!r} and replace {again!r}; 0 to {MOST_CHOSEN}, and true or false")
    for child in children:
        yield from _leaves(child)
    if name == "OneOf" and not sum(child["p"] for child in children):
        raise ConfigurationError("OneOf: the p of its transforms are all 0, so none can be chosen")


def _leaf(node: Mapping[str, Any]) -> tuple[str, str]:
    """A transform's name and its settings as canonical JSON, without its probability."""
    settings = {key: value for key, value in node.items() if key not in ("__class_fullname__", "p")}
    return node["__class_fullname__"], json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _try(name: str, settings: str) -> None:
    """Refuse a transform that a plan cannot hold or whose settings do not work, by having it carried out once.

    Raises:
        ConfigurationError: why, and what to do. DataError: its settings do not work.
    """
    if name not in NUMBERS | SEEDS:
        raise ConfigurationError(f"{name}: {_refusal(name)}. A plan can hold {', '.join(sorted(NUMBERS | SEEDS))}, in "
                                 f"groups {', '.join(GROUPS)}")
    image = np.full((_TRIED, _TRIED, 3), 128, np.uint8)
    try:
        albumentations(image, transform=name, settings=settings,
                       **drawn_values(name, settings, 0, (_TRIED, _TRIED)))  # type: ignore[arg-type]
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{name} does not work with {settings}: {error}; change its settings") from error


def _refusal(name: str) -> str:
    """Why a plan cannot hold a transform of that name, and what to do."""
    if name == "Lambda":
        return "it runs code of its own, which a file cannot hold and no seed repeats: leave it out"
    if name == "ReplayCompose":
        return "its record is not needed, since every draw is kept in a plan: write Compose"
    if name == "Erasing":
        return "it fails where it finds no place: write CoarseDropout"
    if name in MORE_THAN_A_PICTURE:
        return "it needs other pictures, masks or fonts, which no plan holds: leave it out"
    if name in TENSORS:
        return "it makes no 8-bit RGB picture: leave it out, training makes tensors itself"
    found = getattr(library(), name, None) if name.isidentifier() else None
    if not isinstance(found, type) or not issubclass(found, library().BasicTransform):
        return f"albumentations {VERSION} has no transform of that name: write one of its own, without a module"
    if issubclass(found, library().DualTransform):
        return "it moves pixels, so the landmarks would be elsewhere: leave it out (feed.flip mirrors)"
    return "a drawn picture of it is not sure to be the same in another process: leave it out"


def _chosen(node: Mapping[str, Any], rng: np.random.Generator, forced: bool) -> Iterator[tuple[str, str]]:
    """The transforms that chance chooses, in order, by the rules of albumentations 2.0.8. forced: whatever p says."""
    name = node["__class_fullname__"]
    happens = bool(rng.random() < node["p"])
    if name == "OneOrOther":
        yield from _chosen(node["transforms"][0 if happens else -1], rng, True)
        return
    if not happens and (not forced or name in ("SomeOf", "RandomOrder")):
        return
    if name not in GROUPS:
        yield _leaf(node)
        return
    children = node["transforms"]
    if name == "OneOf":
        weights = np.array([child["p"] for child in children], np.float64)
        yield from _chosen(children[int(rng.choice(len(children), p=weights / math.fsum(weights)))], rng, True)
        return
    places: Sequence[int] = range(len(children))
    if name in ("SomeOf", "RandomOrder"):
        again = bool(node.get("replace", False))
        count = node.get("n", 1) if again else min(node.get("n", 1), len(children))
        drawn = rng.choice(len(children), size=count, replace=again).tolist()
        places = drawn if name == "RandomOrder" else sorted(drawn)
    for place in places:
        yield from _chosen(children[place], rng, False)
