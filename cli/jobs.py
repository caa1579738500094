"""Work on other machines, or on this one without its terminal: handed over, listed, read, ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from anchorface.cli.app import app, console, told
from anchorface.cli.sweeps import SWEPT, definition
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.infra.launch.submission import State, Submission

Job = Annotated[str, typer.Argument(help="A job's name: see `anchorface jobs`.")]


@app.command(context_settings={"allow_interspersed_args": False})
@told
def submit(
    context: typer.Context,
    verb: Annotated[str, typer.Argument(help="curate, train, sweep, evaluate, restore or doctor.")],
    words: Annotated[list[str] | None, typer.Argument(help="Its own arguments and options, as ever.")] = None,
    on: Annotated[str, typer.Option(help="Who carries it out: local, ray, slurm or kubernetes.")] = "local",
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    cpus: Annotated[int, typer.Option(help="CPUs of each; 0: what the launcher gives.")] = 0,
    gpus: Annotated[int, typer.Option(help="GPUs of each.")] = 0,
    memory: Annotated[int, typer.Option(help="GiB of each; 0: what the launcher gives.")] = 0,
    feed_nodes: Annotated[int, typer.Option(help="Machines without GPUs beside them, for the feed.")] = 0,
    feed_cpus: Annotated[int, typer.Option(help="CPUs of each of those.")] = 0,
    queue: Annotated[str, typer.Option(help="Slurm's partition, or Kueue's queue.")] = "",
    minutes: Annotated[int, typer.Option(help="Time limit; 0: none.")] = 0,
    preemptible: Annotated[bool, typer.Option("--preemptible", help="Spot machines will do.")] = False,
    image: Annotated[str, typer.Option(help="Container image; for Slurm by Apptainer (NAME.sif) or Pyxis.")] = "",
    account: Annotated[str, typer.Option(help="Slurm's account.")] = "",
    env: Annotated[
        list[str] | None, typer.Option(help="Name of a variable that is passed on, as often as needed, beside AWS_*, "
                                            "AZURE_*, MLFLOW_*, ANCHORFACE_* and the proxies'.")
    ] = None,
    each: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE,VALUE: a task for each value, or each combination, with the "
                                            "value where {NAME} stands in the words. Slurm's arrays.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Refuse code with changes that are not committed.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Print its log to the end; 1 unless it succeeded.")] = False,
) -> None:
    """Hand a verb to this machine, a Ray cluster, Slurm or Kubernetes: submit OPTIONS VERB ITS-OWN-WORDS."""
    from anchorface.infra.launch import launcher
    from anchorface.infra.launch.resources import Resources
    from anchorface.infra.launch.submission import made_folder
    from anchorface.infra.launch.work import work

    to = launcher(on)
    needs = Resources(nodes=nodes, cpus=cpus, gpus=gpus, memory_gib=memory, feed_nodes=feed_nodes, feed_cpus=feed_cpus,
                      queue=queue, minutes=minutes, preemptible=preemptible, image=image, account=account)
    made = work(verb, words or [], needs, environment=env or (), each=_each(each or ()), clean=clean)
    _require_understood(context, made.commands, minutes)
    if dry_run:
        for name, text in to.render(made).items():
            print(f"# {name}\n{text}", end="" if text.endswith("\n") else "\n")
        return
    to.ready(made)
    made_folder()
    if made.code.changed:
        console.print(f"not committed, and sent as it stands: {', '.join(made.code.changed)}", soft_wrap=True)
    submission = to.submit(made)
    console.print(f"{submission.name}: {on} has it as {submission.id}; anchorface logs {submission.name} --follow",
                  soft_wrap=True)
    if wait:
        for line in to.log(submission, True):
            console.print(line, soft_wrap=True, highlight=False)
        state = to.state(submission)
        console.print(f"{submission.name}: {_told(state)}", soft_wrap=True)
        raise typer.Exit(0 if state.phase.value == "succeeded" else 1)


@app.command()
@told
def jobs(last: Annotated[int, typer.Option(help="How many of the newest.")] = 20) -> None:
    """What was submitted from here, and how it goes now."""
    from anchorface.infra.launch.submission import kept

    found, damaged = kept()
    table = Table("job", "on", "id", "state", "submitted", "command")
    for submission in found[-last:]:
        table.add_row(submission.name, submission.launcher, submission.id, _asked(submission), submission.submitted,
                      " ".join(submission.command))
    Console().print(table if found else "nothing was submitted from here")
    for text in damaged:
        console.print(f"damaged: {text}", soft_wrap=True)
    if damaged:
        raise typer.Exit(1)


@app.command()
@told
def logs(
    job: Job, follow: Annotated[bool, typer.Option("--follow", help="Go on until the job is over.")] = False
) -> None:
    """What a job printed."""
    from anchorface.infra.launch import launcher
    from anchorface.infra.launch.submission import find

    submission = find(job)
    for line in launcher(submission.launcher).log(submission, follow):
        Console().print(line, soft_wrap=True, highlight=False)


@app.command()
@told
def cancel(job: Job) -> None:
    """End a job, in good order where it can: what it has done stands, and the same command goes on."""
    from anchorface.infra.launch import launcher
    from anchorface.infra.launch.submission import find

    submission = find(job)
    to = launcher(submission.launcher)
    to.cancel(submission)
    console.print(f"{job}: {_told(to.state(submission))}", soft_wrap=True)


def _each(texts: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or not values or name in found:
            raise ConfigurationError(f"--each {text}: write NAME=VALUE,VALUE, each name once")
        found[name] = values.split(",")
    return found


def _require_understood(context: typer.Context, commands: Sequence[Sequence[str]], minutes: int) -> None:
    """Let the verb read its own words, here and now: it says what is wrong with them as ever."""
    group: Any = context.find_root().command
    folders = set()
    for verb, *words in commands:
        command = group.get_command(context, verb)
        if command is None:
            raise ConfigurationError(f"{verb}: there is no such verb")
        said = command.make_context(verb, list(words), parent=context.find_root()).params
        if verb == "sweep":
            if said["trial"] is None and len(commands) > 1:
                raise ConfigurationError("--each: a task of a sweep needs --trial {NAME}; or submit it as one job")
            definition(**{name: said[name] for name in SWEPT})
        if verb == "train":
            if said["run"] in folders:
                raise ConfigurationError(f"--each: two tasks would train in {said['run']}: let {{NAME}} stand in it")
            folders.add(said["run"])
            if minutes:
                from anchorface.infra.launch.interval import require_interval
                from anchorface.training.recipes import recipe

                settings = dict(text.partition("=")[::2] for text in said["setting"] or ())
                require_interval(minutes, recipe(said["recipe"], **settings).checkpoint_every, said["run"])


def _asked(submission: "Submission") -> str:
    """A job's state in a few words, or why its launcher does not tell."""
    from anchorface.infra.launch import launcher

    try:
        return _told(launcher(submission.launcher).state(submission))
    except AnchorfaceError as error:
        return f"unknown: {error}"


def _told(state: "State") -> str:
    return state.phase.value + (f" ({state.detail})" if state.detail else "")
