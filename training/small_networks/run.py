"""What the small trainings share: a budget, a learning rate along it, an average of the weights, a place to go on from.

A step draws all its random numbers from `records.rng(seed, purpose, step)`, so a resumed run sees the samples that an
undisturbed one sees, and other processes can make the samples of later steps. The state between is
`<work>/<name>.state.pt` (read with weights_only=True).
"""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long: at most `steps`, and at most `minutes` of wall clock; whichever ends first.

    sitting: minutes after which this process, having taken a step, saves and ends, for the next one to go on; None for
    no such limit. A run that its steps end takes the same ones in one sitting as in many.
    """

    steps: int
    minutes: float
    sitting: float | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate: linear warm-up over `warmup` steps, then a cosine down to `floor` of the peak."""

    peak: float
    warmup: int = 100
    floor: float = 0.02

    def rate(self, step: int, share: float) -> float:
        """The rate at a step, `share` of the budget (0..1) being spent."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return self.peak * min(1.0, (step + 1) / self.warmup) * (self.floor + (1 - self.floor) * cosine)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a training computes: the device of its networks, and how many processes make samples ahead of it; 0 for
    samples made between steps.
    """

    device: str = "cpu"
    makers: int = 0

    def __str__(self) -> str:
        if torch.device(self.device).type == "cuda":
            return f"one {torch.cuda.get_device_name(self.device)}"
        return f"{os.cpu_count()} cores shared with other work"


HERE = Machine()
"""The processor, samples made between steps."""


def half_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16, on any device."""
    return torch.autocast(device.type, torch.bfloat16)


class Run:
    """One training run of one module.

    Args:
        name: of the state file. work: its folder. module: what is trained. budget: how long. schedule: the rate.
        machine: where; the module is moved there.
        decay: of the weight average at full length; it is shorter at the start.
        weight_decay: on tensors of two dimensions and more. betas: AdamW's.
        matrices: the parts of the module whose matrices Muon trains, with its rate scaled to AdamW's; AdamW the rest.
    """

    def __init__(self, *, name: str, work: Path, module: nn.Module, budget: Budget, schedule: Schedule,
                 decay: float = 0.999, weight_decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.99),
                 matrices: tuple[nn.Module, ...] = (), machine: Machine = HERE) -> None:
        self.name, self.budget, self.schedule, self.decay, self.machine = name, budget, schedule, decay, machine
        self.device = torch.device(machine.device)
        self.module = module.to(self.device)
        self.state_file = work / f"{name}.state.pt"
        work.mkdir(parents=True, exist_ok=True)
        hidden = [p for part in matrices for p in part.parameters() if p.ndim == 2]
        taken = {id(p) for p in hidden}
        left = [p for p in module.parameters() if p.requires_grad and id(p) not in taken]
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(
            [{"params": [p for p in left if p.ndim > 1], "weight_decay": weight_decay},
             {"params": [p for p in left if p.ndim <= 1], "weight_decay": 0.0}], lr=schedule.peak, betas=betas)]
        if hidden:
            self.optimizers.append(torch.optim.Muon(hidden, lr=schedule.peak, weight_decay=weight_decay,
                                                    adjust_lr_fn="match_rms_adamw"))
        self.average = copy.deepcopy(module).eval().requires_grad_(False)
        self.step, self.spent, self._share = 0, 0.0, 0.0
        self.losses: dict[str, Tensor] = {}
        self._since = self._saved = self._told = time.monotonic()
        if self.state_file.is_file():
            self._resume()
        self._began = self.step

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, earlier runs included."""
        return self.spent + time.monotonic() - self._since

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0..1."""
        return max(self.step / self.budget.steps, self.elapsed / 60 / self.budget.minutes)

    def going(self) -> bool:
        """Whether there is budget left; settles the share of it that all processes use in this step.

        Raises:
            SystemExit: the sitting is over and the budget is not; the state is saved.
        """
        minutes = (time.monotonic() - self._since) / 60
        sat = self.budget.sitting is not None and self.step > self._began and minutes > self.budget.sitting
        agreed = torch.tensor([self.share, sat], dtype=torch.float64)
        if distributed.is_initialized():
            distributed.broadcast(agreed, 0)
        self._share = float(agreed[0])
        if self._share < 1.0 and agreed[1]:
            self.save()
            print(f"{self.name}  sitting over at step {self.step}, {100 * self._share:.0f} %: the same command goes on",
                  flush=True)
            raise SystemExit(0)
        return self._share < 1.0

    def batches(self, make: Callable[[int], Any]) -> Iterator[Any]:
        """What `make` gives for each step while there is budget, its arrays as tensors on the run's device.

        Args:
            make: the samples of a step: a tuple of arrays, a function of the step's number alone.

        Raises:
            SystemExit: as `going`.
        """
        ahead = self.machine.makers > 0
        made = iter(DataLoader(_Made(make, self.budget.steps), batch_size=None,
                               sampler=range(self.step, self.budget.steps), num_workers=self.machine.makers,
                               multiprocessing_context="fork" if ahead else None,
                               prefetch_factor=4 if ahead else None))
        while self.going():
            batch = next(made)
            moved = [part.to(self.device, non_blocking=True) for part in batch]
            yield type(batch)(*moved) if hasattr(batch, "_fields") else tuple(moved)

    @property
    def settled(self) -> float:
        """The share of the budget, 0..1, that `going` settled for this step: the same in every process."""
        return self._share

    def update(self, loss: Tensor, clip: float = 1.0, **values: Tensor) -> None:
        """One optimiser step, the weight average, a line of progress each half minute, the state each two minutes."""
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(self.module)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.step, self._share)
            optimizer.step()
        self.step += 1
        self._average()
        for key, value in {"loss": loss, **values}.items():
            new = value.detach().float()
            self.losses[key] = torch.lerp(self.losses[key], new, 0.02) if key in self.losses else new
        if place()[0] > 0:
            return
        now = time.monotonic()
        if now - self._told > 30:
            self._told = now
            numbers = "  ".join(f"{key} {float(value):.4f}" for key, value in self.losses.items())
            print(f"{self.name}  step {self.step}  {self.elapsed / 60:.1f} min  {100 * self.share:.0f} %  {numbers}",
                  flush=True)  # fmt: skip
        if now - self._saved > 120:
            self.save()

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.decay, (1 + self.step) / (10 + self.step))
        pairs = list(zip(self.average.state_dict().values(), self.module.state_dict().values(), strict=True))
        mixed = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in mixed], [theirs for _, theirs in mixed], 1 - keep)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def save(self) -> None:
        """Write the state, whole or not at all; only the first process does."""
        if place()[0] > 0:
            return
        self._saved = time.monotonic()
        state: dict[str, Any] = {
            "module": self.module.state_dict(), "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step, "spent": self.elapsed, "machine": str(self.machine),
        }
        draft = self.state_file.with_suffix(".part")
        torch.save(state, draft)
        draft.rename(self.state_file)

    def _resume(self) -> None:
        state = torch.load(self.state_file, map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        for optimizer, stored in zip(self.optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(stored)
        self.step, self.spent = int(state["step"]), float(state["spent"])
        print(f"{self.name}  goes on from step {self.step}", flush=True)


class _Made(Dataset[Any]):
    """The samples of steps, by number."""

    def __init__(self, make: Callable[[int], Any], steps: int) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Any:
        return self.make(step)


def place() -> tuple[int, int]:
    """This process's number and how many share the run; (0, 1) alone."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _average_gradients(module: nn.Module) -> None:
    if place()[1] == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= place()[1]
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def begin_again(state_file: Path) -> None:
    """Turn a finished state into the start of another cycle: averaged weights, fresh optimiser, budget and schedule."""
    state = torch.load(state_file, map_location="cpu", weights_only=True)
    fresh = {"module": state["average"], "average": state["average"], "step": 0, "spent": 0.0}
    draft = state_file.with_suffix(".part")
    torch.save(fresh, draft)
    draft.rename(state_file)
