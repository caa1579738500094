"""The demo, and what this machine or a cluster has."""

from typing import Annotated

import typer

from anchorface.cli.app import app, told
from anchorface.records import ConfigurationError
from anchorface.records.console import Console


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
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at the Ray cluster at RAY_ADDRESS instead, from each "
                                          "of its nodes.")] = False,
    folder: Annotated[
        list[str] | None, typer.Option(help="A folder or bucket that all must see: a file is written there, read and "
                                            "deleted. Repeat it.")
    ] = None,
    tracking: Annotated[str, typer.Option(help="MLflow's server: a run is written there and deleted.")] = "",
) -> None:
    """What this machine or a cluster has, what is missing or wrong, and what to do: hardware, engines, weights and
    their licences, open ports; of a cluster its nodes, versions, clocks, shared folders and network.
    """
    from anchorface.infra.doctor.findings import show
    from anchorface.infra.doctor.tracking import require_server

    if tracking:
        require_server(tracking)
    if cluster:
        if purpose or commercial:
            raise ConfigurationError("--for and --commercial are about this machine: leave them out, or --cluster")
        from anchorface.infra.doctor.cluster import examine

        well = show(Console(), "anchorface doctor --cluster", examine(folder or (), tracking),
                    "the cluster is as work needs it")
    else:
        from anchorface.infra.doctor import machine

        proposed = machine.proposal(purpose, commercial)
        well = show(Console(), "anchorface doctor", machine.examine(folder or (), tracking),
                    "everything that the demo needs is here")
        for line in proposed:
            Console().print(line, highlight=False, soft_wrap=True)
    if not well:
        raise typer.Exit(1)
