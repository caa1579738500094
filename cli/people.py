"""Who is who, looked over and corrected by a person."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from anchorface.cli.app import Workspace, app, console, told
from anchorface.records.console import Console

if TYPE_CHECKING:
    from anchorface.records.nouns import Decision

IdentityName = Annotated[str, typer.Argument(help="Name of an identity, for example p000012.")]
FaceIds = Annotated[list[str], typer.Argument(help="Face ids; the beginning is enough where no other begins so.")]
Note = Annotated[str, typer.Option(help="Why; kept with the decision.")]
Now = Annotated[bool, typer.Option("--now", help="Group again at once, with the settings of the last time.")]


@app.command()
@told
def audit(
    workspace: Workspace,
    out: Annotated[str | None, typer.Option(help="Folder of the pages; WORKSPACE/audit if not given.")] = None,
    identities: Annotated[int, typer.Option(help="Identities with a sheet, most doubtful first; 0 for all.")] = 500,
    per_page: Annotated[int, typer.Option(help="Identities on a page.")] = 24,
) -> None:
    """Write pages for people: identities by doubt, dropped rows, distributions, references."""
    from anchorface.pipelines.audit import audit as write
    from anchorface.pipelines.stages.progress import Progress

    first = write(workspace, out, shown=identities or None, per_page=per_page, progress=Progress())
    console.print(f"open {first}", soft_wrap=True)


@app.command()
@told
def merge(
    workspace: Workspace,
    identities: Annotated[list[str], typer.Argument(help="Two identities or more.")],
    note: Note = "",
    now: Now = False,
) -> None:
    """Say that identities are one person."""
    from anchorface.identity_index.clustering import correction
    from anchorface.pipelines.erasure.erase import alone_in

    with alone_in(workspace, "merge"):
        decision = correction.merge(workspace, identities, made=_clock(), note=note)
    _tell(workspace, decision, f"the {len(decision.face_ids)} faces of {', '.join(identities)} become one person", now)


@app.command()
@told
def split(
    workspace: Workspace,
    identity: IdentityName,
    faces: Annotated[str, typer.Option(help="Face ids with commas between; the beginnings are enough.")],
    note: Note = "",
    now: Now = False,
) -> None:
    """Say that some faces of an identity are somebody else, all of them one person."""
    from anchorface.identity_index.clustering import correction
    from anchorface.pipelines.erasure.erase import alone_in

    chosen = [face.strip() for face in faces.split(",") if face.strip()]
    with alone_in(workspace, "split"):
        decision = correction.split(workspace, identity, chosen, made=_clock(), note=note)
    _tell(workspace, decision,
          f"{len(decision.face_ids)} faces leave {identity}, {len(decision.others)} stay with it", now)


@app.command()
@told
def reject(workspace: Workspace, faces: FaceIds, note: Note = "", now: Now = False) -> None:
    """Say that faces are of no use: not a face, or a wrong crop."""
    from anchorface.identity_index.clustering import correction
    from anchorface.pipelines.erasure.erase import alone_in

    with alone_in(workspace, "reject"):
        decision = correction.reject(workspace, faces, made=_clock(), note=note)
    _tell(workspace, decision, f"{len(decision.face_ids)} faces leave the index and are listed as dropped", now)


@app.command()
@told
def label(
    workspace: Workspace,
    identity: IdentityName,
    name: Annotated[str, typer.Argument(help="Who it is.")],
    note: Note = "",
    now: Now = False,
) -> None:
    """Say who an identity is; identities with one label become one person."""
    from anchorface.identity_index.clustering import correction
    from anchorface.pipelines.erasure.erase import alone_in

    with alone_in(workspace, "label"):
        decision = correction.label(workspace, identity, name, made=_clock(), note=note)
    _tell(workspace, decision, f"the {len(decision.face_ids)} faces of {identity} are {decision.label}", now)


@app.command()
@told
def decisions(workspace: Workspace) -> None:
    """What people decided, in order; a later decision wins over an earlier one."""
    from anchorface.identity_index.clustering.decisions import read_decisions

    rows = read_decisions(workspace)
    table = Table("number", "kind", "faces", "others", "label", "note", "made")
    for row in rows:
        faces = row.face_ids[0][:10] + "…" + (f" and {len(row.face_ids) - 1} more" if len(row.face_ids) > 1 else "")
        words = (str(row.number), row.kind, faces, str(len(row.others) or ""), row.label or "", row.note, row.made)
        table.add_row(*words)
    Console().print(table if rows else "nothing was decided")


def _clock() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _tell(workspace: str, decision: "Decision", effect: str, now: bool) -> None:
    """What was kept and what comes of it; with `now` it comes of it at once."""
    said = f"decision {decision.number} is kept. When the faces are grouped again: {effect}."
    console.print(said, soft_wrap=True)
    if not now:
        console.print("`--now`, or `anchorface curate` as before, groups again.")
        return
    from anchorface.pipelines.group import regroup
    from anchorface.pipelines.stages.progress import Progress

    found = regroup(workspace, progress=Progress())
    console.print(f"{found['faces']} faces, {found['identities']} identities. Shards and pages are as before: `curate` "
                  "and `audit` renew them.", soft_wrap=True)
