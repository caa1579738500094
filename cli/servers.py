"""The servers beside a cluster, on one machine."""

from typing import Annotated

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told

servers = typer.Typer(no_args_is_help=True, help="MLflow on Postgres, Prometheus and Grafana on this machine, for "
                                                 "trying; for a team: infra/servers/compose.yaml or Kubernetes.")
app.add_typer(servers, name="servers")

Folder = Annotated[str, typer.Option(help="Where everything of theirs lies; for its owner alone.")]


@servers.command()
@told
def up(
    folder: Folder = "",
    host: Annotated[str, typer.Option(help="The address to listen at; Postgres stays on loopback.")] = "127.0.0.1",
    name: Annotated[list[str] | None, typer.Option(help="A host name by which clients call MLflow; repeat it.")] = None,
    artifacts: Annotated[str, typer.Option(help="Bucket or folder of MLflow's files (s3://BUCKET/PREFIX).")] = "",
    passwords: Annotated[bool, typer.Option(help="Whether MLflow and Prometheus ask for one.")] = True,
    mlflow_port: int = 5000, postgres_port: int = 5433, prometheus_port: int = 9090, grafana_port: int = 3000,
) -> None:
    """Start those that do not run; passwords are made the first time."""
    from anchorface.infra.servers import Servers, default_folder
    from anchorface.infra.servers import up as start

    start(Servers(folder=_place(folder) or default_folder(), host=host, names=tuple(name or ()), artifacts=artifacts,
                  passwords=passwords, mlflow_port=mlflow_port, postgres_port=postgres_port,
                  prometheus_port=prometheus_port, grafana_port=grafana_port), console.print)


@servers.command()
@told
def down(
    folder: Folder = "", delete: Annotated[bool, typer.Option(help="Their data and passwords too.")] = False,
) -> None:
    """End all of them; their data stay."""
    from anchorface.infra.servers import default_folder
    from anchorface.infra.servers import down as end

    end(_place(folder) or default_folder(), delete=delete)


@servers.command()
@told
def status(folder: Folder = "") -> None:
    """Which of them run, and where."""
    from anchorface.infra.servers import default_folder
    from anchorface.infra.servers import status as look

    table = Table("server", "state", "address", box=None)
    for each in look(_place(folder) or default_folder()):
        table.add_row(each.name, each.state, each.address)
    console.print(table)


@servers.command()
@told
def passwords(file: Annotated[str, typer.Argument(help="A file that is not there yet.")]) -> None:
    """Make the passwords of compose.yaml and of the Kubernetes manifests, in a private file."""
    from anchorface.infra.servers.settings import write_passwords

    write_passwords(file)


def _place(folder: str) -> str:
    import os

    return os.path.abspath(folder) if folder else ""
