"""What IConFace costs beside its bare backbone, at equal tokens, in one run: `python benchmarks/model.py [--klein]`.

Both run forward and backward on the same [scene; degraded; references] under bfloat16 autocast (`--precision fp32`: in
float32): the tiny twin, or with `--klein` a slice of FLUX.2-klein-base-4B: its width, heads and text, 1 + 4 of its
5 + 20 blocks, pictures of 192 px.
"backbone, trained" computes gradients for all its weights, as base training does; "backbone, frozen" only passes the
gradient through, as for a residual that is trained before it; IConFace computes its adapters' and passes it through.
The variants take turns, so that a busy machine slows all of them alike; the number is the median round's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from anchorface.models.backbone import TextMemory, build_backbone, velocity
from anchorface.models.build import build
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import ModelSettings, klein_4b, tiny


def klein_slice() -> ModelSettings:
    """A fifth of klein's blocks at klein's width, 144 tokens a picture."""
    whole = klein_4b()
    blocks = replace(whole.backbone, num_layers=1, num_single_layers=4, text_tokens=64)
    return replace(whole, image_size=192, backbone=blocks)


def variants(settings: ModelSettings, batch: int, references: int) -> dict[str, Callable[[], Tensor]]:
    """Name -> one forward pass that gives a velocity."""
    side = settings.tokens_per_side
    scene, degraded, *shown = torch.randn(2 + references, batch, side * side, settings.backbone.in_channels)
    sigma, text = torch.rand(batch), TextMemory.fixed(settings.backbone)(batch)
    identity = nn.functional.normalize(torch.randn(batch, settings.system.identity_dimension), dim=-1)
    given = Conditions(text=text, degraded=degraded, references=tuple(shown), identity=identity)
    trained, frozen = (build_backbone(settings.backbone) for _ in range(2))
    frozen.requires_grad_(False)
    passed = scene.clone().requires_grad_(True)
    iconface = build(settings.system, build_backbone(settings.backbone))
    return {
        "backbone, trained": lambda: velocity(trained, scene, sigma, text, degraded, tuple(shown)),
        "backbone, frozen": lambda: velocity(frozen, passed, sigma, text, degraded, tuple(shown)),
        "iconface": lambda: iconface(scene, sigma, given),
    }


def seconds(forward: Callable[[], Tensor], precision: str) -> float:
    """Seconds of process time (all threads) for one forward and backward pass."""
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = forward()
    output.float().square().mean().backward()
    return time.process_time() - start


def main() -> None:
    """Print samples per second of one core and the ratio, without and with three references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--klein", action="store_true", help="a slice at klein's width (takes minutes and 12 GB)")
    parser.add_argument("--batch", type=int, help="samples (16; 1 of klein)")
    parser.add_argument("--references", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    batch = arguments.batch or (1 if arguments.klein else 16)
    for references in arguments.references:
        passes = variants(klein_slice() if arguments.klein else tiny(), batch, references)
        rounds: dict[str, list[float]] = {name: [] for name in passes}
        for forward in passes.values():
            seconds(forward, arguments.precision)  # the first pass pays for compiling kernels
        for _ in range(arguments.rounds):
            for name, forward in passes.items():
                rounds[name].append(seconds(forward, arguments.precision))
        medians = {name: statistics.median(times) for name, times in rounds.items()}
        for name, median in medians.items():
            beside = [f"{median / medians[bare]:5.2f} x {bare}" for bare in ("backbone, trained", "backbone, frozen")]
            print(f"{references} references  {name:18s} {batch / median:7.2f} samples/s of processor time"
                  f"  {'  '.join(beside)}", flush=True)
        passes.clear()  # two sets of networks at klein's width would not fit 24 GB
        rounds.clear()


if __name__ == "__main__":
    main()
