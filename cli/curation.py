"""From photographs to a dataset version, and what was dropped on the way."""

import shlex
from typing import Annotated

import typer
from rich.table import Table

from anchorface.cli.app import Workspace, app, console, told
from anchorface.records.addresses import redacted
from anchorface.records.console import Console, shown

DetectorName = Annotated[
    str | None, typer.Option(help="Face detector by name (see doctor), or `given` for landmarks from a sidecar.")
]
CurateEmbedder = Annotated[str, typer.Option(help="Network whose embeddings the index and the anchor hold.")]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Use identity labels that came with the photos.")]

@app.command()
@told
def corpus(
    out: Annotated[str, typer.Argument(help="Folder for the pictures and metadata.jsonl.")],
    identities: Annotated[int, typer.Option(help="How many people.")] = 100,
    photos: Annotated[int, typer.Option(help="Photographs of each.")] = 8,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 320,
    seed: Annotated[int, typer.Option(help="Other seeds, other people.")] = 0,
    group_photos: Annotated[int, typer.Option(help="Photographs with several people.")] = 0,
    frames: Annotated[
        int, typer.Option(help="Film each person instead, so many frames with exact flow, and take --photos beside it.")
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Photograph or film synthetic people: known identity, pose, age; no consent needed."""
    from anchorface.synthetic import write_corpus, write_films

    if frames:
        films = write_films(out, identities=identities, frames=frames, seed=seed, size=size, references=photos,
                            workers=workers)
        console.print(f"{films} films in {out}/gt")
        return
    written = write_corpus(
        out, identities=identities, photos_each=photos, seed=seed, size=size, group_photos=group_photos,
        workers=workers,
    )
    console.print(f"{written} photographs in {out}")


@app.command()
@told
def curate(
    source: Annotated[str, typer.Argument(help="Folder, glob or URI of photographs.")],
    out: Workspace,
    detector: DetectorName = None,
    embedder: CurateEmbedder = "default",
    clusterer: Annotated[
        str | None, typer.Option(help="Network to tell people apart; if not given dlib's, where it is installed "
                                      "(`pip install anchorface[dlib]`), else the index's own.")
    ] = None,
    labels: Labels = True,
    crop_size: Annotated[int, typer.Option(help="Side of the aligned crops in pixels.")] = 512,
    limit: Annotated[
        list[str] | None,
        typer.Option("--filter", help="name=number or name=off, as often as needed: limits below which faces are "
                     "dropped, say largest_yaw=60 (see pipelines.faces.face_filters)."),
    ] = None,
    gpus: Annotated[float, typer.Option(help="GPUs, or a share of one, for each worker that looks at faces.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    layout: Annotated[
        str, typer.Option(help="A known data set: auto, plain, ffhq, celeba-hq or vggface2.")
    ] = "auto",
    frame_seconds: Annotated[
        float, typer.Option(help="Of films, one frame in every so many seconds; 0: every frame, for tracks and clips.")
    ] = 1.0,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download photographs that a table says are on the web (the public one: "
                                      "ANCHORFACE_FETCH_PRIVATE=1 allows your own network).")
    ] = False,
) -> None:
    """Photographs → faces → identities and index → shards: all stages, or what is left of them."""
    from anchorface.faces import weights
    from anchorface.faces.embed import best_clusterer
    from anchorface.pipelines.faces.face_filters import asked_filters
    from anchorface.pipelines.faces.sizes import face_sizes_said, photo_sizes_said
    from anchorface.pipelines.find_faces import FaceSettings, find_faces
    from anchorface.pipelines.group import group
    from anchorface.pipelines.ingest import ingest, not_understood
    from anchorface.pipelines.shards import shards
    from anchorface.pipelines.sources import find_layout
    from anchorface.pipelines.stages.progress import Progress
    from anchorface.records.workspace import at_work

    for name, kind in ((detector, "detector"), (embedder, "embedder"), (clusterer, "embedder")):
        if name not in (None, "default", "given"):
            weights.find(name, kind)  # or it would be missed after every photograph was read
    settings = FaceSettings(
        detector=detector, embedder=embedder, crop_size=crop_size, filters=asked_filters(limit or ())
    )
    progress = Progress()
    known = find_layout(source, layout)
    if known.name != "plain":
        console.print(f"layout: {known.name} ({known.why}), {len(known.splits):,} persons with a published split")
    held = known.splits if labels else None
    with at_work(out, "curate"):
        ingest(source, out, layout=known, frame_seconds=frame_seconds, fetch=fetch, progress=progress)
        for line in (*not_understood(out), *photo_sizes_said(out, settings.filters)):
            console.print(line, soft_wrap=True)
        find_faces(out, settings=settings, num_gpus=gpus, progress=progress)
        for line in face_sizes_said(out):
            console.print(line, highlight=False, soft_wrap=True)
        sorted_by = clusterer or best_clusterer()
        found = group(out, labels=labels, held=held, clusterer=sorted_by, seed=seed, progress=progress)
        numbers = (f"{number:,} {name.replace('_', ' ')}" for name, number in found.items()
                   if isinstance(number, int) and not isinstance(number, bool))
        console.print(f"group: {', '.join(numbers)}", highlight=False, soft_wrap=True)
        _say_version(out, shards(out, progress=progress))


@app.command()
@told
def shards(
    workspace: Workspace,
    licence: Annotated[
        list[str] | None, typer.Option(help="A licence that goes in, by class (CC-BY, own, ...; `commercial` for "
                                            "all that allow it) or letter by letter; others stay out.")
    ] = None,
    consent: Annotated[
        list[str] | None, typer.Option(help="A class of consent that goes in (granted, unknown), or letter by letter.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="A source that goes in.")] = None,
) -> None:
    """Write a curated workspace as a dataset version: all of it, or only what is of some licence, consent or source."""
    from anchorface.pipelines.shards import shards as write
    from anchorface.pipelines.stages.progress import Progress

    only = {column: classes for column, classes in (("licence", licence), ("consent", consent), ("source", source))
            if classes}
    _say_version(workspace, write(workspace, only=only, progress=Progress()))


@app.command()
@told
def dropped(out: Workspace) -> None:
    """What did not go on, and why: counted by cause, then a line for each row (stage, file, row, cause, detail)."""
    from anchorface.pipelines.stages.stage import dropped as read
    from anchorface.records.dropped import causes

    rows = read(out)
    table = Table("stage", "cause", "rows")
    for stage, cause, count in causes(rows):
        table.add_row(stage, cause, f"{count:,}")
    Console().print(table if len(rows) else "nothing was dropped")
    for row in rows.to_pylist():
        said = (row["stage"], row["uri"], str(row["row"]), row["cause"], row["detail"])
        print("  ".join(shown(redacted(word), lines=False) for word in said))


def _say_version(workspace: str, version: str) -> None:
    """A version that was written, whom it leaves out, and what withdrawn consent leaves behind in older ones."""
    from anchorface.pipelines.erasure.withdrawn import withdrawn
    from anchorface.records.manifest import Manifest

    console.print(f"dataset version: {version}", soft_wrap=True)
    for column, counts in Manifest.read(version).extra.get("left_out", {}).items():
        for name, number in counts.items():
            console.print(f"left out: {number:,} faces of {column} {name}", soft_wrap=True)
    found = withdrawn(workspace)
    if found.versions:
        held = ", ".join(f"{name} ({faces:,} faces)" for name, faces in found.versions.items())
        console.print(
            f"consent to {len(found.photo_ids):,} photographs was withdrawn; dataset versions made before hold them: "
            f"{held}. Erase them for good, and name the runs that saw them, with\n  anchorface erase "
            f"{shlex.quote(workspace)} --withdrawn --runs FOLDER --yes", soft_wrap=True)
