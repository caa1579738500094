"""Whether files are still what was written."""

from typing import Annotated

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.console import Console


@app.command()
@told
def verify(
    place: Annotated[str, typer.Argument(help="A workspace, a dataset version, a run folder or a checkpoint.")],
) -> None:
    """Read everything and compare it with the hashes written down; say what is damaged, and what to do. Not while a
    verb writes the workspace: what it is about to mark would look damaged.
    """
    from contextlib import nullcontext

    from anchorface.pipelines.stages.progress import Progress
    from anchorface.pipelines.verify import version_checks, workspace_checks
    from anchorface.records.checks import carry_out
    from anchorface.records.erasures import workspace_of
    from anchorface.records.lock import unwritten
    from anchorface.records.storage import exists, join
    from anchorface.training.checkpoints.verify import checkpoint_checks, run_checks

    kinds = (("manifest.json", version_checks), ("done", workspace_checks), ("dataset", workspace_checks),
             ("checkpoints", run_checks), ("checkpoint.json", checkpoint_checks))
    look = next((checks for name, checks in kinds if exists(join(place, name))), None)
    if look is None:
        raise ConfigurationError(f"{place}: no workspace, dataset version, run or checkpoint stands here")
    workspace = place if look is workspace_checks else workspace_of(place) if look is version_checks else ""
    with unwritten(workspace) if workspace else nullcontext():
        checks, damages = look(place), []
        with Progress().stage("verify", len(checks), "files") as report:
            for damage in carry_out(checks):
                damages += [damage] if damage else []
                report.advance(1, damaged=int(damage is not None))
    if not damages:
        console.print(f"{len(checks)} files, all of them whole")
        return
    table = Table("file", "found", "what to do")
    for each in damages:
        table.add_row(each.place, each.found, each.advice)
    Console().print(table)
    raise typer.Exit(1)
