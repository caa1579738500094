"""What a run will need before anybody books a machine: memory per GPU by ZeRO stage, and operations.

In: a recipe and its execution. Out: bytes and operations, counted on networks of the recipe's shapes out of torch's
fake tensors: shapes and types are real, numbers are not, so a laptop plans for a cluster. What each state holds follows
training.engine: float32 adapters, gradients, master copies and moments, which ZeRO shards by its stage; averages in
shards at every stage; DeepSpeed's bucket for gradients (training.buckets) whole on every rank. Time: training.forecast.

Counted exactly: parameters, what autograd keeps, multiplications of matrices, convolutions and attention. Not counted:
the allocator's waste, NCCL's buffers, element-wise work. Activations are counted with everything in the compute type;
autocast keeps some norms in float32 besides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from anchorface.faces.adaface import AdaFaceNet
from anchorface.faces.embed import gradient_network
from anchorface.faces.face_encoder import SHAPES, FaceEncoder
from anchorface.faces.weights import weight
from anchorface.models.adapter import Adapter
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import build_backbone
from anchorface.models.build import build
from anchorface.models.checkpoint import DTYPES
from anchorface.models.conditions import Conditions, FaceTokens
from anchorface.models.encode import CROP
from anchorface.records import ConfigurationError
from anchorface.records.attributes import ATTRIBUTES
from anchorface.training.buckets import bucket_size, live_size
from anchorface.training.execution import STAGES, Execution
from anchorface.training.objectives.feedback import Feedback
from anchorface.training.objectives.hard_example import HardExample
from anchorface.training.objectives.identity import Identity
from anchorface.training.recipes import Recipe


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any,
                        **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Fused attention keeps no matrix of weights on the CPU as on a GPU; torch's table of operations knows the GPU's."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What one sample of a recipe costs on one device, and how large its networks are.

    backbone, adapters, others: parameters (others: autoencoder, embedders, face encoder, prompts; all frozen).
    activations: bytes that a pass through the network keeps for the backward pass, at the execution's checkpointing;
    asked: such passes in a step, two where feedback asks again; identity: bytes of decoding and embedding.
    forward, training: floating point operations of one sample, with all frames of a clip: of the velocity alone, and of
    everything in a training step (encoding, velocity forward and backward with what checkpointing computes again,
    decoding and embedding for the identity loss, target and references too where its embedder is another than the
    anchor's, and feedback's sampling in the mean).
    """

    recipe: Recipe
    execution: Execution
    references: int
    backbone: int
    adapters: int
    others: int
    activations: int
    identity: int
    forward: int
    training: int
    asked: int = 1


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU. `bucket` is what gradients are reduced in; `gathered` the weights that stage 3 holds whole at
    most while it computes. `others` are the autoencoder, the embedders, the face encoder and the stored prompts;
    `activations` those of the network's passes and of the identity loss after them, all of which stand when the
    backward pass begins."""

    backbone: int
    adapters: int
    gradients: int
    moments: int
    average: int
    bucket: int
    gathered: int
    others: int
    activations: int

    @property
    def trained(self) -> int:
        """What is trained, and what the optimiser and the averages hold for it."""
        return self.adapters + self.gradients + self.moments + self.average

    @property
    def buffers(self) -> int:
        """What DeepSpeed holds while it reduces and gathers."""
        return self.bucket + self.gathered

    @property
    def total(self) -> int:
        """All of it."""
        return sum(vars(self).values())


@dataclass(frozen=True, kw_only=True)
class Share:
    """What the busiest rank does in a step. samples: its part of the batch. micro: samples of a backward pass. passes:
    how many there are."""

    samples: int
    micro: int
    passes: int


def count(recipe: Recipe, references: int = 3, execution: Execution | None = None) -> Counted:
    """Count a recipe's networks and one sample's work.

    Args:
        recipe: the run. references: reference pictures of the sample. execution: its checkpointing and micro-batch.

    Raises:
        ConfigurationError: a negative number of references.
        WeightsError: an embedder that the table of weights does not know, or a loss's that is not here: an ONNX
            network's shapes stand in its file.
    """
    if references < 0:
        raise ConfigurationError(f"references {references}: none or more")
    execution = execution or Execution()
    apart = [gradient_network(recipe.loss_embedder).to(DTYPES[recipe.precision])] if recipe.loss_embedder else []
    # Those tensors are real, read from a file; what comes out of them is not.
    with FakeTensorMode(allow_non_fake_inputs=True), _default_dtype(DTYPES[recipe.precision]):
        network = build(recipe.model.system, build_backbone(recipe.model.backbone))
        parts = _Parts(network)
        autoencoder = Autoencoder(recipe.model.autoencoder).requires_grad_(False)
        embedder = AdaFaceNet(weight(recipe.embedder, "embedder").network).requires_grad_(False).eval()
        forward, backward = _velocity(network, parts, recipe, references)
        image = torch.empty(1, 3, recipe.model.image_size, recipe.model.image_size)
        encoded, encode = _operations(lambda: autoencoder.encode(image))
        readers = _face_encoders(recipe)
        _, read = _operations(lambda: [reader(image) for reader in readers])
        tokens, side = encoded.detach().requires_grad_(True), recipe.model.tokens_per_side
        crop = torch.empty(1, 3, CROP, CROP, requires_grad=True)
        in_loss = apart[0] if apart else embedder
        seen = _Kept(autoencoder, in_loss)
        with seen.watched():
            decode = _both_ways(lambda: autoencoder.decode(tokens, side, side))
            embed = _both_ways(lambda: in_loss(crop)[0])
        look = _operations(lambda: in_loss(crop.detach()))[1] * (1 + references) if apart else 0
    adapters = sum(p.numel() for p in network.trainable_parameters())
    text = 2 * recipe.model.backbone.text_tokens * recipe.model.backbone.joint_attention_dim
    again = forward if execution.checkpointing else 0
    decoded = [part.fraction for part in recipe.losses if isinstance(part, Identity | HardExample) and part.weight]
    share = max(decoded, default=0.0) if references else 0.0
    fed_back = [part for part in recipe.losses if isinstance(part, Feedback) and part.weight and references]
    frames = recipe.feed.frames
    judge = frames * (decode + embed + look)
    sampled = [part.fraction * (part.mean_steps * forward + forward + again + backward + judge) for part in fed_back]
    shown = references if recipe.model.system.concatenates else 0
    return Counted(
        recipe=recipe, execution=execution, references=references, adapters=adapters,
        backbone=sum(p.numel() for p in network.parameters()) - adapters,
        others=sum(p.numel() for net in (autoencoder, embedder, *apart, *readers) for p in net.parameters()) + text,
        activations=parts.kept_bytes(execution.checkpointing), asked=1 + len(fed_back),
        identity=frames * seen.bytes * (bool(share) + len(fed_back)), forward=forward,
        training=int((2 * frames + shown) * encode + references * read + forward + again + backward + share * judge
                     + sum(sampled)),
    )


def memory(counted: Counted, *, gpus: int = 1, stage: int | None = None) -> Memory:
    """Bytes on each of several GPUs at a ZeRO stage.

    Args:
        counted: from `count`. gpus: ranks. stage: 0 replicates everything, 1 shards moments and the optimiser's master
            copy, 2 the gradients too, 3 the parameters too, the frozen ones included; None: the execution's.

    Raises:
        ConfigurationError: another stage, no GPU, or more GPUs than the batch has samples.
    """
    recipe, execution = counted.recipe, counted.execution
    stage = execution.zero_stage if stage is None else stage
    if stage not in STAGES:
        raise ConfigurationError(f"ZeRO stage {stage}: stages are 0..3")
    busiest = share_of(counted, gpus)
    backbone, adapters = counted.backbone * DTYPES[recipe.base_precision].itemsize, counted.adapters * 4

    def share(size: int, from_stage: int) -> int:
        return -(-size // gpus) if stage >= from_stage else size

    # From stage 1 on DeepSpeed's optimiser works on a flat float32 copy of its shard.
    master = share(adapters, 1) if stage else 0
    numbers = counted.backbone + counted.adapters
    live = (backbone + adapters) * live_size(numbers) // numbers
    return Memory(
        backbone=share(backbone, 3), adapters=share(adapters, 3) + master, gradients=share(adapters, 2),
        moments=share(2 * adapters, 1), average=share(adapters, 0), bucket=4 * bucket_size(counted.adapters),
        gathered=live if stage == 3 and gpus > 1 else 0, others=counted.others * 4,
        activations=(counted.asked * counted.activations + counted.identity) * busiest.micro,
    )


def share_of(counted: Counted, gpus: int) -> Share:
    """How a step's samples fall on the ranks: as evenly as may be, cut into the execution's micro-batches.

    Raises:
        ConfigurationError: no GPU, or more GPUs than the batch has samples.
    """
    batch = counted.recipe.feed.batch
    if not 1 <= gpus <= batch:
        raise ConfigurationError(f"{gpus} GPUs: from 1 to {batch}, the samples of feed.batch, can take part")
    samples = -(-batch // gpus)
    micro = min(counted.execution.micro_batch or samples, samples)
    return Share(samples=samples, micro=micro, passes=-(-samples // micro))


class _Kept:
    """What autograd keeps of the work that is watched, the networks' own parameters and buffers aside."""

    def __init__(self, *networks: nn.Module) -> None:
        self._own = {_place(t) for network in networks for t in (*network.parameters(), *network.buffers())}
        self.tensors: dict[int, Tensor] = {}

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return _bytes(self.tensors)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Collect while inside."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            yield

    def _keep(self, tensor: Tensor) -> Tensor:
        if _place(tensor) not in self._own:
            self.tensors.setdefault(_place(tensor), tensor)
        return tensor


class _Parts:
    """Tells, by hooks on a network's parts, what autograd keeps inside each of them, and what goes into it."""

    def __init__(self, network: Adapter) -> None:
        self.inside: list[int] = []
        self.entering: dict[int, Tensor] = {}
        self.kept = _Kept(network)
        self._before = 0
        for part in network.parts():
            part.register_forward_pre_hook(self._enter, with_kwargs=True)
            part.register_forward_hook(self._leave)

    def _enter(self, part: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (*arguments, *named.values())
        self.entering |= {_place(tensor): tensor for tensor in given if isinstance(tensor, Tensor)}
        self._before = self.kept.bytes

    def _leave(self, part: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        self.inside.append(self.kept.bytes - self._before)

    def kept_bytes(self, checkpointed: bool) -> int:
        """Bytes kept for the backward pass: all; or with checkpointing every part's input and one part's inside."""
        if not checkpointed:
            return self.kept.bytes
        outside = self.kept.bytes - sum(self.inside)
        new = {place: tensor for place, tensor in self.entering.items() if place not in self.kept.tensors}
        return min(self.kept.bytes, outside + _bytes(new) + max(self.inside, default=0))


def _bytes(tensors: dict[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _velocity(network: Adapter, parts: _Parts, recipe: Recipe, references: int) -> tuple[int, int]:
    """Operations of one sample's velocity, forward and backward; what is kept stays noted in `parts`."""
    backbone, system, frames = recipe.model.backbone, recipe.model.system, recipe.feed.frames
    tokens = (frames, recipe.model.tokens_per_side**2, backbone.in_channels)
    scene, degraded, *shown = (torch.empty(tokens) for _ in range(2 + references))
    identity = torch.empty(frames, system.identity_dimension)
    face = FaceTokens(whole=identity, tokens=torch.empty(frames, *system.face_shape))
    given = Conditions(
        text=torch.empty(frames, backbone.text_tokens, backbone.joint_attention_dim), degraded=degraded,
        references=tuple(shown), identity=identity, faces=(face,) * references, frames=frames,
        attributes=torch.empty(frames, len(ATTRIBUTES)) if system.hears_attributes else None,
    )
    with parts.kept.watched():
        output, forward = _operations(lambda: network(scene, torch.empty(frames), given))
    _, backward = _operations(lambda: output.sum().backward())
    return forward, backward


def _face_encoders(recipe: Recipe) -> list[FaceEncoder]:
    """The recipe's, if it has one."""
    names = [recipe.face_encoder] if recipe.face_encoder else []
    return [FaceEncoder(SHAPES[weight(name, "face encoder").network]).requires_grad_(False) for name in names]


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _operations(work: Callable[[], Any]) -> tuple[Any, int]:
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        answer = work()
    return answer, counter.get_total_flops()


def _both_ways(forward: Callable[[], Tensor]) -> int:
    """Operations of a forward pass and of the backward pass to its input."""
    output, there = _operations(forward)
    _, back = _operations(lambda: output.sum().backward())
    return there + back
