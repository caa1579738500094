"""Recipes: a run is a Python function that returns one frozen value.

`position` counts samples since the start of the run; everything below that depends on time (learning rate, EMA,
end of the run) is stated in positions, so it does not change with the number of workers. What the paper does not
publish says "our choice".
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

from anchorface.faces.weights import WEIGHTS
from anchorface.models.anchor import AnchorSettings
from anchorface.models.configuration import ModelSettings, klein_4b, tiny
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.models.rg_ipfr.settings import RGIPFRSettings
from anchorface.models.settings import SystemSettings
from anchorface.pipelines.feed.settings import FeedSettings, MismatchPolicy
from anchorface.records import ConfigurationError
from anchorface.records.bounds import AMOUNT, COUNT, COUNT_OR_NONE, SHARE, Bounds, check
from anchorface.training.checkpoints.layout import Retention
from anchorface.training.degrade import require_on_device
from anchorface.training.objectives.feedback import Feedback
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.hard_example import HardExample
from anchorface.training.objectives.identity import Identity
from anchorface.training.objectives.prediction import Objective
from anchorface.training.overrides import defaults, hint, keys, replaced
from anchorface.training.validation_settings import METRICS, ValidationSettings

HOUSEKEEPING = ("checkpoint_every", "checkpoints_kept", "checkpoints_best", "checkpoints_forever", "log_every",
                "grid_every", "grid_images", "grid_steps", "validation")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run's configuration.

    model: the networks. autoencoder, backbone, text: names of frozen weight files; empty means fresh weights from
    the seed (tests), or the tiny twin's fixed prompt. attributes: of the file that a fresh system's attributes begin
    at, what a text encoder says of them; empty where they begin at random numbers, or none are heard. embedder: the
    AdaFace network of the anchor. face_encoder: of the references' face tokens; empty for a system that reads none.
    anchor: how it weighs references. losses: the objectives, whose parts add up. loss_embedder: who looks at faces for
    them, any embedder of the table; empty for the anchor's own, as in the paper.
    feed: what decides a sample; its `batch` is the samples of one optimiser step over all workers, its `seed` the
    run's, its `dataset` is given at launch, its `size` and `embedder` are the model's and the recipe's (`fed`).
    positions: length of the run in samples.
    learning_rate: its peak; warmup, cooldown: positions of linear rise and of cosine fall to `final_rate` of it.
    sigma_sampler: `logit-normal`, `uniform` or `mode`. prompt_dropout: share of samples with the empty prompt.
    input_dropout: share without their degraded picture and without what is known of their references, context_dropout:
    share of the others without that alone (models.conditions): what guidance asks a network for at use.
    anchor_alone: share of batches whose references are known by the identity anchor alone, without their tokens, so
    that the anchor has to say who it is (our choice; the paper's is 0).
    degraded_targets: of a system that hears attributes, share of samples whose target is their degraded picture and
    that are told so, which a network can then be guided away from; attribute_dropout: share of what is known of a face
    that is not said (training.objective.told).
    precision: `bf16` computes under autocast with float32 master adapters, `fp32` does not.
    base_precision: type of the frozen backbone's weights in memory. ema_half_life: positions. gradient_clip: 0 is none.
    latents: where the tokens of clean pictures are kept, so that each is encoded once (training.latents): `dataset` for
    the dataset version's folder, a URI, or empty for none. It moves losses by rounding alone and shapes nothing.
    checkpoint_every, log_every, grid_every: positions, grid_every 0 for never. checkpoints_kept: newest so many stay,
    checkpoints_best: so many with the best validation, checkpoints_forever: all at multiples of so many positions.
    validation: what is asked of held-out samples, and how often.
    """

    name: str
    model: ModelSettings
    feed: FeedSettings
    positions: Annotated[int, COUNT]
    autoencoder: str = "autoencoder_tiny"
    backbone: str = "base_tiny"
    text: str = ""
    attributes: str = ""
    embedder: str = "adaface_small"
    face_encoder: str = ""
    learning_rate: Annotated[float, Bounds(0, 1, above=True)] = 1e-5
    warmup: Annotated[int, COUNT_OR_NONE] = 0
    cooldown: Annotated[int, COUNT_OR_NONE] = 0
    final_rate: Annotated[float, SHARE] = 0.0
    betas: Annotated[tuple[float, float], Bounds(0, 1, below=True, count=2)] = (0.9, 0.99)
    weight_decay: Annotated[float, AMOUNT] = 0.0
    gradient_clip: Annotated[float, AMOUNT] = 1.0
    sigma_sampler: str = "logit-normal"
    prompt_dropout: Annotated[float, SHARE] = 0.0
    input_dropout: Annotated[float, SHARE] = 0.0
    context_dropout: Annotated[float, SHARE] = 0.0
    anchor_alone: Annotated[float, SHARE] = 0.0
    degraded_targets: Annotated[float, SHARE] = 0.0
    attribute_dropout: Annotated[float, SHARE] = 0.0
    anchor: AnchorSettings = field(default_factory=AnchorSettings)
    losses: tuple[Objective, ...] = (Flow(), Identity())
    loss_embedder: str = ""
    precision: str = "bf16"
    base_precision: str = "fp32"
    ema_half_life: Annotated[int, COUNT] = 2000
    latents: str = ""
    checkpoint_every: Annotated[int, COUNT] = 2048
    checkpoints_kept: Annotated[int, COUNT] = 2
    checkpoints_best: Annotated[int, COUNT_OR_NONE] = 1
    checkpoints_forever: Annotated[int, COUNT_OR_NONE] = 0
    log_every: Annotated[int, COUNT] = 256
    grid_every: Annotated[int, COUNT_OR_NONE] = 4096
    grid_images: Annotated[int, Bounds(1, 1024)] = 4
    grid_steps: Annotated[int, Bounds(1, 1000)] = 12
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def __post_init__(self) -> None:
        check(self, "recipe: ")
        self._require_networks()
        _require(self.feed.size in (0, self.model.image_size), f"feed.size {self.feed.size} is not model.image_size "
                 f"{self.model.image_size}; leave feed.size out")
        _require(self.feed.embedder in (None, self.embedder), f"feed.embedder {self.feed.embedder!r} gives the "
                 f"references' embeddings, but embedder {self.embedder!r} stands in the anchor: it must be one "
                 "network; leave feed.embedder out")
        _require(self.precision in ("bf16", "fp32"), f"precision {self.precision!r}: it is 'bf16' or 'fp32'")
        _require(self.base_precision in ("bf16", "fp32"),
                 f"base_precision {self.base_precision!r}: it is 'bf16' or 'fp32'")
        _require(not self.model.system.full or self.base_precision == "fp32",
                 "model.system.full trains the backbone's own weights: base_precision must be 'fp32'")
        _require(self.sigma_sampler in ("logit-normal", "uniform", "mode"),
                 f"sigma_sampler {self.sigma_sampler!r}: it is 'logit-normal', 'uniform' or 'mode'")
        batch, (steps, rest) = self.feed.batch, divmod(self.positions, self.feed.batch)
        nearest = " or ".join(f"{batch * near:,}" for near in (steps, steps + 1) if near)
        _require(not rest, f"positions {self.positions:,} is no multiple of feed.batch {batch}, and a part of a batch "
                 f"is never trained on: the nearest are {nearest}")
        kinds = [part.kind for part in self.losses]
        _require(len(set(kinds)) == len(kinds) and any(part.weight for part in self.losses),
                 f"losses {', '.join(kinds) or 'none'}: each once, and one of a weight that is not 0")
        for part in self.losses:  # also those of other people, whose fields declare no bounds
            _require(AMOUNT.hold(part.weight),
                     f"losses.{part.kind}.weight is {part.weight!r}: a number {AMOUNT} is needed")
        _require(self.model.system.hears_attributes or not (self.degraded_targets or self.attribute_dropout),
                 f"degraded_targets {self.degraded_targets}, attribute_dropout {self.attribute_dropout}: this system "
                 "hears no attributes, set both to 0")
        anchored = type(self.model.system) is IConFaceSettings and self.model.system.identity_anchor
        _require(anchored or not self.anchor_alone,
                 f"anchor_alone {self.anchor_alone}: this system has no identity anchor, or hears its references in "
                 "more ways than by it and by their tokens; set it to 0")
        _require(self.feed.frames == 1 or not self.latents, f"latents {self.latents!r}: clips have none; leave it "
                 "empty")
        _require(not self.feed.appearance or not self.latents, f"latents {self.latents!r}: they are of pictures as "
                 "they are, and feed.appearance changes these; leave one of the two empty")
        most = self.model.system.most_frames if isinstance(self.model.system, IPFVRSettings) else self.feed.frames
        _require(self.feed.frames <= most, f"feed.frames is {self.feed.frames}, model.system.most_frames {most}")
        self.validation.require_apart(self.embedders)
        if self.feed.degrade_on_device:
            require_on_device(self.feed.degradations(), self.model.image_size)

    def _require_networks(self) -> None:
        """Refuse names that the table of weights does not know as what the recipe takes them for. The anchor's
        embedder is none of the ONNX networks, and the only one that cannot be left empty.
        """
        for role, kind in (("autoencoder", "autoencoder"), ("backbone", "base"), ("text", "text"),
                           ("attributes", "attributes"), ("embedder", "embedder"), ("loss_embedder", "embedder"),
                           ("face_encoder", "face encoder")):
            name = getattr(self, role)
            known = [entry.name for entry in WEIGHTS
                     if entry.kind == kind and (role == "loss_embedder" or not entry.file.endswith(".onnx"))]
            _require(name in known or (not name and role != "embedder"),
                     f"{role} {name!r} is no network that training knows as such{hint(str(name), known)}")
        width = self.model.system.reads_prompts
        _require(bool(width) == bool(self.attributes),
                 f"attributes {self.attributes!r}: this system's attributes start at "
                 f"{f'embeddings of {width} numbers, name their file' if width else 'no embeddings, leave it empty'}")
        reads = self.model.system.face_shape != (0, 0)
        _require(reads == bool(self.face_encoder), f"face_encoder {self.face_encoder!r}: this system reads "
                 + ("a face-image encoder's tokens, name one" if reads else "none, leave it empty"))
        _require(self.loss_embedder != self.embedder, f"loss_embedder {self.loss_embedder!r} is the anchor's own "
                 "embedder: leave it empty")
        who = "a face encoder" if self.face_encoder else "a loss's own embedder" if self.loss_embedder else ""
        _require(not (who and self.latents), f"latents {self.latents!r}: cached, references have no pictures, and "
                 f"{who} needs them; leave latents empty")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.positions // self.feed.batch

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.feed.seed

    @property
    def embedders(self) -> tuple[str, ...]:
        """The face networks that take part: the anchor's and, where it is another, the loss's. None may judge."""
        return (self.embedder, self.loss_embedder) if self.loss_embedder else (self.embedder,)

    @property
    def fed(self) -> FeedSettings:
        """The feed's settings with the model's size and the recipe's embedder."""
        return replace(self.feed, size=self.model.image_size, embedder=self.embedder)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the losses by their kind."""
        values = asdict(replace(self, feed=self.fed)) | {"losses": {part.kind: _values(part) for part in self.losses}}
        return json.loads(json.dumps(values))

    def shaping(self) -> dict[str, Any]:
        """What decides the weights, flat: dotted key -> value. Where the dataset and cached latents stand, which
        classes it must be of and how often the run is saved, logged, drawn and validated is left out.
        """
        left_out = {"feed.dataset", "feed.requires", "name", "latents"}
        return {key: value for key, value in flat(self.to_dict()).items()
                if key not in left_out and key.partition(".")[0] not in HOUSEKEEPING}

    def defaults(self) -> dict[str, Any]:
        """Dotted key -> default of every setting that has one: what a checkpoint older than a setting had for it."""
        return flat(json.loads(json.dumps(defaults(self))))

    @property
    def retention(self) -> Retention:
        """Which checkpoints stay."""
        asked = self.validation
        return Retention(newest=self.checkpoints_kept, best=self.checkpoints_best, every=self.checkpoints_forever,
                         metric=f"validation/{asked.metric}", largest=METRICS[asked.metric] == "greatest")

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

    Data rules and forms of the losses are the paper's; rates, lengths, reference counts and the identity loss's weight
    are our choice for the size: at the paper's .30 and a third of the rate references bring half as much
    (docs/results.md).
    """
    return Recipe(
        name="iconface_tiny", model=tiny(), positions=9216, losses=(Flow(), Identity(weight=2.0)),
        feed=FeedSettings(dataset="", batch=16, profile="refldm-severe", flip=True,
                          reference_count_probabilities=(0.2, 0.2, 0.2, 0.4)),
        learning_rate=3e-3, warmup=512, cooldown=6144, final_rate=0.05,
        ema_half_life=1000, validation=ValidationSettings(every=2048),
    )


def iconface_tiny_short() -> Recipe:
    """`iconface_tiny` for continuous integration: the same line, too few samples to learn much."""
    return replace(iconface_tiny(), name="iconface_tiny_short", positions=256, warmup=64, cooldown=128,
                   ema_half_life=64, checkpoint_every=128, log_every=64, grid_every=256, grid_images=2, grid_steps=4,
                   validation=ValidationSettings(every=256, samples=4, pictures=2, steps=4, kept=2))


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
        validation=ValidationSettings(every=8000, samples=64, pictures=16, steps=12, judge="mobilefacenet_y1_ms1m_112"),
    )


def rg_ipfr_tiny() -> Recipe:
    """RG-IPFR on the tiny twin: the carried face encoder, one reference a sample, the data of `iconface_tiny`.

    A context that begins at nothing is heard late: with the rate, length and weight of identity of `iconface_tiny` and
    of ReF-LDM (.1) references change nothing (docs/results.md). Rate, length and weight are our choice.
    `--set model.system.memory=two` and its like switch IConFace's pathways on beside the context.
    """
    made = iconface_tiny()
    system = RGIPFRSettings(opening="output", identity_dimension=256, face_tokens=65, face_width=128, context_rank=16,
                            context_query_rank=32, context_heads=6, base_tokens=16, detail_tokens=16, pooler_heads=6,
                            cross_query_rank=32, cross_heads=6)
    return replace(made, name="rg_ipfr_tiny", model=replace(made.model, system=system),
                   **RG_IPFR | {"losses": (Flow(weight=1.0), HardExample(weight=2.0))},
                   face_encoder="face_encoder_small", learning_rate=3e-3, positions=18_432, cooldown=12_288,
                   feed=replace(made.feed, reference_count_probabilities=(0.0, 1.0)))


def rg_ipfr() -> Recipe:
    """RG-IPFR on FLUX.2-klein-base-4B at 512 px with FaRL's tokens, trained with one reference a sample.

    Its base model, steps, rates and batch are not published: the rate and the warm-up are ReF-LDM's, which it extends;
    the rest is our choice, as in `iconface`, AdaFace in ArcFace's place included.
    """
    made = iconface()
    system = RGIPFRSettings(opening="output", context_width=768, context_heads=24, memory_width=512, cross_heads=24)
    return replace(made, name="rg_ipfr", model=replace(made.model, system=system), **RG_IPFR,
                   face_encoder="farl_b16_ep16", learning_rate=5e-5, warmup=10_000,
                   feed=replace(made.feed, reference_count_probabilities=(0.0, 1.0)))


RG_IPFR: dict[str, Any] = {"losses": (Flow(weight=1.0), HardExample()), "input_dropout": 0.1, "context_dropout": 0.1}
"""What both have. Source: RG-IPFR; the rates of dropout are ReF-LDM's."""

def ip_fvr_tiny() -> Recipe:
    """IP-FVR on the tiny twin: clips of eight frames, with the pathways of `iconface_tiny`, whose checkpoint it is
    meant to begin with (`--start`): what time and contexts add starts at nothing. The identity loss has the paper's
    weight: films are not as bad as what `iconface_tiny` learns from, and there more of it seems to cost likeness.
    """
    made = iconface_tiny()
    system = _with_time(made.model.system, temporal_rank=16, temporal_heads=6, context_rank=16, context_query_rank=32,
                        context_heads=6)
    return replace(made, name="ip_fvr_tiny", model=replace(made.model, system=system), **IP_FVR, positions=2048,
                   feed=replace(made.feed, batch=4, frames=8, clip_profile="vfhq"), learning_rate=5e-4, warmup=64,
                   cooldown=1536, ema_half_life=256, checkpoint_every=512, log_every=64, grid_every=1024, grid_images=2,
                   validation=ValidationSettings(every=512, samples=8, pictures=4))


def ip_fvr() -> Recipe:
    """IP-FVR on FLUX.2-klein-base-4B at 512 px, begun with a checkpoint of `iconface` (`--start`): clips of eight
    frames, one at a time (micro_batch 1, checkpointing).

    The paper publishes no number of its training, nor its base model; all are our choice, beside those of `iconface`.
    """
    made = iconface()
    system = _with_time(made.model.system, temporal_heads=24, image_width=768, attribute_width=768,
                        prompt_width=made.model.backbone.joint_attention_dim, context_heads=24)
    return replace(made, name="ip_fvr", model=replace(made.model, system=system), **IP_FVR,
                   attributes="flux2_klein_attributes", positions=100_000,
                   feed=replace(made.feed, frames=8, clip_profile="vfhq"), ema_half_life=2000, checkpoint_every=1000,
                   grid_every=4000, grid_images=2,
                   validation=replace(made.validation, every=4000, samples=16, pictures=8))


IP_FVR: dict[str, Any] = {"losses": (Flow(), Identity(), Feedback()), "degraded_targets": 0.1, "attribute_dropout": 0.3}
"""What both have: IConFace's losses are the rein on the reward. Our choice."""

RECIPES: tuple[Callable[[], Recipe], ...] = (iconface_tiny, iconface_tiny_short, iconface, rg_ipfr_tiny, rg_ipfr,
                                             ip_fvr_tiny, ip_fvr)


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
        raise ConfigurationError(f"unknown recipe {name!r}{hint(name, list(known))}")
    return varied(known[name](), overrides)


def varied(made: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """A recipe with some values replaced; see `recipe`."""
    for key in overrides:
        if key not in keys(made):
            raise ConfigurationError(f"unknown key {key!r}{hint(key, keys(made))}")
    return replaced(made, overrides)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _values(part: Any) -> dict[str, Any]:
    """A frozen setting's fields; an objective is one, whatever else it can do."""
    return {entry.name: getattr(part, entry.name) for entry in fields(part)}


def _with_time(image: SystemSettings, **more: Any) -> IPFVRSettings:
    """IP-FVR's settings that contain IConFace's. A clip's frames share all of their noise: with noise of their own the
    restored ones flicker more than the degraded (docs/results.md)."""
    values = {name: value for name, value in _values(image).items() if name != "kind"}
    return IPFVRSettings(**values | {"opening": "output", "shared_noise": 1.0} | more)


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigurationError(f"recipe: {text}")
