"""What training changes, in the pieces that this rank holds: parameters, moments, moving averages.

In: a DeepSpeed engine at any ZeRO stage. Out: every trainable parameter as pieces of its flattened self, the same kind
at every stage, so that a checkpoint of one stage and world size is read at any other, and averages need no whole copy.

    stage 0      the optimiser holds every parameter whole; of the averages rank r owns its r-th part
    stages 1, 2  the optimiser holds this rank's part of one flat buffer (float32 masters); pieces begin inside
    parameters stage 3      the optimiser holds this rank's part of every parameter

All values here are float32. `held` is what the optimiser steps on here; `owned` is what this rank answers for: over all
ranks the owned pieces cover every number once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")
SPREAD = 1 << 24
"""Numbers of each rank that one collective carries when whole parameters are put together: 64 MiB (our choice)."""


@dataclass(frozen=True)
class Piece:
    """Numbers [start, stop) of the flattened parameter `name`.

    holder: the tensor that the optimiser steps on; offset: where the piece begins in it, flattened.
    """

    name: str
    start: int
    stop: int
    holder: Tensor
    offset: int

    def __len__(self) -> int:
        return self.stop - self.start

    def of(self, tensor: Tensor) -> Tensor:
        """This piece of a tensor laid out as the holder: a view [stop - start]."""
        return tensor.detach().view(-1)[self.offset : self.offset + len(self)]


class State:
    """The trainable state of an engine on this rank.

    Every rank makes one, after the engine; moments that do not exist yet are made, zero.

    Args:
        engine: DeepSpeed's, around `engine.Autocast` and an Adapter, its optimiser torch's AdamW.
    """

    ramp = 0.1

    def __init__(self, engine: Any) -> None:
        self.stage = int(engine.zero_optimization_stage())
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.parameters = {n: p for n, p in engine.module.network.named_parameters() if p.requires_grad}
        self.shapes = {n: torch.Size(getattr(p, "ds_shape", p.shape)) for n, p in self.parameters.items()}
        self.optimiser: torch.optim.Optimizer = engine.basic_optimizer
        self.held = list(_held(engine, self.parameters, self.rank))
        self.owned = [self._share(piece) for piece in self.held] if self.stage == 0 else self.held
        for holder in {id(piece.holder): piece.holder for piece in self.held}.values():
            self.optimiser.state[holder] = {"step": torch.tensor(0.0)} | {
                key: torch.zeros_like(holder.detach()) for key in MOMENTS}
        self.averages = [piece.of(piece.holder).float().clone() for piece in self.owned]
        mine = [(piece.name, piece.start, piece.stop) for piece in self.owned]
        self._pieces: list[list[tuple[str, int, int]]] = [[] for _ in range(self.world)]
        dist.all_gather_object(self._pieces, mine)

    @property
    def steps(self) -> int:
        """Optimiser steps that shaped the moments; steps that were left out do not count."""
        return int(self._states()[0]["step"])

    @steps.setter
    def steps(self, number: int) -> None:
        for state in self._states():
            state["step"].fill_(float(number))

    def masters(self) -> list[Tensor]:
        """The float32 parameters, views [length] of `owned`."""
        return [piece.of(piece.holder) for piece in self.owned]

    def moments(self, key: str, pieces: list[Piece] | None = None) -> list[Tensor]:
        """A moment of Adam (`exp_avg` or `exp_avg_sq`), views [length] of `owned`, or of other pieces held here."""
        return [piece.of(self.optimiser.state[piece.holder][key]) for piece in pieces or self.owned]

    @torch.no_grad()
    def average(self, *, clock: int, positions: int, half_life: int) -> None:
        """Take the parameters after a step into the moving average.

        average <- decay average + (1 - decay) parameter, decay = 0.5 ^ (positions of the step / half-life). While fewer
        positions than ten half-lives have been seen the half-life is a tenth of them, so that the start is forgotten
        (our choice).

        Args:
            clock: positions seen including this step. positions: of this step. half_life: positions after which a
                parameter's value counts half.
        """
        decay = 0.5 ** (positions / max(min(half_life, self.ramp * clock), 1e-6))
        if self.averages:
            torch._foreach_lerp_(self.averages, self.masters(), 1.0 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network computes with the averages while inside; every rank must enter."""
        kept = [tensor.clone() for tensor in self.masters()] if self.stage == 0 else self.masters()
        self.show(self.averages)
        try:
            yield
        finally:
            self.show(kept)

    @torch.no_grad()
    def show(self, values: list[Tensor]) -> None:
        """Put values [length], those of the owned pieces, into the network that computes; every rank must call it."""
        if self.stage == 3:
            for piece, value in zip(self.owned, values, strict=True):
                self.parameters[piece.name].ds_tensor.detach()[: len(piece)].copy_(value)  # type: ignore[attr-defined]
            return
        for name, start, part in self._spread(values):
            self.parameters[name].detach().view(-1)[start : start + len(part)].copy_(part)

    def _spread(self, values: list[Tensor]) -> Iterator[tuple[str, int, Tensor]]:
        """All ranks' values as (name, first number, numbers), a bounded part at a time."""
        device = next(iter(self.parameters.values())).device
        sizes = [sum(stop - start for _, start, stop in pieces) for pieces in self._pieces]
        ends = torch.tensor([0, *(len(value) for value in values)]).cumsum(0).tolist()
        for first in range(0, max(sizes), SPREAD):
            width = min(SPREAD, max(sizes) - first)
            sent = torch.zeros(width, device=device)
            for value, begin in zip(values, ends[:-1], strict=True):
                low, high = max(begin, first), min(begin + len(value), first + width)
                if low < high:
                    sent[low - first : high - first].copy_(value[low - begin : high - begin])
            received = [torch.empty_like(sent) for _ in range(self.world)]
            dist.all_gather(received, sent)
            for pieces, flat in zip(self._pieces, received, strict=True):
                begin = 0
                for name, start, stop in pieces:
                    low, high = max(begin, first), min(begin + stop - start, first + width)
                    if low < high:
                        yield name, start + low - begin, flat[low - first : high - first]
                    begin += stop - start

    def _states(self) -> list[Mapping[str, Tensor]]:
        return list(self.optimiser.state.values())

    def _share(self, piece: Piece) -> Piece:
        """This rank's part of a parameter that every rank holds whole."""
        start, stop = (len(piece) * rank // self.world for rank in (self.rank, self.rank + 1))
        return Piece(piece.name, start, stop, piece.holder, start)


def _held(engine: Any, parameters: Mapping[str, Tensor], rank: int) -> Iterator[Piece]:
    stage, optimiser = int(engine.zero_optimization_stage()), engine.optimizer
    for name, parameter in parameters.items():
        if stage == 0:
            assert parameter.is_contiguous(), f"{name}: trained parameters are contiguous"
            yield Piece(name, 0, parameter.numel(), parameter, 0)
        elif stage == 3:
            group, offset, size = optimiser.grad_position[optimiser.get_param_id(parameter)]
            numel = parameter.ds_numel  # type: ignore[attr-defined]
            start, stop = min(rank * size, numel), min((rank + 1) * size, numel)
            yield Piece(name, start, stop, optimiser.fp32_partitioned_groups_flat[group], offset)
        elif parameter._hp_mapping is not None:  # type: ignore[attr-defined]
            link = parameter._hp_mapping  # type: ignore[attr-defined]
            start = link.lp_fragment_address.start
            holder = optimiser.single_partition_of_fp32_groups[link.param_group_index]
            yield Piece(name, start, start + link.lp_fragment_address.numel, holder, link.hp_fragment_address.start)
