"""Training runs: listed, shown, compared, sent to MLflow, registered as models."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from anchorface.cli.app import app, console, told
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.training.run_folders import Run

runs = typer.Typer(no_args_is_help=True, help="Training runs: list, show, compare, sync with MLflow, register.")
app.add_typer(runs, name="runs")

RunFolder = Annotated[str, typer.Argument(help="A run's folder.")]
Store = Annotated[
    str, typer.Option(help="The run's MLflow tracking URI with its credentials, if the environment has none.")
]
LEFT_OUT = ("recipe.feed.dataset", "git.dirty")


@runs.command("list")
@told
def list_runs(
    folders: Annotated[list[str] | None, typer.Argument(help="Folders with runs; `runs` if none is given.")] = None,
    person: Annotated[
        str, typer.Option("--with", help="Only what saw this person, erased or not: an identity, a label, the id of a "
                                         "face, a photograph or an erasure. Needs --workspace.")
    ] = "",
    workspace: Annotated[str, typer.Option(help="Where the person is or was.")] = "",
) -> None:
    """The runs below some folders: how far, how well, in which state; or those that saw a person."""
    if person:
        _list_seen(person, workspace, folders or ["runs"])
        return
    from anchorface.records import AnchorfaceError
    from anchorface.training.run_folders import find, look

    columns = ("run", "recipe", "dataset", "samples", "newest", "best", "state", "MLflow")
    table, damaged = Table(*columns), []
    for folder in find(folders or ["runs"]):
        try:
            run = look(folder)
        except AnchorfaceError as error:
            damaged.append(str(error))
            continue
        table.add_row(run.folder, run.recipe, run.dataset, _samples(run), run.newest, run.best, run.state,
                      run.mlflow + (f", {run.waiting} lines wait" if run.waiting else ""))
    Console().print(table if table.row_count else "no run is there")
    for text in damaged:
        console.print(Text.assemble(("damaged", "red"), f": {text}"), soft_wrap=True)
    if damaged:
        raise typer.Exit(1)


def _list_seen(person: str, workspace: str, folders: list[str]) -> None:
    """Runs, checkpoints and evaluations on dataset versions that held a person."""
    from anchorface.pipelines.erasure.seen import runs_that_saw
    from anchorface.records import ConfigurationError

    if not workspace:
        raise ConfigurationError(f"--with {person}: give --workspace too, where the person is or was")
    table = Table("kind", "where", "checkpoints", "dataset version", "erased by", title=f"what saw {person}")
    for row in runs_that_saw(person, workspace, folders):
        where = row.get("folder") or f"{row.get('store', '')} {row.get('run_id', '')}"
        told_of = (row["kind"], where, ", ".join(row.get("checkpoints", ())), row["manifest"], row["erasure"] or "")
        table.add_row(*told_of)
    Console().print(table if table.row_count else "nothing here saw this person")


@runs.command()
@told
def show(run: RunFolder) -> None:
    """One run: what it was told, its starts, its checkpoints with their validation, its last metrics."""
    from anchorface.training.run_folders import look

    found, out = look(run), Console()
    out.print(f"{found.folder}: {found.state}, {_samples(found)} samples", soft_wrap=True)
    if found.mlflow:
        out.print(f"MLflow run {found.mlflow}" + (f"; {found.waiting} lines wait for it: `anchorface runs sync`"
                                                  if found.waiting else ""), soft_wrap=True)
    if found.starts:
        out.print(f"started at {', '.join(f'{clock:,}' for clock in found.starts)} samples", soft_wrap=True)
    for branch in found.branches:
        out.print(f"went on differently {branch}", soft_wrap=True)
    if found.skipped:
        out.print(f"samples left out: {', '.join(f'{first:,} to {end - 1:,}' for first, end in found.skipped)}",
                  soft_wrap=True)
    _table(out, "told", found.values)
    names = sorted({name for one in found.checkpoints for name in one.validation})
    table = Table("checkpoint", "samples", *names, title="checkpoints")
    for one in found.checkpoints:
        mark = " (best)" if one.name == found.best else ""
        table.add_row(one.name + mark, f"{one.clock:,}", *(_number(one.validation.get(name)) for name in names))
    out.print(table)
    _table(out, "last metrics", found.last)


@runs.command()
@told
def compare(folders: Annotated[list[str], typer.Argument(help="Two runs' folders or more.")]) -> None:
    """What differs between runs: what they were told, and their last metrics."""
    from anchorface.records import ConfigurationError
    from anchorface.training.run_folders import look

    if len(folders) < 2:
        raise ConfigurationError("compare: name two runs or more")
    found = [look(folder) for folder in folders]
    titles = [run.folder for run in found]
    told_of = [run.values | {"samples": _samples(run), "state": run.state} for run in found]
    keys = sorted({key for values in told_of for key in values} - set(LEFT_OUT))
    differing = [key for key in keys if len({str(values.get(key, "")) for values in told_of}) > 1]
    table = Table("told", *titles, title="what differs")
    for key in differing:
        table.add_row(key, *(str(values.get(key, "")) for values in told_of))
    Console().print(table if differing else "they were told the same")
    table = Table("metric", *titles, title="last metrics")
    for key in sorted({key for run in found for key in run.last}):
        table.add_row(key, *(_number(run.last.get(key)) for run in found))
    Console().print(table)


@runs.command()
@told
def sync(run: RunFolder, tracking: Store = "") -> None:
    """Send to MLflow what a run said while MLflow was away."""
    from anchorface.training.courier import sync as send

    console.print(f"{send(run, uri=tracking, report=console.print)} lines sent")


@runs.command()
@told
def register(
    run: RunFolder,
    name: Annotated[str, typer.Option(help="Name of the registered model.")],
    alias: Annotated[str, typer.Option(help="Alias that from now on means this version, such as champion.")] = "",
    checkpoint: Annotated[
        str, typer.Option(help="A checkpoint's name, `newest` or `best`; if not given the best, else the newest.")
    ] = "",
    tracking: Store = "",
) -> None:
    """Log a checkpoint as a model in MLflow and register it: `mlflow.pyfunc.load_model("models:/NAME@ALIAS")`."""
    from anchorface.infra.registry import register as log

    made = log(run, name=name, alias=alias, checkpoint=checkpoint, uri=tracking)
    console.print(f"{made.name} version {made.version}{f' ({alias})' if alias else ''}: "
                  f"{made.checkpoint}, model {made.model_id}", soft_wrap=True)


def _samples(run: "Run") -> str:
    return f"{run.clock:,} of {run.positions:,}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _table(out: Console, title: str, values: dict[str, Any]) -> None:
    table = Table("name", "value", title=title)
    for key, value in sorted(values.items()):
        table.add_row(key, _number(value) if isinstance(value, float) else str(value))
    out.print(table)
