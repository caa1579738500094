"""Dataset versions: what they hold, and how they differ."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from anchorface.cli.app import Workspace, app, console, told
from anchorface.records.console import Console

if TYPE_CHECKING:
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
    from anchorface.records.storage import require_writable, write_table

    if out is not None:
        require_writable(out)
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
