"""The demo, and what this machine has."""

from typing import Annotated

import typer

from anchorface.cli.app import app, told


@app.command()
@told
def demo(
    out: Annotated[str, typer.Option(help="Folder for everything that the demo makes.")] = "runs/demo",
    photos: Annotated[str | None, typer.Option(help="Your own photographs; synthetic people if not given.")] = None,
    samples: Annotated[int | None, typer.Option(help="Training samples; fewer is faster and worse.")] = None,
    identities: Annotated[int | None, typer.Option(help="Synthetic people.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page at the end, where somebody sits at this "
                                       "machine.")] = True,
) -> None:
    """The whole line: photographs in, a trained and judged restorer and a report page out."""
    from anchorface.demo import run

    run(out, photos=photos, samples=samples, identities=identities, show=show)


@app.command()
@told
def doctor(
    purpose: Annotated[str, typer.Option("--for", help="Propose weights for one purpose: `curate`, `train` or "
                                         "`evaluate`; for all of them if not given.")] = "",
    commercial: Annotated[bool, typer.Option("--commercial", help="Propose what may be used commercially.")] = False,
) -> None:
    """What this machine has and what is missing: hardware, engines, weights and their licences; and which weights are
    worth fetching, in one command.
    """
    from anchorface.infra.doctor import show

    if not show(purpose=purpose, commercial=commercial):
        raise typer.Exit(1)
