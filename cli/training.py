"""Recipes and training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.training.recipes import Recipe

MicroBatch = Annotated[
    int, typer.Option(help="Samples per worker and backward pass; 0 for a worker's whole share of a batch.")
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Compute blocks again in the backward pass instead of keeping them.")
]
ZeroStage = Annotated[int, typer.Option(help="DeepSpeed ZeRO: 0, 1, 2 or 3.")]


def recipe_of(name: str, settings: Sequence[str] | None) -> "Recipe":
    """A recipe by name, with what `--set` says over it."""
    from anchorface.training.recipes import recipe

    wrong = [text for text in settings or () if "=" not in text]
    if wrong:
        raise ConfigurationError(f"--set {wrong[0]}: write key=value")
    return recipe(name, **dict(text.split("=", 1) for text in settings or ()))


@app.command()
@told
def recipes() -> None:
    """The training recipes, and what each sets."""
    from anchorface.training.recipes import RECIPES, flat

    for function in RECIPES:
        table = Table("key", "value", title=f"{function.__name__}: {(function.__doc__ or '').splitlines()[0]}")
        for key, value in flat(function().to_dict()).items():
            table.add_row(key, str(value))
        Console().print(table)


@app.command()
@told
def plan(
    recipe: Annotated[str, typer.Option(help="Recipe by name: see `anchorface recipes`.")] = "iconface",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as often as needed, over the recipe.")
    ] = None,
    references: Annotated[int, typer.Option(help="Reference pictures of every sample.")] = 3,
    micro_batch: MicroBatch = 0,
    checkpointing: Checkpointing = False,
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, with commas.")] = "1,8,64",
    rate: Annotated[float, typer.Option(help="Operations per second of one GPU's matrix units (an H200's).")] = 989e12,
    efficiency: Annotated[float, typer.Option(help="The share of it that a run reaches: measured on one H200.")] = 0.26,
    bandwidth: Annotated[
        float, typer.Option(help="Bytes per second that a GPU sends; 0 for NVLink's 450e9 up to 8 GPUs, and one "
                                 "400 Gb/s port for each GPU, 50e9, above: assumptions.")
    ] = 0.0,
    device: Annotated[float, typer.Option(help="Bytes of one GPU (an H200's).")] = 141e9,
    host_copy: Annotated[
        float, typer.Option(help="Bytes per second from a GPU to memory: measured on CPUs, memory to memory.")
    ] = 4e9,
    feed_rate: Annotated[
        float, typer.Option(help="Samples per second of one feed CPU; 0 for what was measured at 512 px.")
    ] = 0.0,
    restart: Annotated[float, typer.Option(help="Seconds from a failure to the first step: an assumption.")] = 120.0,
) -> None:
    """Memory, time of a step, checkpoints, feed and failures of a recipe by GPUs and ZeRO stage; nothing is booked."""
    from anchorface.training.execution import STAGES, Execution
    from anchorface.training.forecast import Assumptions, best, forecast, refusal, told
    from anchorface.training.plan import count, memory

    made = recipe_of(recipe, setting)
    execution = Execution(micro_batch=micro_batch, checkpointing=checkpointing)
    assumed = Assumptions(rate=rate, efficiency=efficiency, bandwidth=bandwidth, device=device, host_copy=host_copy,
                          feed_rate=feed_rate, restart=restart)
    numbers = [int(text) if text.strip().isdigit() else 0 for text in gpus.split(",")]
    if not all(numbers):
        raise ConfigurationError(f"--gpus {gpus}: write numbers with commas, such as 1,8,64")
    counted = count(made, references, execution)
    console.print(f"{recipe}: {counted.backbone / 1e9:.3f} B frozen, {counted.adapters / 1e6:.1f} M trained; a sample "
                  f"with {references} references takes {counted.training / 1e12:.1f} TFLOP to train "
                  f"({counted.forward / 1e12:.1f} for one velocity)")
    # Adapters, gradients, moments and averages; the bucket for gradients and what stage 3 has gathered.
    parts = ("backbone", "trained", "buffers", "others", "activations", "total")
    table = Table("GPUs", "ZeRO", *parts, "s/step", title="GiB on each GPU, and seconds of a step")
    for number in numbers:
        for stage in STAGES if not refusal(made, number) else ():
            needed = memory(counted, gpus=number, stage=stage)
            step = forecast(counted, gpus=number, stage=stage, assumed=assumed).step
            table.add_row(str(number), str(stage), *(f"{getattr(needed, part) / 2**30:.2f}" for part in parts),
                          f"{step:.2f}")
    Console().print(table)
    for number in numbers:
        console.print(refusal(made, number) or told(best(counted, gpus=number, assumed=assumed), made, assumed))
    console.print(f"assumed: {efficiency:.0%} of {rate / 1e12:.0f} TFLOP/s, what a GPU sends in a second, and "
                  f"{restart:g} s to begin again after a failure")


@app.command()
@told
def train(
    dataset: Annotated[str, typer.Argument(help="A dataset version (what `curate` wrote).")],
    run: Annotated[str, typer.Argument(help="Folder for checkpoints; running it again resumes.")],
    recipe: Annotated[str, typer.Option(help="Recipe by name: see `anchorface recipes`.")] = "iconface_tiny",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as often as needed, over the recipe.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="A checkpoint whose averaged adapters a new run begins with; IConFace's fit IP-FVR.")
    ] = "",
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0 trains in this process.")] = 2,
    least_workers: Annotated[
        int, typer.Option(help="Go on with so many while machines are missing; 0: only with all.")
    ] = 0,
    cpus: Annotated[float, typer.Option(help="CPUs that Ray books for a worker.")] = 0.5,
    threads: Annotated[int, typer.Option(help="torch's threads per worker; 0 divides the machine's cores.")] = 0,
    use_gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each worker.")] = False,
    zero_stage: ZeroStage = 2,
    micro_batch: MicroBatch = 0,
    checkpointing: Checkpointing = False,
    offload: Annotated[bool, typer.Option("--offload", help="Moments and optimiser in the CPU's memory.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile for the network's blocks.")] = False,
    feed: Annotated[
        str, typer.Option(help="Who makes batches: ray, ahead of the worker; or inline, the worker itself.")
    ] = "ray",
    feed_workers: Annotated[int, typer.Option(help="Ray workers of each worker's feed.")] = 1,
    feed_cpus: Annotated[float, typer.Option(help="CPUs that Ray books for each of them.")] = 0.5,
    failures: Annotated[int, typer.Option(help="How often dead workers are replaced before a new checkpoint.")] = 3,
    not_finite: Annotated[
        str, typer.Option(help="When a loss or gradient is not finite: stop, skip the step, or go back to the newest "
                               "checkpoint and on with other samples.")
    ] = "stop",
    erased: Annotated[
        str, typer.Option(help="Of a checkpoint that saw people who were erased since: warn or refuse.")
    ] = "warn",
    patience: Annotated[float, typer.Option(help="Seconds for which what cannot be written is tried again.")] = 600.0,
    hang: Annotated[float, typer.Option(help="Seconds after which a rank that stands still ends it.")] = 1800.0,
    tracking: Annotated[
        str, typer.Option(help="MLflow tracking URI; if not given the one RUN knows, or a SQLite file beside RUN.")
    ] = "",
    track: Annotated[bool, typer.Option("--track/--no-track", help="Whether MLflow hears of the run.")] = True,
    parent: Annotated[str, typer.Option(help="Id of an MLflow run under which a new run is nested.")] = "",
) -> None:
    """Train with DeepSpeed ZeRO on Ray Train, tracked in MLflow."""
    from anchorface.pipelines.stages.cluster import connect
    from anchorface.training.execution import Execution
    from anchorface.training.launch import train as launch

    made = recipe_of(recipe, setting)
    execution = Execution(
        workers=workers, least_workers=least_workers, gpus=int(use_gpu), cpus=cpus, threads=threads,
        zero_stage=zero_stage, micro_batch=micro_batch, compile=compiled, checkpointing=checkpointing, offload=offload,
        feed=feed, feed_workers=feed_workers, feed_cpus=feed_cpus, failures=failures, not_finite=not_finite,
        erased=erased, patience=patience, hang=hang,
    )
    if workers:
        connect()
    newest = launch(made, dataset, run, execution, start=start, track=track, tracking_uri=tracking, parent=parent,
                    report=_tell)
    _tell(f"checkpoint: {newest}")


def _tell(text: str) -> None:
    """A line of progress, without credentials."""
    console.print(text, soft_wrap=True)
