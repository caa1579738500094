"""A frozen backbone with trainable parts beside it: what every system is, whatever its pathways."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anchorface.models.cache import Cache
from anchorface.models.conditions import Conditions
from anchorface.models.precision import quick_attention
from anchorface.models.settings import SystemSettings
from anchorface.models.tokens import Layout, layout_of
from anchorface.models.weights import check_names_and_shapes
from anchorface.records import derive

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel


class Adapter(nn.Module):
    """The base of every system: a backbone, which it freezes unless the settings say `full`, and adapters.

    A system names its settings' class in `settings_type`, makes its parts in `add_pathways` and computes the velocity
    in `forward`; `models.build.build` finds it by its settings.

    Args:
        backbone: a FLUX.2 transformer; afterwards it belongs to this module.
        settings: of the system.
        seed: for the fresh adapters; the same seed gives the same adapters on every worker.
    """

    settings_type: ClassVar[type[SystemSettings]]

    def __init__(self, backbone: "Flux2Transformer2DModel", settings: SystemSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone.requires_grad_(settings.full)
        self.gradient_checkpointing = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, f"{settings.kind} adapters"))
            self.add_pathways()
        self._adapter_names = tuple(n for n, p in self.named_parameters() if p.requires_grad)

    @abstractmethod
    def add_pathways(self) -> None:
        """Make the trainable parts; random numbers come from torch's generator, which the seed has set."""

    @abstractmethod
    def forward(self, z: Tensor, sigma: Tensor, given: Conditions, cache: Cache | None = None) -> Tensor:
        """The velocity of the scene tokens.

        Args:
            z: noisy tokens [B, L, C].
            sigma: noise level per picture [B], 0..1.
            given: the conditions of the B pictures.
            cache: what earlier steps of the same sampling have kept (only without gradients).

        Returns:
            [B, L, C].
        """

    def layout(self, z: Tensor, given: Conditions) -> Layout:
        """Which token stands where in a batch, by the settings' position ids."""
        settings = self.settings
        return layout_of(given.text, z, given.degraded, given.references, degraded_time=settings.degraded_time,
                         reference_time=settings.reference_time, reference_step=settings.reference_step)

    def parts(self) -> Iterator[nn.Module]:
        """The modules that are computed one after another: each is compiled, or recomputed, as a whole."""
        yield from self.backbone.transformer_blocks
        yield from self.backbone.single_transformer_blocks

    def run(self, function: Callable, *arguments: object) -> Any:
        """One part, recomputed in the backward pass when gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(_quickly, function, *arguments, use_reentrant=False)
        return _quickly(function, *arguments)

    def compile_parts(self, backend: str = "inductor") -> None:
        """Have torch compile every part at its first use, in place: names stay.

        Blocks of one kind share the compiled code. On the CPU `inductor` takes a C++ compiler. Source: our choice.
        """
        for part in self.parts():
            part.compile(backend=backend)

    def named_trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name: the adapters, and the backbone's own weights where the settings say `full`."""
        parameters = dict(self.named_parameters())
        return {name: parameters[name] for name in self._adapter_names}

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The adapters in a fixed order."""
        return list(self.named_trainable_parameters().values())

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapters as detached tensors by name: what a checkpoint holds."""
        return {name: parameter.detach() for name, parameter in self.named_trainable_parameters().items()}

    @torch.no_grad()
    def load_adapter_state(self, state: dict[str, Tensor], what: str = "the adapter", *, partly: bool = False) -> None:
        """Copy adapters in, strictly.

        Args:
            state: what `adapter_state` gave.
            what: names the source in the error, for example the file.
            partly: of a system that this one contains; what it has not stays as it is.

        Raises:
            CheckpointError: names or shapes differ.
        """
        own = self.named_trainable_parameters()
        own = {name: own[name] for name in own if name in state} if partly else own
        check_names_and_shapes(own, state, what)
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _quickly(function: Callable, *arguments: Any) -> Any:
    # Inside what is checkpointed, so that the recomputation runs in the same way.
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    with quick_attention(device):
        return function(*arguments)
