"""Degraded pictures made on the training's device, where the recipe says so (`feed.degrade_on_device`).

In: a batch of the feed with `plan` instead of `degraded`. Out: the same with `degraded`, uint8 [b, S, S, 3] on the
device. It differs from the feed's own by the rounding of floats (degradation.batch), and so do the pictures of a rank
that has other samples beside them: equal Execution gives equal bits, another number of ranks nearly so.
"""

from typing import Any

import torch

from anchorface.degradation import Plan, Profile, apply_batch, draw
from anchorface.degradation.batch import where
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError, rng

LOOKED_AT = 256
"""Plans that are drawn to see what a profile asks for: our choice; what is asked in 2 % of them is seen in 99 %."""


def degraded_on(batch: Batch, device: torch.device) -> dict[str, Any]:
    """A batch with its degraded pictures; one that has them as it is.

    Args:
        batch: `target` is an array, or a tensor on the device.
    """
    if "degraded" in batch:
        return batch
    plans = [Plan.from_json(text) for text in batch["plan"].tolist()]
    return batch | {"degraded": apply_batch(torch.as_tensor(batch["target"]), plans, device)}


def require_on_device(profile: Profile, size: int) -> None:
    """Refuse a profile whose plans leave the device: its codecs and drawing run on one CPU of the training process, and
    the device waits for them.

    Raises:
        ConfigurationError: names the operations, and what to do.
    """
    plans = [draw(profile, rng(0, "degrade on device", number), size) for number in range(LOOKED_AT)]
    leaving = sorted({name for plan in plans for name, place in where(plan).items() if place == "cpu"})
    if leaving:
        raise ConfigurationError(
            f"recipe: feed.degrade_on_device: profile {profile.name!r} asks for {', '.join(leaving)}, which run on the "
            "CPU alone: set feed.degrade_on_device to false, take another feed.profile, or leave them out by "
            "feed.degradation_overrides")
