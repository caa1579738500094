"""How much IConFace costs beside its bare backbone, at equal tokens, in one run: `python -m benchmarks.model`.

Both run forward and backward on the same [scene; degraded; references] of the tiny twin under bfloat16 autocast.
"backbone, trained" computes gradients for all its weights, as base training does; IConFace for its adapters.
The variants take turns, so that a busy machine slows all of them alike; the number is the median round's.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.backbone import TextMemory, build_backbone, velocity
from models.configuration import tiny
from models.iconface import IConFace


def variants(batch: int, references: int) -> dict[str, Callable[[], Tensor]]:
    """Name -> one forward pass that gives a velocity."""
    settings = tiny()
    side = settings.tokens_per_side
    scene, degraded, *shown = torch.randn(2 + references, batch, side * side, settings.backbone.in_channels)
    sigma, text = torch.rand(batch), TextMemory.fixed(settings.backbone)(batch)
    identity = nn.functional.normalize(torch.randn(batch, settings.iconface.identity_dimension), dim=-1)
    backbone = build_backbone(settings.backbone)
    iconface = IConFace(build_backbone(settings.backbone), settings.iconface)
    return {
        "backbone, trained": lambda: velocity(backbone, scene, sigma, text, degraded, tuple(shown)),
        "iconface": lambda: iconface(scene, sigma, text, degraded, tuple(shown), identity),
    }


def seconds(forward: Callable[[], Tensor]) -> float:
    """Seconds of process time (all threads) for one forward and backward pass."""
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        output = forward()
    output.float().square().mean().backward()
    return time.process_time() - start


def main() -> None:
    """Print samples per second of one core and the ratio, without and with three references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for references in (0, 3):
        passes = variants(arguments.batch, references)
        rounds: dict[str, list[float]] = {name: [] for name in passes}
        for forward in passes.values():
            seconds(forward)  # the first pass pays for compiling kernels
        for _ in range(arguments.rounds):
            for name, forward in passes.items():
                rounds[name].append(seconds(forward))
        medians = {name: statistics.median(times) for name, times in rounds.items()}
        bare = medians["backbone, trained"]
        for name, median in medians.items():
            print(f"{references} references  {name:18s} {arguments.batch / median:7.1f} samples/s of processor time"
                  f"  {median / bare:5.2f} x the backbone", flush=True)


if __name__ == "__main__":
    main()
