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

KeyValue = tuple[Tensor, Tensor]
ARGUMENTS = ("query", "key", "value")


@dataclass(kw_only=True)
class Context:
    """One batch's kept values. Give the same object to every step of one sampling; it fills itself.

    reuse: for how many passes the blocks' keys and values of the context serve, the pass that records them included;
    1 keeps none, and then all that is kept is exact.
    kept: what does not know the noise level, by name. keys_values: one pair [B, heads, context tokens, head width] per
    block, in the order of the blocks. age: passes since they were recorded.
    """

    reuse: int = 1
    kept: dict[str, Any] = field(default_factory=dict)
    keys_values: list[KeyValue] = field(default_factory=list)
    age: int = 0

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made on the first pass alone."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def begin(self) -> bool:
        """Start a pass; True if it can do without the context's tokens."""
        if self.keys_values and self.age < self.reuse:
            self.age += 1
            return True
        self.keys_values, self.age = [], 1
        return False


class RecordContext(TorchFunctionMode):
    """Attention calls keep the keys and values of the last `tokens` rows."""

    def __init__(self, context: Context, tokens: int) -> None:
        super().__init__()
        self.context, self.tokens = context, tokens

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is functional.scaled_dot_product_attention:
            key, value = (_argument(args, kwargs, place) for place in (1, 2))
            start = key.shape[-2] - self.tokens
            self.context.keys_values.append((key[..., start:, :].clone(), value[..., start:, :].clone()))
        return function(*args, **kwargs)


class ReplayContext(TorchFunctionMode):
    """The attention call of one block sees the kept keys and values of the context behind its own."""

    def __init__(self, context: Context, block: int) -> None:
        super().__init__()
        self.context, self.block = context, block

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is functional.scaled_dot_product_attention:
            named = {name: _argument(args, kwargs, place) for place, name in enumerate(ARGUMENTS)}
            for name, kept in zip(("key", "value"), self.context.keys_values[self.block], strict=True):
                named[name] = torch.cat([named[name], kept.to(named[name].dtype)], dim=-2)
            further = {name: value for name, value in kwargs.items() if name not in ARGUMENTS}
            return function(*named.values(), *args[len(ARGUMENTS):], **further)
        return function(*args, **kwargs)


def _argument(args: tuple, kwargs: dict[str, Any], place: int) -> Tensor:
    return args[place] if place < len(args) else kwargs[ARGUMENTS[place]]
