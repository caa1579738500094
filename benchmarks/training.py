"""Steps per second of Ray Train with DeepSpeed and everything around it, beside a bare PyTorch loop.

    python -m benchmarks.training [--steps 12] [--rounds 4] [--recipe iconface_tiny] [--batch 4] [--gpu] ...

One Ray Train worker. In turns, on the same networks' shapes and the same batches, which are ready in memory: the run's
loop (engine, agreement between ranks, guard, record, averages, progress), and a loop of torch alone (objective,
backward, clipping, AdamW, average). Then the run's loop with its feed on Ray instead of ready batches.

`--gpu` takes a GPU and the recipe's own precision, with the bare loop's pictures on it from the start. Told are also
tokens a second, the share of the rate that its maker states, and the peak of memory beside what `plan` foretells.
`--fresh` needs nobody's weights: a recipe's large networks are random, its embedder is the carried one. `--profile`
prints where the time of some steps of either loop goes. `--out` keeps all of it, each number as soon as it is known.
Ray adds feed workers while it sees that they are busy: `--feed-start` steps are made before the feed's are counted.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
FED = 4
"""How many times as many steps are counted with the feed."""
TOP = 14
"""Rows of a profile's tables."""
FRESH = {"autoencoder": "", "backbone": "", "text": "", "embedder": "adaface_small",
         "model.system.identity_dimension": 256}


def timed(config: dict[str, Any]) -> None:
    """What the one Ray Train worker does."""
    import json
    import os
    from collections.abc import Iterator
    from typing import Any  # as a Ray worker knows this function, it has no globals that only annotations name

    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    began = time.perf_counter()
    job, steps, rounds, start = config["job"], config["steps"], config["rounds"], config["feed_start"]
    recipe, device = job.recipe, torch.device("cpu")
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if job.execution.gpus else "cpu")
    if job.execution.gpus:
        import ray.train.torch

        device = ray.train.torch.get_device()
        torch.cuda.set_device(device)
    torch.set_num_threads(1)

    from anchorface.pipelines.feed.batches import batches
    from anchorface.training import networks as made
    from anchorface.training.description import fresh
    from anchorface.training.engine import Autocast
    from anchorface.training.loop import Run
    from anchorface.training.notes import Notes, Wishes
    from anchorface.training.objective import objective
    from anchorface.training.preemption import Preemption
    from anchorface.training.prefetch import PICTURES, Prefetch
    from anchorface.training.throughput import peak_memory
    from anchorface.training.watch import Watch

    found: dict[str, Any] = {"device": torch.cuda.get_device_name(device) if job.execution.gpus else "cpu",
                             "steps": steps, "bare": [], "whole": []}

    def keep(**values: Any) -> None:
        found.update(values)
        found["reached"] = {**found.get("reached", {}), **dict.fromkeys(values, time.perf_counter() - began)}
        Path(config["out"]).write_text(json.dumps(found))

    plain = made.build_backbone

    def drawn_there(*arguments: Any) -> Any:
        """Fresh weights of billions are drawn where they will stand: a CPU takes minutes."""
        with device:
            return plain(*arguments)

    vars(made)["build_backbone"] = drawn_there
    ready = list(batches(job.dataset, recipe.fed, 0, steps, engine="inline"))
    keep(references=[batch["references"].shape[1] for batch in ready])

    class Ready(Run):
        """A run whose batches are ready."""

        fed = False
        begun = 0.0
        given = ready

        def _feed(self, first: int, order: int) -> Prefetch:
            made: Iterator[Any] = self._timed(first) if self.fed else (
                batch | {"position": batch["position"] + first * recipe.feed.batch} for batch in self.given)
            return Prefetch(made, device)

        def _timed(self, first: int) -> Iterator[Any]:
            """The feed's batches; its start, once in a run, is not counted."""
            execution = job.execution
            for number, batch in enumerate(batches(
                    job.dataset, recipe.fed, first, first + start + FED * steps, concurrency=execution.feed_workers,
                    num_cpus=execution.feed_cpus)):
                if number == start:
                    self.begun = time.perf_counter()
                yield batch

    notes = Notes(job.run_folder)
    run = Ready(job, device, notes, Watch(0.0, notes.tell), Wishes(notes), Preemption(on_ray=False))
    keep(loaded=time.perf_counter() - began)
    if job.execution.gpus:
        torch.cuda.reset_peak_memory_stats(device)  # of drawing the weights
    clock = 0

    def whole(given: list[Any] = ready) -> None:
        nonlocal clock
        run.given = given
        run.to_the_end(replace(fresh(job, 1), clock=clock))
        clock += (start + FED * steps if run.fed else len(given)) * recipe.feed.batch

    whole()
    keep(memory=peak_memory(device))
    networks = made.load_networks(recipe, device, job.execution)
    network = Autocast(networks.network, enabled=recipe.precision == "bf16")
    named = list(networks.network.named_trainable_parameters().values())
    optimiser = torch.optim.AdamW(named, lr=recipe.learning_rate, betas=recipe.betas)
    average = [tensor.detach().clone() for tensor in named]
    there = [batch if device.type == "cpu" else
             {name: torch.from_numpy(array).to(device) if name in PICTURES else array for name, array in batch.items()}
             for batch in ready]
    share = recipe.feed.batch // run.pieces

    def bare() -> None:
        for batch in there:
            for first in range(0, recipe.feed.batch, share):
                piece = {name: array[first : first + share] for name, array in batch.items()}
                losses, _ = objective(recipe, networks, network, piece, device)
                (losses.mean() / run.pieces).backward()
            torch.nn.utils.clip_grad_norm_(named, recipe.gradient_clip)
            optimiser.step()
            optimiser.zero_grad()
            torch._foreach_lerp_(average, [tensor.detach() for tensor in named], 0.01)

    def seconds(work: Any) -> float:
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    seconds(bare)
    for _ in range(rounds):
        for name, work in (("bare", bare), ("whole", whole)):
            keep(**{name: [*found[name], steps / seconds(work)]})
    run.fed = True
    seconds(whole)
    keep(fed=[FED * steps / (time.perf_counter() - run.begun)])
    run.fed = False
    lines = [json.loads(line) for line in Path(job.run_folder, "progress.jsonl").read_text().splitlines()]
    told = [line for line in lines if "throughput/data_wait" in line][1 - FED :]  # what is before is the feed's start
    keep(data_wait=statistics.mean(line["throughput/data_wait"] for line in told))
    if not config["profile"]:
        return
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    few = ready[: config["profile"]]
    del there[len(few):]
    for name, work in (("bare", bare), ("whole", lambda: whole(few))):
        with profile(activities=activities) as profiler:
            took = seconds(work)
        rows = [row for row in profiler.key_averages() if not row.is_user_annotation]
        kernels = [row for row in rows if row.device_type == DeviceType.CUDA]
        works = [row for row in rows if row.device_type == DeviceType.CPU]
        tables = {"CPU": (works, "self_cpu_time_total")}
        if cuda:
            tables |= {"GPU": (works, "self_device_time_total"), "kernels": (kernels, "self_device_time_total")}
        keep(**{f"profile_{name}": {
            "milliseconds_a_step": 1000 * took / len(few),
            "busy": sum(row.self_device_time_total for row in kernels) / 1e6 / took,
            "kernels_a_step": sum(row.count for row in kernels) / len(few),
            **{table: [(row.key, getattr(row, column) / 1000 / len(few), row.count / len(few))
                       for row in sorted(some, key=lambda row: -getattr(row, column))[:TOP]]
               for table, (some, column) in tables.items()}}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--recipe", default="iconface_tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--zero-stage", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--feed-workers", type=int, default=1)
    parser.add_argument("--feed-start", type=int, default=0, help="steps, a multiple of --steps")
    parser.add_argument("--references", type=int, help="of every sample; the recipe's own numbers otherwise")
    parser.add_argument("--crops", type=int, default=0, help="side of the dataset's crops, px; 0: about 120")
    parser.add_argument("--set", action="append", default=[], help="key=value over the recipe")
    parser.add_argument("--profile", type=int, default=0, help="steps, at most --steps")
    parser.add_argument("--out", type=Path, help="file for the numbers, as JSON")
    asked = parser.parse_args()
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from anchorface.pipelines.feed.dataset import open_dataset
    from anchorface.pipelines.stages.cluster import connect
    from anchorface.training.execution import Execution
    from anchorface.training.job import Job
    from anchorface.training.launch import require_resources
    from anchorface.training.plan import count, memory
    from anchorface.training.recipes import recipe
    from anchorface.training.throughput import RATES, tokens_per_sample
    from benchmarks.feed import with_crops

    positions = asked.batch * (asked.steps * (asked.rounds + FED + 3) + asked.feed_start)
    changed: dict[str, Any] = {
        "feed.batch": asked.batch, "positions": positions, "grid_every": 0, "validation.every": 0,
        "checkpoint_every": 10**9, "log_every": asked.batch * asked.steps, "warmup": 0, "cooldown": 0}
    changed |= ({} if asked.gpu else {"precision": "fp32"}) | (FRESH if asked.fresh else {})
    if asked.references is not None:
        changed["feed.reference_count_probabilities"] = (*(0.0,) * asked.references, 1.0)
    made = recipe(asked.recipe, **changed | dict(pair.split("=", 1) for pair in asked.set))
    execution = Execution(workers=1, threads=1, gpus=int(asked.gpu), zero_stage=asked.zero_stage,
                          micro_batch=asked.micro_batch, checkpointing=asked.checkpointing, compile=asked.compile,
                          feed_workers=asked.feed_workers)
    connect()
    require_resources(execution)
    with tempfile.TemporaryDirectory() as folder:
        version = with_crops(Path(folder, "version"), asked.crops) if asked.crops else ROOT / "tests/golden/dataset"
        dataset = open_dataset(str(version))
        job = Job(recipe=made, dataset=dataset.uri, manifest_id=dataset.manifest_id, run_folder=f"{folder}/run",
                  execution=execution)
        kept = asked.out or Path(folder, "found.json")
        config = {"job": job, "steps": asked.steps, "rounds": asked.rounds, "out": str(kept.resolve()),
                  "profile": asked.profile, "feed_start": asked.feed_start}
        TorchTrainer(timed, train_loop_config=config, torch_config=TorchConfig(backend="nccl" if asked.gpu else "gloo"),
                     scaling_config=ray.train.ScalingConfig(num_workers=1, use_gpu=asked.gpu,
                                                            resources_per_worker={"CPU": 1, "GPU": int(asked.gpu)}),
                     run_config=ray.train.RunConfig(name="ray", storage_path=f"{folder}/run")).fit()
        found = json.loads(kept.read_text())
    bare, whole, fed = (statistics.median(found[name]) for name in ("bare", "whole", "fed"))
    pairs = [one / other for one, other in zip(found["whole"], found["bare"], strict=True)]
    show = Console(width=110).print
    show(f"a bare loop {bare:.3f} steps/s; Ray Train and DeepSpeed on ready batches {whole:.3f}, "
         f"{statistics.median(pairs):.3f} of it (pairs {', '.join(f'{pair:.3f}' for pair in pairs)}); with the feed on "
         f"Ray {fed:.3f}, {fed / bare:.3f} of it, {found['data_wait']:.1%} of the time waited for data")
    if asked.gpu:
        rate = next((rate for part, rate in RATES.items() if part in found["device"].upper()), 0.0)
        references = found["references"]
        counted = {number: count(made, number, execution) for number in sorted(set(references))}
        again = int(execution.checkpointing)  # what is computed twice counts once
        work = statistics.mean(counted[number].training - again * counted[number].forward for number in references)
        tokens = statistics.mean(tokens_per_sample(made, number) for number in references)
        foretold = memory(counted[max(counted)]).total
        for name, steps in (("a bare loop", bare), ("ready batches", whole), ("with the feed", fed)):
            samples = steps * asked.batch
            share = f"{samples * work / rate:.1%} of {rate / 1e12:.0f} TFLOP/s" if rate else "an unknown rate"
            show(f"{name}: {samples:.2f} samples/s, {samples * tokens:,.0f} tokens/s, {share}")
        show(f"{found['device']}: {found['memory'] / 2**30:.2f} GiB at most; foretold {foretold / 2**30:.2f}; "
             f"{work / 1e12:.2f} TFLOP a sample")
    for name in ("bare", "whole"):
        if told := found.get(f"profile_{name}"):
            gpu = f", {told['kernels_a_step']:.0f} kernels, the GPU busy for {told['busy']:.1%}" if asked.gpu else ""
            show(f"{name}: {told['milliseconds_a_step']:.1f} ms a step{gpu}")
            for table, rows in told.items():
                if isinstance(rows, list):
                    print(f"  {table}: ms and calls a step")
                    for key, milliseconds, calls in rows:
                        print(f"{milliseconds:10.3f}{calls:9.1f}  {key[:100]}")


if __name__ == "__main__":
    main()
