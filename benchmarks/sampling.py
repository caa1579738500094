"""What keeping the context costs and saves while sampling: `python benchmarks/sampling.py`.

Twelve Euler steps with three references, by the naive loop (everything computed at every step), with what does not know
the noise level kept (exact), and with the context's keys and values kept for several steps (an approximation). The ways
take turns; the numbers are medians of ratios within a round. The error is against the naive loop's tokens: root mean
square over that of the tokens themselves, and in decoded pixels, 8-bit levels. Give a checkpoint for a trained model;
without one, the carried base with fresh adapters stands in.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from anchorface.faces import weights
from anchorface.models.backbone import TextMemory
from anchorface.models.build import build
from anchorface.models.cache import Cache
from anchorface.models.checkpoint import load_model
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import tiny
from anchorface.models.flow import shift_schedule
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.sampler import initial_noise, sample
from anchorface.models.weights import tiny_autoencoder, tiny_backbone
from anchorface.records import rng
from anchorface.synthetic import State, identity, render

STEPS = 12


def pictures(count: int, references: int) -> Tensor:
    """Synthetic portraits float [1 + references, count, 3, 128, 128] in [-1, 1]; the first is blurred by shrinking."""
    rows = []
    for number in range(1 + references):
        shots = [render(identity(900 + person), State(yaw=15.0 * number - 15, background=number), 128).image
                 for person in range(count)]
        rows.append(shots)
    images = torch.stack([levels_to_tensor(np.stack(shots)) for shots in rows])
    small = torch.nn.functional.interpolate(images[0], scale_factor=0.25, mode="area")
    images[0] = torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(-1, 1)
    return images


@torch.no_grad()
def main() -> None:
    """Print seconds, ratios and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.checkpoint:
        loaded = load_model(arguments.checkpoint, lambda name: weights.find(name))
        model, autoencoder, text = loaded.network, loaded.autoencoder, loaded.text
    else:
        autoencoder = tiny_autoencoder(weights.find("autoencoder_tiny"))
        model = build(tiny().system, tiny_backbone(weights.find("base_tiny"))).eval()
        text = TextMemory.fixed(tiny().backbone)
    images = pictures(arguments.batch, arguments.references)
    degraded, *shown = (autoencoder.encode(image) for image in images)
    who = torch.from_numpy(rng(0, "identity").normal(size=(arguments.batch, model.settings.identity_dimension)))
    who = torch.nn.functional.normalize(who, dim=1).float()
    noise = initial_noise(range(arguments.batch), tuple(degraded.shape[1:]))
    levels = shift_schedule(STEPS, degraded.shape[1])
    given = Conditions(text=text(arguments.batch), degraded=degraded, references=tuple(shown), identity=who)

    def run(make: Callable[[], Cache | None]) -> Tensor:
        cache = make()
        return sample(lambda z, sigma: model(z, sigma, given, cache), noise, levels)

    ways: dict[str, Callable[[], Cache | None]] = {
        "naive": lambda: None, "kept, exact": Cache, "reused 3 steps": lambda: Cache(reuse=3),
        "reused 12 steps": lambda: Cache(reuse=STEPS),
    }
    found = {name: run(make) for name, make in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, make in ways.items():
            start = time.process_time()
            run(make)
            seconds[name].append(time.process_time() - start)
    side = int(degraded.shape[1] ** 0.5)
    truth = found["naive"]
    drawn = autoencoder.decode(truth, side, side)
    print(f"{arguments.batch} pictures, {arguments.references} references, {STEPS} steps, one thread")
    for name in ways:
        gain = statistics.median(a / b for a, b in zip(seconds["naive"], seconds[name], strict=True))
        error = float((found[name] - truth).square().mean().sqrt() / truth.square().mean().sqrt())
        levels8 = float((autoencoder.decode(found[name], side, side) - drawn).abs().mean() * 127.5)
        print(f"{name:16s} {statistics.median(seconds[name]):6.2f} s  {gain:5.2f} x as fast  "
              f"error {error:.2e} of the tokens, {levels8:.2f} levels")


if __name__ == "__main__":
    main()
