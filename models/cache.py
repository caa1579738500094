"""What stays the same while one picture is sampled, kept instead of computed again at every step.

Two things, for one batch of pictures with their degraded image, references and prompt:

- the pooled memory of the degraded image with its keys and values, the input residual and the identity deltas: they do
  not know the noise level, so keeping them is exact;
- the context's keys and values: in every block, what the degraded and the reference tokens offer to the scene. Their
  hidden states do depend, weakly, on the noise level (they share the scene's modulation and attend to it), so using
  those of an earlier step is an approximation; `benchmarks/sampling.py` measures its error and its gain.

The blocks stay diffusers' own: a torch function mode meets their attention calls in order, records the rows of the
context on one pass, and appends them on the passes after it, where the stream holds text and scene alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode

from anchorface.models.tokens import Layout

KeyValue = tuple[Tensor, Tensor]
ARGUMENTS = ("query", "key", "value")


@dataclass(kw_only=True)
class Cache:
    """One batch's kept values. Give the same object to every step of one sampling; it fills itself.

    reuse: for how many passes the blocks' keys and values of the context serve, the pass that records them included;
    1 keeps none, and then all that is kept is exact.
    kept: what does not know the noise level, by name. keys_values: one pair [B, heads, context tokens, head width] per
    block, in the order of the blocks. age: passes since they were recorded. replays: whether this pass uses them.
    """

    reuse: int = 1
    kept: dict[str, Any] = field(default_factory=dict)
    keys_values: list[KeyValue] = field(default_factory=list)
    age: int = 0
    replays: bool = False

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made on the first pass alone."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def begin(self) -> None:
        """Start a pass: from here to the next, `replays` says whether it can do without the context's tokens."""
        self.replays = bool(self.keys_values) and self.age < self.reuse
        if self.replays:
            self.age += 1
        else:
            self.keys_values, self.age = [], 1

    def shown(self, layout: Layout) -> int:
        """Image tokens in the stream of this pass."""
        return layout.scene_tokens if self.replays else layout.image_tokens


class Recording(TorchFunctionMode):
    """Attention calls keep the keys and values of the last `tokens` rows."""

    def __init__(self, cache: Cache, tokens: int) -> None:
        super().__init__()
        self.cache, self.tokens = cache, tokens

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is functional.scaled_dot_product_attention:
            key, value = (_argument(args, kwargs, place) for place in (1, 2))
            start = key.shape[-2] - self.tokens
            self.cache.keys_values.append((key[..., start:, :].clone(), value[..., start:, :].clone()))
        return function(*args, **kwargs)


class Replaying(TorchFunctionMode):
    """The attention call of one block sees the kept keys and values of the context behind its own."""

    def __init__(self, cache: Cache, block: int) -> None:
        super().__init__()
        self.cache, self.block = cache, block

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is functional.scaled_dot_product_attention:
            named = {name: _argument(args, kwargs, place) for place, name in enumerate(ARGUMENTS)}
            for name, kept in zip(("key", "value"), self.cache.keys_values[self.block], strict=True):
                named[name] = torch.cat([named[name], kept.to(named[name].dtype)], dim=-2)
            further = {name: value for name, value in kwargs.items() if name not in ARGUMENTS}
            return function(*named.values(), *args[len(ARGUMENTS):], **further)
        return function(*args, **kwargs)


def _argument(args: tuple, kwargs: dict[str, Any], place: int) -> Tensor:
    return args[place] if place < len(args) else kwargs[ARGUMENTS[place]]
