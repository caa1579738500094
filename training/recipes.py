"""Recipes: a run is a Python function that returns one frozen value.

`position` counts samples since the start of the run; everything below that depends on time (learning rate, EMA,
end of the run) is stated in positions, so it does not change with the number of workers. What the paper does not
publish says "our choice".
"""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from anchorface.models.anchor import AnchorSettings
from anchorface.models.configuration import ModelSettings, klein_4b, tiny
from anchorface.pipelines.feed.settings import FeedSettings, MismatchPolicy
from anchorface.records import ConfigurationError
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.objectives.prediction import Objective

HOUSEKEEPING = ("checkpoint_every", "checkpoints_kept", "log_every", "grid_every", "grid_images", "grid_steps")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run's configuration.

    model: the networks. autoencoder, backbone, text: names of frozen weight files; empty means fresh weights from
    the seed (tests), or the tiny twin's fixed prompt. embedder: the AdaFace network of anchor and loss.
    anchor: how it weighs references. losses: the objectives, whose parts add up.
    feed: what decides a sample; its `batch` is the samples of one optimiser step over all workers, its `seed` the
    run's, its `dataset` is given at launch, its `size` and `embedder` are the model's and the recipe's (`fed`).
    positions: length of the run in samples.
    learning_rate: its peak; warmup, cooldown: positions of linear rise and of cosine fall to `final_rate` of it.
    sigma_sampler: `logit-normal`, `uniform` or `mode`. prompt_dropout: share of samples with the empty prompt.
    precision: `bf16` computes under autocast with float32 master adapters, `fp32` does not.
    base_precision: type of the frozen backbone's weights in memory. ema_half_life: positions. gradient_clip: 0 is none.
    latents: where the tokens of clean pictures are kept, so that each is encoded once (training.latents): `dataset` for
    the dataset version's folder, a URI, or empty for none. It moves losses by rounding alone and shapes nothing.
    checkpoint_every, log_every, grid_every: positions, grid_every 0 for never; checkpoints_kept: newest so many.
    """

    name: str
    model: ModelSettings
    feed: FeedSettings
    positions: int
    autoencoder: str = "autoencoder_tiny"
    backbone: str = "base_tiny"
    text: str = ""
    embedder: str = "adaface_small"
    learning_rate: float = 1e-5
    warmup: int = 0
    cooldown: int = 0
    final_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    sigma_sampler: str = "logit-normal"
    prompt_dropout: float = 0.0
    anchor: AnchorSettings = field(default_factory=AnchorSettings)
    losses: tuple[Objective, ...] = (Flow(), Identity())
    precision: str = "bf16"
    base_precision: str = "fp32"
    ema_half_life: int = 2000
    latents: str = ""
    checkpoint_every: int = 2048
    checkpoints_kept: int = 2
    log_every: int = 256
    grid_every: int = 4096
    grid_images: int = 4
    grid_steps: int = 12

    def __post_init__(self) -> None:
        _require(self.feed.size in (0, self.model.image_size), f"feed.size {self.feed.size} is not model.image_size "
                 f"{self.model.image_size}; leave feed.size out")
        _require(self.feed.embedder in (None, self.embedder), f"feed.embedder {self.feed.embedder!r} gives the "
                 f"references' embeddings, but embedder {self.embedder!r} stands in anchor and loss: it must be one "
                 "network; leave feed.embedder out")
        _require(self.precision in ("bf16", "fp32"), f"precision {self.precision!r}: it is 'bf16' or 'fp32'")
        _require(self.base_precision in ("bf16", "fp32"),
                 f"base_precision {self.base_precision!r}: it is 'bf16' or 'fp32'")
        _require(self.sigma_sampler in ("logit-normal", "uniform", "mode"),
                 f"sigma_sampler {self.sigma_sampler!r}: it is 'logit-normal', 'uniform' or 'mode'")
        _require(self.positions >= self.feed.batch, f"positions {self.positions}: at least one batch of "
                 f"{self.feed.batch} is needed")
        kinds = [part.kind for part in self.losses]
        _require(len(set(kinds)) == len(kinds) and any(part.weight for part in self.losses),
                 f"losses {', '.join(kinds) or 'none'}: each once, and one of a weight that is not 0")
        _require(0 <= self.prompt_dropout <= 1, "prompt_dropout must lie in [0, 1]")
        _require(min(self.checkpoint_every, self.log_every, self.checkpoints_kept, self.ema_half_life) > 0,
                 "checkpoint_every, log_every, checkpoints_kept and ema_half_life must be positive")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.positions // self.feed.batch

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.feed.seed

    @property
    def fed(self) -> FeedSettings:
        """The feed's settings with the model's size and the recipe's embedder."""
        return replace(self.feed, size=self.model.image_size, embedder=self.embedder)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the losses by their kind."""
        values = asdict(replace(self, feed=self.fed)) | {"losses": {part.kind: _values(part) for part in self.losses}}
        return json.loads(json.dumps(values))

    def shaping(self) -> dict[str, Any]:
        """What decides the weights, flat: dotted key -> value. Where the dataset and cached latents stand and how often
        the run is saved, logged and drawn is left out.
        """
        left_out = {"feed.dataset", "name", "latents", *HOUSEKEEPING}
        return {key: value for key, value in flat(self.to_dict()).items() if key not in left_out}

    @property
    def digest(self) -> str:
        """SHA-256 of `shaping`, 16 hex digits."""
        return hashlib.sha256(json.dumps(self.shaping(), sort_keys=True).encode()).hexdigest()[:16]

    def due(self, clock: int, every: int) -> bool:
        """Whether the step that ended at `clock` reached a multiple of `every` positions, or the end; 0 is never."""
        if not every:
            return False
        return clock // every > (clock - self.feed.batch) // every or clock >= self.steps * self.feed.batch

    def learning_rate_at(self, clock: int) -> float:
        """The learning rate of the step that begins after `clock` positions."""
        rate = self.learning_rate
        if self.warmup:
            rate *= min(1.0, (clock + self.feed.batch) / self.warmup)
        left = self.positions - clock
        if self.cooldown and left < self.cooldown:
            fall = 0.5 * (1.0 + math.cos(math.pi * (1.0 - left / self.cooldown)))
            rate *= self.final_rate + (1.0 - self.final_rate) * fall
        return rate


def iconface_tiny() -> Recipe:
    """The demo's: the tiny twin at 128 px, its carried base frozen, adapters and pathways trained on two cores.

    Data rules and losses are the paper's; rates, lengths and reference counts are our choice for the size.
    """
    return Recipe(
        name="iconface_tiny", model=tiny(), positions=9216,
        feed=FeedSettings(dataset="", batch=16, profile="refldm-severe", flip=True,
                          reference_count_probabilities=(0.2, 0.2, 0.2, 0.4)),
        learning_rate=1e-3, warmup=512, cooldown=6144, final_rate=0.05,
        ema_half_life=1000,
    )


def iconface_tiny_short() -> Recipe:
    """`iconface_tiny` for continuous integration: the same line, too few samples to learn much."""
    return replace(iconface_tiny(), name="iconface_tiny_short", positions=256, warmup=64, cooldown=128,
                   ema_half_life=64, checkpoint_every=128, log_every=64, grid_every=256, grid_images=2, grid_steps=4)


def iconface() -> Recipe:
    """IConFace on FLUX.2-klein-base-4B with the paper's numbers: batch 1 accumulated 4 times (one GPU: micro_batch 1,
    checkpointing), rate 1e-5 constant, 512 px, reference counts .3/.3/.2/.2.

    Not published, so our choice: steps, optimiser betas, clipping, EMA, sigma sampling (Flux-FaceIR's logit-normal),
    bfloat16, and the degradation, for which ReF-LDM's training profile stands in.
    """
    return Recipe(
        name="iconface", model=klein_4b(), positions=400_000,
        autoencoder="flux2_vae", backbone="flux2_klein_base_4b", text="flux2_klein_prompt",
        embedder="adaface_ir50_ms1mv2",
        feed=FeedSettings(dataset="", batch=4, profile="refldm-train", flip=True, policy=MismatchPolicy()),
        learning_rate=1e-5, base_precision="bf16", ema_half_life=8000, checkpoint_every=4000, log_every=80,
        grid_every=8000,
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (iconface_tiny, iconface_tiny_short, iconface)


def recipe(name: str, **overrides: Any) -> Recipe:
    """A recipe by name with some values replaced.

    Args:
        name: a recipe function's name.
        overrides: key -> value; nested keys are dotted (`**{"feed.batch": 8}`). A text value is read as JSON where
            the field is not text, as a command line gives it.

    Raises:
        ConfigurationError: an unknown recipe or key (with the nearest known ones), or values that do not fit.
    """
    known = {function.__name__: function for function in RECIPES}
    if name not in known:
        raise ConfigurationError(f"unknown recipe {name!r}{_hint(name, list(known))}")
    made = known[name]()
    keys = list(_keys(made))
    for key in overrides:
        if key not in keys:
            raise ConfigurationError(f"unknown key {key!r}{_hint(key, keys)}")
    return _replaced(made, overrides)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _replaced(value: Any, overrides: Mapping[str, Any], prefix: str = "") -> Any:
    """A frozen value with several of its fields replaced at once, so that their order says nothing."""
    if isinstance(value, tuple):
        return tuple(_replaced(part, _below(overrides, part.kind), f"{prefix}{part.kind}.") for part in value)
    changes = {}
    for head in {key.partition(".")[0] for key in overrides}:
        old, inner = getattr(value, head), _below(overrides, head)
        if head in overrides:
            old = _as(old, overrides[head], f"{prefix}{head}")
        changes[head] = _replaced(old, inner, f"{prefix}{head}.") if inner else old
    try:
        return replace(value, **changes)
    except TypeError as error:
        raise ConfigurationError(f"{', '.join(prefix + name for name in changes)}: {error}") from error


def _below(overrides: Mapping[str, Any], head: str) -> dict[str, Any]:
    return {key.removeprefix(f"{head}."): new for key, new in overrides.items() if key.startswith(f"{head}.")}


def _as(old: Any, new: Any, key: str) -> Any:
    """`new` in the type of `old`."""
    if isinstance(new, str) and not isinstance(old, str | None):
        try:
            new = json.loads(new)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{key}={new!r}: a {type(old).__name__} is needed, written as in JSON") from error
    if isinstance(new, dict) and isinstance(old, tuple):
        new = list(new.items())
    if isinstance(new, list):
        new = tuple(new)
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        new = float(new)
    if old is not None and new is not None and type(new) is not type(old):
        raise ConfigurationError(f"{key}={new!r}: a {type(old).__name__} is needed, as in {old!r}")
    return new


def _keys(value: Any, prefix: str = "") -> list[str]:
    found = []
    for entry in fields(value):
        inner = getattr(value, entry.name)
        within = {part.kind: part for part in inner} if _are_objectives(inner) else {}
        found += [] if within else [f"{prefix}{entry.name}"]
        found += _keys(inner, f"{prefix}{entry.name}.") if is_dataclass(inner) else []
        for kind, part in within.items():
            found += _keys(part, f"{prefix}{entry.name}.{kind}.")
    return found


def _are_objectives(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(is_dataclass(part) for part in value)


def _values(part: Any) -> dict[str, Any]:
    """A frozen setting's fields; an objective is one, whatever else it can do."""
    return {entry.name: getattr(part, entry.name) for entry in fields(part)}


def _hint(name: str, known: list[str]) -> str:
    # Compared by the last part as well, so that `learning_rte` and `feed.bach` both find their neighbour.
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2] and key not in near]
    return f"; did you mean {', '.join(near[:4])}?" if near else f"; known are {', '.join(known)}"


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigurationError(f"recipe: {text}")
