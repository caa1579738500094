"""Steps per second of Ray Train with DeepSpeed and everything around it, beside a bare PyTorch loop.

    python -m benchmarks.training [--steps 12] [--rounds 4] [--recipe iconface_tiny] [--batch 4]

One Ray Train worker. In turns, on the same networks' shapes and the same batches, which are ready in memory: the run's
loop (engine, agreement between ranks, guard, record, averages, progress), and a loop of torch alone (objective,
backward, clipping, AdamW, average). Then the run's loop with its feed on Ray instead of ready batches.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
FED = 4
"""How many times as many steps are made with the feed."""


def timed(config: dict[str, Any]) -> None:
    """What the one Ray Train worker does."""
    import json
    from collections.abc import Iterator
    from typing import Any  # as a Ray worker knows this function, it has no globals that only annotations name

    import torch

    from anchorface.pipelines.feed.batches import batches
    from anchorface.training.description import fresh
    from anchorface.training.loop import Run
    from anchorface.training.networks import load_networks
    from anchorface.training.notes import Notes, Wishes
    from anchorface.training.objective import objective
    from anchorface.training.preemption import Preemption
    from anchorface.training.prefetch import Prefetch
    from anchorface.training.watch import Watch

    job, steps, rounds = config["job"], config["steps"], config["rounds"]
    torch.set_num_threads(1)
    device, recipe = torch.device("cpu"), job.recipe
    ready = list(batches(job.dataset, recipe.fed, 0, steps, engine="inline"))

    class Ready(Run):
        """A run whose batches are ready."""

        fed = False
        begun = 0.0

        def _feed(self, first: int, order: int) -> Prefetch:
            made: Iterator[Any] = self._timed(first) if self.fed else (
                batch | {"position": batch["position"] + first * recipe.feed.batch} for batch in ready)
            return Prefetch(made, device)

        def _timed(self, first: int) -> Iterator[Any]:
            """The feed's batches; its start, once in a run, is not counted."""
            for number, batch in enumerate(batches(job.dataset, recipe.fed, first, first + FED * steps)):
                if number == 0:
                    self.begun = time.perf_counter()
                yield batch

    notes = Notes(job.run_folder)
    run = Ready(job, device, notes, Watch(0.0, notes.tell), Wishes(notes), Preemption(on_ray=False))
    networks = load_networks(recipe, device)
    named = list(networks.network.named_trainable_parameters().values())
    optimiser = torch.optim.AdamW(named, lr=recipe.learning_rate, betas=recipe.betas)
    average = [tensor.detach().clone() for tensor in named]

    def bare() -> None:
        for batch in ready:
            losses, _ = objective(recipe, networks, networks.network, batch, device)
            losses.mean().backward()
            torch.nn.utils.clip_grad_norm_(named, recipe.gradient_clip)
            optimiser.step()
            optimiser.zero_grad()
            torch._foreach_lerp_(average, [tensor.detach() for tensor in named], 0.01)

    clock = 0

    def whole() -> None:
        nonlocal clock
        run.to_the_end(replace(fresh(job, 1), clock=clock))
        clock += steps * recipe.feed.batch

    bare()
    whole()
    found: dict[str, list[float]] = {"bare": [], "whole": [], "fed": []}
    for _ in range(rounds):
        for name, work in (("bare", bare), ("whole", whole)):
            begun = time.perf_counter()
            work()
            found[name].append(steps / (time.perf_counter() - begun))
    run.fed = True
    whole()
    found["fed"].append(FED * steps / (time.perf_counter() - run.begun))
    Path(config["out"]).write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--recipe", default="iconface_tiny")
    parser.add_argument("--batch", type=int, default=4)
    asked = parser.parse_args()
    import json

    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from anchorface.pipelines.feed.dataset import open_dataset
    from anchorface.pipelines.stages.cluster import connect
    from anchorface.training.execution import Execution
    from anchorface.training.job import Job
    from anchorface.training.recipes import recipe

    positions = asked.batch * asked.steps * (2 * asked.rounds + 8)
    made = recipe(asked.recipe, **{
        "precision": "fp32", "feed.batch": asked.batch, "positions": positions, "grid_every": 0, "validation.every": 0,
        "checkpoint_every": 10**9, "log_every": asked.batch * asked.steps, "warmup": 0, "cooldown": 0})
    dataset = open_dataset(str(ROOT / "tests" / "golden" / "dataset"))
    connect()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(recipe=made, dataset=dataset.uri, manifest_id=dataset.manifest_id, run_folder=f"{folder}/run",
                  execution=Execution(workers=1, threads=1))
        config = {"job": job, "steps": asked.steps, "rounds": asked.rounds, "out": f"{folder}/found.json"}
        TorchTrainer(timed, train_loop_config=config, torch_config=TorchConfig(backend="gloo"),
                     scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
                     run_config=ray.train.RunConfig(name="ray", storage_path=f"{folder}/run")).fit()
        found = json.loads(Path(folder, "found.json").read_text())
    bare, whole, fed = (statistics.median(found[name]) for name in ("bare", "whole", "fed"))
    pairs = [one / other for one, other in zip(found["whole"], found["bare"], strict=True)]
    Console(width=110).print(
        f"a bare loop {bare:.3f} steps/s; Ray Train and DeepSpeed on ready batches {whole:.3f}, "
        f"{statistics.median(pairs):.3f} of it (pairs {', '.join(f'{pair:.3f}' for pair in pairs)}); with the feed on "
        f"Ray {fed:.3f}, {fed / bare:.3f} of it")


if __name__ == "__main__":
    main()
