"""Dataset versions: what they hold, how they differ, and erasing people from them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from anchorface.cli.app import Workspace, app, console, told
from anchorface.records import ConfigurationError
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.pipelines.erasure.selection import Selection
    from anchorface.records.lineage import Version

SHOWN = 20


@app.command()
@told
def versions(workspace: Workspace) -> None:
    """The dataset versions of a workspace, each under the one that it came from."""
    from anchorface.records.lineage import versions as read
    from anchorface.records.storage import join

    family = read(join(workspace, "dataset"))
    tree = Tree(f"{workspace}/dataset")
    branches: dict[str, Tree] = {}
    for version in family:
        parent = branches.get(version.parents[0], tree) if version.parents else tree
        branches[version.manifest_id] = parent.add(_described(version))
    Console().print(tree)


@app.command()
@told
def diff(
    before: Annotated[str, typer.Argument(help="A dataset version: its folder, or WORKSPACE:ID.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    out: Annotated[str | None, typer.Option(help="Write all rows to this Parquet file.")] = None,
) -> None:
    """How two dataset versions differ: faces added, removed, moved, changed; and how they were made."""
    from anchorface.records.lineage import diff as compare
    from anchorface.records.storage import write_table

    found = compare(_folder(before), _folder(after))
    table = Table("change", "faces")
    for kind, number in found.counts().items():
        table.add_row(kind, str(number))
    Console().print(table)
    if found.made:
        made = Table("made with", "before", "after")
        for name, (old, new) in found.made.items():
            made.add_row(name, old, new)
        Console().print(made)
    if len(found.rows):
        shown = Table(*found.rows.column_names)
        for row in found.rows.slice(0, SHOWN).to_pylist():
            shown.add_row(*row.values())
        Console().print(shown)
    if out is not None:
        write_table(out, found.rows)
        console.print(f"{len(found.rows)} rows: {out}", soft_wrap=True)
    elif len(found.rows) > SHOWN:
        console.print(f"{len(found.rows) - SHOWN} rows more: --out writes all of them")


@app.command()
@told
def erase(
    workspace: Workspace,
    photo: Annotated[
        list[str] | None, typer.Option(help="A photograph: its file, its uri or its id. Its people stay elsewhere.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="All photographs of a source, or below a uri.")] = None,
    identity: Annotated[list[str] | None, typer.Option(help="A person: an identity's name, p000012.")] = None,
    face: Annotated[str | None, typer.Option(help="A photograph of the person, looked for in the index.")] = None,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="All photographs whose consent was withdrawn.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="With --face: smallest cosine; the tombstones' own if not given.")
    ] = None,
    runs: Annotated[
        list[str] | None, typer.Option(help="Folder of training runs and evaluations: list those that saw them, and "
                                            "delete their pages and pictures of people.")
    ] = None,
    tracking: Annotated[list[str] | None, typer.Option(help="MLflow tracking URI to search.")] = None,
    originals: Annotated[bool, typer.Option("--originals", help="Print the files at the source: they stay.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only said what would be done.")] = False,
) -> None:
    """Erase photographs, a source or a person from everything in a workspace, for good.

    A person is kept out afterwards, a photograph too. The files at the source stay: delete them yourself.
    """
    from anchorface.pipelines.erasure.erase import erase as carry_out
    from anchorface.pipelines.erasure.erase import settle
    from anchorface.pipelines.stages.progress import Progress

    if sum(given is not None and given != [] for given in (photo, source, identity, face, withdrawn or None)) != 1:
        raise ConfigurationError("erase: give one of --photo, --source, --identity, --face or --withdrawn")
    for report in settle(workspace, progress=Progress()):
        console.print(f"an erasure that had been stopped is finished: {report['id']}")
    selection = _selection(workspace, photo or [], source, identity or [], face, withdrawn, threshold)
    _say_selection(selection)
    if originals:
        for uri in sorted({*selection.uris, *(uri for uri, _ in selection.places)}):
            Console().print(uri, soft_wrap=True)
    if not yes:
        console.print("nothing was erased: add --yes to do it")
        return
    report = carry_out(workspace, selection, runs=runs or (), tracking=tracking or (), progress=Progress())
    _say_report(workspace, report)


def _selection(
    workspace: str, photo: list[str], source: str | None, identity: list[str], face: str | None,
    withdrawn: bool, threshold: float | None,
) -> "Selection":
    from anchorface.pipelines.erasure import selection

    if photo:
        return selection.by_photo(workspace, photo)
    if withdrawn:
        return selection.by_withdrawn(workspace)
    if source is not None:
        return selection.by_source(workspace, source)
    if identity:
        return selection.by_identity(workspace, identity)
    from anchorface.pipelines.erasure.find_person import shown_in

    assert face is not None
    found = shown_in(workspace, face, threshold=threshold)
    table = Table("identity", "subject", "faces", "alike", "cosine", "strangers as much alike")
    for each in found:
        words = (each.identity, each.subject or "", str(each.faces), str(each.near), f"{each.cosine:.3f}",
                 f"{each.false_match_rate:.2%}")
        table.add_row(*words)
    Console().print(table if found else "nobody in the index looks like that")
    if not found:
        raise typer.Exit(1)
    return selection.by_identity(workspace, [each.identity for each in found], kind="face")


def _say_selection(selection: "Selection") -> None:
    console.print(
        f"{len(selection.face_ids)} faces and {len(selection.photo_ids)} photographs go; {len(selection.shared)} "
        "photographs that show others too stay without them")
    for name, number in selection.alike.items():
        said = f": {number} faces there are as much alike: perhaps the same person"
        console.print(Text.assemble((name, "yellow"), said))


def _say_report(workspace: str, report: dict[str, Any]) -> None:
    table = Table("erased", "number")
    for name in ("photos", "faces", "identities", "files_rewritten", "run_files_cleaned"):
        table.add_row(name.replace("_", " "), str(len(report[name])))
    Console().print(table)
    for old, new in report["dataset_versions"].items():
        Console().print(f"dataset version {old} is gone; {new} takes its place")
    for run in report["runs"]:
        Console().print(f"saw them: {run['kind']} {run.get('run_id') or run['folder']} ({run['manifest']})",
                        soft_wrap=True)
    Console().print(f"{report['originals_at_the_source']} files at the source show them still: delete them yourself")
    Console().print(f"report: {workspace}/erased/{report['id']}.json", soft_wrap=True)


def _described(version: "Version") -> Text:
    if version.manifest is None:
        return Text(f"{version.manifest_id}, erased: only the name is left", "dim")
    manifest = version.manifest
    splits = ", ".join(
        f"{split} {count['faces']} faces of {count['identities']}" for split, count in manifest.counts.items())
    erased = f", {manifest.extra['erased']} faces of its parent erased" if "erased" in manifest.extra else ""
    mark = (" latest", "bold green") if version.latest else ""
    others = f", also from {', '.join(version.parents[1:])}" if len(version.parents) > 1 else ""
    return Text.assemble(version.manifest_id, mark, f": {splits}{erased}{others}; code {manifest.code}")


def _folder(text: str) -> str:
    """A version's folder, from itself or from `WORKSPACE:ID`."""
    from anchorface.records.storage import exists, join

    workspace, colon, name = text.rpartition(":")
    if colon and not exists(text) and exists(join(workspace, "dataset", name)):
        return join(workspace, "dataset", name)
    return text
