"""Recipes, training, judging."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.app import app, console, told
from records import ConfigurationError


@app.command()
@told
def recipes() -> None:
    """The training recipes, and what each sets."""
    from training.recipes import RECIPES, flat

    for function in RECIPES:
        table = Table("key", "value", title=f"{function.__name__}: {(function.__doc__ or '').splitlines()[0]}")
        for key, value in flat(function().to_dict()).items():
            table.add_row(key, str(value))
        Console().print(table)


@app.command()
@told
def train(
    dataset: Annotated[str, typer.Argument(help="A dataset version (what `curate` wrote).")],
    run: Annotated[str, typer.Argument(help="Folder for checkpoints; running it again resumes.")],
    recipe: Annotated[str, typer.Option(help="Recipe by name: see `anchorface recipes`.")] = "iconface_tiny",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as often as needed, over the recipe.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0 trains in this process.")] = 2,
    use_gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each worker.")] = False,
    tracking: Annotated[str, typer.Option(help="MLflow tracking URI; a SQLite file beside RUN if not given.")] = "",
) -> None:
    """Train with DeepSpeed ZeRO on Ray Train, tracked in MLflow."""
    from pipelines.cluster import connect
    from training.launch import train as launch
    from training.recipes import recipe as make

    wrong = [text for text in setting or () if "=" not in text]
    if wrong:
        raise ConfigurationError(f"--set {wrong[0]}: write key=value")
    made = make(recipe, **dict(text.split("=", 1) for text in setting or ()))
    if workers:
        connect()
    newest = launch(
        made, dataset, run, workers=workers, use_gpu=use_gpu, tracking_uri=tracking, report=console.print
    )
    console.print(f"checkpoint: {newest}")


@app.command()
@told
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.")],
    dataset: Annotated[str, typer.Argument(help="A dataset version.")],
    out: Annotated[str, typer.Argument(help="Folder for rows, tables and the page.")],
    judge: Annotated[str, typer.Option(help="Judge network: neither in the anchor nor in the loss.")] = "judge_small",
    profile: Annotated[str, typer.Option(help="Degradation profile.")] = "refldm-severe",
    count: Annotated[int, typer.Option(help="Pictures.")] = 100,
    split: Annotated[str, typer.Option(help="Split.")] = "test",
    history: Annotated[str | None, typer.Option(help="The run's progress.jsonl, for its curves.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of targets, references, plans and noise.")] = 0,
) -> None:
    """Judge a checkpoint on held-out people: table with intervals, and a page."""
    from evaluation import evaluate as judge_it
    from evaluation import write_page

    judge_it(
        checkpoint, dataset, out, judge=judge, profile=profile, count=count, split=split, seed=seed, device="auto",
        progress=console.print,
    )
    console.print(f"page: {write_page(out, dataset, f'{out}/report.html', history=history)}")
