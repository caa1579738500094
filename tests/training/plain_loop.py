"""A run without DeepSpeed's engine, ranks or pieces of state.

One process, torch's AdamW, an average held whole; gradients are summed over the shares of `world` ranks.
"""

from pathlib import Path

import torch

from anchorface.models.weights import save
from anchorface.pipelines.feed.batches import batches
from anchorface.training.networks import load_networks
from anchorface.training.objective import objective
from anchorface.training.recipes import Recipe


def plain(recipe: Recipe, dataset: str, world: int) -> dict[str, dict[str, torch.Tensor]]:
    """Parameters and averages at the end of a run."""
    device = torch.device("cpu")
    torch.set_num_threads(1)
    networks = load_networks(recipe, device)
    named = networks.network.named_trainable_parameters()
    optimiser = torch.optim.AdamW(named.values(), lr=recipe.learning_rate, betas=recipe.betas,
                                  weight_decay=recipe.weight_decay)
    average = {name: tensor.detach().clone() for name, tensor in named.items()}
    clock, size = 0, recipe.feed.batch
    for batch in batches(dataset, recipe.fed, 0, recipe.steps, engine="inline"):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(clock)
        for rank in range(world):
            rows = slice(rank * size // world, (rank + 1) * size // world)
            losses, _ = objective(recipe, networks, networks.network, {k: v[rows] for k, v in batch.items()}, device)
            (losses.mean() / world).backward()
        torch.nn.utils.clip_grad_norm_(named.values(), recipe.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
        clock += size
        decay = 0.5 ** (size / min(recipe.ema_half_life, 0.1 * clock))
        for name, tensor in average.items():
            tensor.mul_(decay).add_(named[name].detach(), alpha=1.0 - decay)
    return {"adapter": {name: tensor.detach() for name, tensor in named.items()}, "ema": average}


def write_plain(recipe: Recipe, dataset: str, world: int, out: Path) -> None:
    """What the process does: `out` is a safetensors file of `adapter/NAME` and `ema/NAME`."""
    found = plain(recipe, dataset, world)
    save(out, {f"{kind}/{name}": tensor for kind, tensors in found.items() for name, tensor in tensors.items()})
