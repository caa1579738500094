"""Sweeps: many runs of one recipe, and the best of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.cli.training import Checkpointing, MicroBatch, ZeroStage, recipe_of
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.training.sweeps.settings import Sweep

SWEPT = ("recipe", "setting", "over", "search", "trials", "seed", "asha", "first_rung", "reduction")
"""The verb's words that say what is swept."""


@app.command()
@told
def sweep(
    dataset: Annotated[str, typer.Argument(help="A dataset version (what `curate` wrote).")],
    folder: Annotated[str, typer.Argument(help="Folder for the trials' runs; running it again goes on.")],
    over: Annotated[
        list[str], typer.Option(help="What varies, as often as needed: key=value,value; key=[value,value] in JSON; "
                                     "key=low..high or key=low..high:log, for random and tpe.")
    ],
    recipe: Annotated[str, typer.Option(help="Recipe by name: see `anchorface recipes`.")] = "iconface_tiny",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as often as needed, over the recipe of all trials.")
    ] = None,
    search: Annotated[
        str, typer.Option(help="grid: each combination of values; random: points at random; tpe: points chosen by "
                               "what earlier ones came to.")
    ] = "grid",
    trials: Annotated[int, typer.Option(help="How many; a grid has as many as points.")] = 0,
    seed: Annotated[int, typer.Option(help="Of random and tpe; the trials' own is feed.seed, the same for all.")] = 0,
    asha: Annotated[bool, typer.Option("--asha", help="Stop trials early that are behind at a rung.")] = False,
    first_rung: Annotated[int, typer.Option(help="Samples to the first rung; 0: validation.every.")] = 0,
    reduction: Annotated[float, typer.Option(help="Each rung is so many times as far, for one in so many.")] = 3.0,
    at_once: Annotated[int, typer.Option(help="Trials at once; 0: as many as fit.")] = 0,
    trial: Annotated[
        int | None, typer.Option(help="This trial alone, in this process: a task of an array. Grid and random only.")
    ] = None,
    again: Annotated[bool, typer.Option("--retry-failed", help="Try failed trials once more.")] = False,
    workers: Annotated[
        int, typer.Option(help="Ray Train workers of each trial; 0: each trains in a process of its own.")
    ] = 0,
    cpus: Annotated[float, typer.Option(help="CPUs that Ray books for each of these.")] = 1.0,
    threads: Annotated[int, typer.Option(help="torch's threads of each; 0: as many as CPUs.")] = 0,
    use_gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each of them.")] = False,
    zero_stage: ZeroStage = 2,
    micro_batch: MicroBatch = 0,
    checkpointing: Checkpointing = False,
    failures: Annotated[int, typer.Option(help="How often dead processes of a trial are replaced.")] = 3,
    tracking: Annotated[
        str, typer.Option(help="MLflow tracking URI; if not given the one FOLDER knows, or a SQLite file beside it.")
    ] = "",
    track: Annotated[bool, typer.Option("--track/--no-track", help="Whether MLflow hears of it.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trials, and start nothing.")] = False,
) -> None:
    """Train a recipe with some of its values varied, and say what is best by validation."""
    from anchorface.training.execution import Execution
    from anchorface.training.sweeps.run import sweep as carry_out

    wanted = definition(recipe=recipe, setting=setting, over=over, search=search, trials=trials, seed=seed, asha=asha,
                        first_rung=first_rung, reduction=reduction)
    execution = Execution(
        workers=workers, cpus=cpus, threads=threads or max(int(cpus), 1), gpus=int(use_gpu), zero_stage=zero_stage,
        micro_batch=micro_batch, checkpointing=checkpointing, failures=failures)
    if dry_run:
        wanted.require_batches(execution)
        _list(wanted)
        return
    rows = carry_out(wanted, dataset, folder, execution, at_once=at_once, only=trial, again=again, track=track,
                     tracking_uri=tracking, report=_tell)
    from anchorface.training.sweeps.table import cells, head

    table = Table(*head(wanted), title=f"{wanted.recipe.name}, the best first")
    for row in rows:
        table.add_row(*cells(wanted, row))
    Console().print(table)


def definition(*, recipe: str, setting: Sequence[str] | None, over: Sequence[str], **search: Any) -> "Sweep":
    """What is swept, of the verb's own words; `search` as `Sweep` has it."""
    from anchorface.training.sweeps.settings import Sweep
    from anchorface.training.sweeps.space import variable

    made = recipe_of(recipe, setting)
    return Sweep(recipe=made, over=tuple(variable(text, made) for text in over), **search)


def _list(wanted: "Sweep") -> None:
    """The trials as they would be."""
    keys = [one.key for one in wanted.over]
    if wanted.search == "tpe":
        Console().print(f"{wanted.trials} trials, each chosen by what earlier ones came to, over "
                        f"{'; '.join(map(str, wanted.over))}")
        return
    table = Table("trial", *keys, title=f"{wanted.count:,} trials of {wanted.recipe.positions:,} samples")
    for number, point in enumerate(wanted.points):
        table.add_row(str(number), *(str(point[key]) for key in keys))
    Console().print(table)


def _tell(text: str) -> None:
    """A line of progress, without credentials."""
    console.print(text, soft_wrap=True)
