"""Erasing photographs, a source or a person from a workspace and from the runs that saw them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from anchorface.cli.app import Workspace, app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.pipelines.erasure.selection import Selection


@app.command()
@told
def erase(
    workspace: Workspace,
    photo: Annotated[
        list[str] | None, typer.Option(help="A photograph: its file, its uri or its id. Its people stay elsewhere.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="All photographs of a source, or below a uri.")] = None,
    identity: Annotated[list[str] | None, typer.Option(help="A person: an identity's name, p000012.")] = None,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="All photographs whose consent was withdrawn.")
    ] = False,
    label: Annotated[
        list[str] | None, typer.Option(help="A person: a sidecar's subject, or the label of a decision.")
    ] = None,
    decision: Annotated[
        list[int] | None, typer.Option(help="A person: whom the decision of this number is about.")
    ] = None,
    face: Annotated[str | None, typer.Option(help="A photograph of the person, looked for in the workspace.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="A face that may be the person's, as listed, or `all` of them.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="With --face: smallest cosine; the tombstones' own if not given.")
    ] = None,
    runs: Annotated[
        list[str] | None, typer.Option(help="Folder of runs, evaluations or restored pictures, beside those that the "
                                            "workspace knows: what shows them there goes.")
    ] = None,
    tracking: Annotated[list[str] | None, typer.Option(help="MLflow tracking URI to search.")] = None,
    originals: Annotated[bool, typer.Option("--originals", help="Print the files at the source: they stay.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verb that is at work in the workspace.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the verb at work; it goes on when run again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only said what would go, and why.")] = False,
) -> None:
    """Erase photographs, a source or a person from everything in a workspace, for good.

    Without --yes it is a preview: what goes, why, and which faces are not certain. A person is kept out afterwards, a
    photograph too. The files at the source stay: delete them yourself.
    """
    from anchorface.pipelines.erasure.erase import erase as carry_out
    from anchorface.pipelines.erasure.erase import settle
    from anchorface.pipelines.stages.progress import Progress
    from anchorface.records.storage import exists
    from anchorface.records.workspace import at_work

    person = bool(identity or label or decision)
    if sum((bool(photo), source is not None, person, face is not None, withdrawn)) != 1:
        raise ConfigurationError("erase: give --photo, or --source, or --withdrawn, or --face, or what names a person: "
                                 "--identity, --label, --decision")
    if not exists(workspace):
        raise ConfigurationError(f"{workspace}: there is no such workspace")
    with at_work(workspace, "erase", wait=wait, stop=stop):
        for report in settle(workspace, progress=Progress(), wait=wait, stop=stop):
            console.print(f"an erasure that had been stopped is finished: {report['id']}")
        if face is not None:
            selection = _shown(workspace, face, threshold, also or ())
        elif person:
            from anchorface.pipelines.erasure.person import by_person

            kind = "identity" if identity else "label" if label else "decision"
            selection = by_person(workspace, identities=identity or (), labels=label or (), decisions=decision or (),
                                  also=also or (), kind=kind)
        else:
            from anchorface.pipelines.erasure.selection import by_photo, by_source, by_withdrawn

            selection = (by_withdrawn(workspace) if withdrawn else by_photo(workspace, photo) if photo
                         else by_source(workspace, str(source)))
        _say_selection(selection)
        if originals:
            for uri in sorted({*selection.uris, *(uri for uri, _ in selection.places)}):
                Console().print(uri, soft_wrap=True)
        if not yes:
            console.print("nothing was erased: add --yes to do it")
            return
        report = carry_out(workspace, selection, runs=runs or (), tracking=tracking or (), progress=Progress())
    _say_report(workspace, report)


def _shown(workspace: str, photo: str, threshold: float | None, also: "tuple[str, ...] | list[str]") -> "Selection":
    """The people who look like the one in a photograph."""
    from anchorface.pipelines.erasure.find_person import shown_in
    from anchorface.pipelines.erasure.person import by_person

    found = shown_in(workspace, photo, threshold=threshold)
    table = Table("identity", "subject", "faces", "alike", "cosine", "strangers as much alike")
    for each in found:
        words = (each.identity, each.subject or "", str(each.faces), str(len(each.near)), f"{each.cosine:.3f}",
                 f"{each.false_match_rate:.2%}")
        table.add_row(*words)
    Console().print(table if found else "nobody in the workspace looks like that")
    if not found:
        raise typer.Exit(1)
    return by_person(workspace, identities=[each.identity for each in found if each.identity], also=also, kind="face",
                     faces=[name for each in found if not each.identity for name in each.near])


def _say_selection(selection: "Selection") -> None:
    console.print(
        f"{len(selection.face_ids)} faces and {len(selection.photo_ids)} photographs go; {len(selection.shared)} "
        "photographs that show others too stay without them")
    if selection.identities or selection.subjects:
        console.print(f"identities: {', '.join(selection.identities) or 'none'}; labels: "
                      f"{', '.join(selection.subjects) or 'none'}", soft_wrap=True)
    for reason, number in selection.why.items():
        console.print(f"{number:6,} {reason}", soft_wrap=True)
    for name, number in selection.alike.items():
        said = f": {number} faces there are as much alike: perhaps the same person"
        console.print(Text.assemble((name, "yellow"), said))
    for name, reason in selection.unsure.items():
        console.print(Text.assemble((name, "yellow"), f" stays: {reason}; --also {name} erases it"), soft_wrap=True)


def _say_report(workspace: str, report: dict[str, Any]) -> None:
    table = Table("erased", "number")
    for name in ("photos", "faces", "identities", "files_rewritten"):
        table.add_row(name.replace("_", " "), str(len(report[name])))
    table.add_row("run files cleaned", str(sum(report["run_files_cleaned"].values())))
    Console().print(table)
    for old, new in report["dataset_versions"].items():
        Console().print(f"dataset version {old} is gone; {new} takes its place")
    for run in report["runs"]:
        learned = f"; learned from them: {', '.join(run['checkpoints'])}" if run.get("checkpoints") else ""
        where = f"{run['kind']} {run.get('run_id') or run['folder']} ({run['manifest']})"
        Console().print(f"saw them: {where}{learned}", soft_wrap=True)
    Console().print(f"{report['originals_at_the_source']} files at the source show them still: delete them yourself")
    for place in report["not_searched"]:
        Console().print(f"not searched: {place}", soft_wrap=True)
    Console().print(f"report: {workspace}/erased/{report['id']}.json", soft_wrap=True)
