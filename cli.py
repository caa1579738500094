"""The one command `anchorface`: a verb per line of work, a few lines each.

Heavy imports stand inside the verbs, so that `anchorface --help` answers at once.
"""

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from records import AnchorfaceError, ConfigurationError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="From a heap of photographs to a trained, judged, reference-aware face restorer.\n\n"
    "Start with [bold]anchorface demo[/]. On your own photographs: [bold]curate[/], [bold]train[/], "
    "[bold]evaluate[/], [bold]restore[/]; every verb can be stopped and run again: it does what is left.",
)
console = Console(stderr=True)

Workspace = Annotated[str, typer.Argument(help="Folder or URI that holds the curated data.")]
DetectorName = Annotated[
    str | None, typer.Option(help="Face detector by name (see doctor), or `given` for landmarks from a sidecar.")
]
CurateEmbedder = Annotated[str, typer.Option(help="Network whose embeddings the index and the anchor hold.")]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Use identity labels that came with the photos.")]


def told(verb: Callable[..., Any]) -> Callable[..., Any]:
    """An error raised on purpose is told in one paragraph, without a traceback; the exit status is 2."""

    @wraps(verb)
    def wrapped(*args: Any, **values: Any) -> Any:
        try:
            return verb(*args, **values)
        except AnchorfaceError as error:
            console.print(f"[red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None

    return wrapped


@app.command()
@told
def demo(
    out: Annotated[str, typer.Option(help="Folder for everything that the demo makes.")] = "runs/demo",
    photos: Annotated[str | None, typer.Option(help="Your own photographs; synthetic people if not given.")] = None,
    samples: Annotated[int | None, typer.Option(help="Training samples; fewer is faster and worse.")] = None,
    identities: Annotated[int | None, typer.Option(help="Synthetic people.")] = None,
) -> None:
    """The whole line: photographs in, a trained and judged restorer and a report page out."""
    from demo import run

    run(out, photos=photos, samples=samples, identities=identities)


@app.command()
@told
def doctor() -> None:
    """What this machine has and what is missing: hardware, engines, weights and their licences."""
    from infra import show

    if not show():
        raise typer.Exit(1)


@app.command()
@told
def corpus(
    out: Annotated[str, typer.Argument(help="Folder for the pictures and metadata.jsonl.")],
    identities: Annotated[int, typer.Option(help="How many people.")] = 100,
    photos: Annotated[int, typer.Option(help="Photographs of each.")] = 8,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 320,
    seed: Annotated[int, typer.Option(help="Other seeds, other people.")] = 0,
    group_photos: Annotated[int, typer.Option(help="Photographs with several people.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Photograph synthetic people: known identity, pose, age; no consent needed."""
    from synthetic import write_corpus

    written = write_corpus(
        Path(out), identities=identities, photos_each=photos, seed=seed, size=size, group_photos=group_photos,
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
        str | None, typer.Option(help="Another network to tell people apart; the index's own if not given.")
    ] = None,
    labels: Labels = True,
    crop_size: Annotated[int, typer.Option(help="Side of the aligned crops in pixels.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
) -> None:
    """Photographs → faces → identities and index → shards: all stages, or what is left of them."""
    from pipelines.find_faces import find_faces
    from pipelines.group import group
    from pipelines.ingest import ingest
    from pipelines.progress import Progress
    from pipelines.shards import shards

    progress = Progress()
    ingest(source, out, progress=progress)
    find_faces(out, detector=detector, embedder=embedder, crop_size=crop_size, progress=progress)
    console.print(group(out, labels=labels, clusterer=clusterer, seed=seed, progress=progress))
    console.print(f"dataset version: {shards(out, progress=progress)}")


@app.command()
@told
def dropped(out: Workspace) -> None:
    """What did not go on, and why."""
    from pipelines.stage import dropped as read

    rows = read(out).to_pylist()
    table = Table("stage", "file", "row", "cause", "detail")
    for row in rows:
        table.add_row(row["stage"], row["uri"], str(row["row"]), row["cause"], row["detail"])
    Console().print(table if rows else "nothing was dropped")


@app.command()
@told
def recipes() -> None:
    """The training recipes, and what each sets."""
    from training.recipes import RECIPES, flat

    for function in RECIPES:
        table = Table("key", "value", title=f"{function.__name__}: {(function.__doc__ or '').splitlines()[0]}")
        for key, value in flat(function().to_dict()).items():
            table.add_row(key, str(value))
        Console().print(table)


@app.command()
@told
def train(
    dataset: Annotated[str, typer.Argument(help="A dataset version (what `curate` wrote).")],
    run: Annotated[str, typer.Argument(help="Folder for checkpoints; running it again resumes.")],
    recipe: Annotated[str, typer.Option(help="Recipe by name: see `anchorface recipes`.")] = "iconface_tiny",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as often as needed, over the recipe.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0 trains in this process.")] = 2,
    use_gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each worker.")] = False,
    tracking: Annotated[str, typer.Option(help="MLflow tracking URI; a SQLite file beside RUN if not given.")] = "",
) -> None:
    """Train with DeepSpeed ZeRO on Ray Train, tracked in MLflow."""
    from pipelines.cluster import connect
    from training.launch import train as launch
    from training.recipes import recipe as make

    wrong = [text for text in setting or () if "=" not in text]
    if wrong:
        raise ConfigurationError(f"--set {wrong[0]}: write key=value")
    made = make(recipe, **dict(text.split("=", 1) for text in setting or ()))
    if workers:
        connect()
    newest = launch(
        made, dataset, run, workers=workers, use_gpu=use_gpu, tracking_uri=tracking, report=console.print
    )
    console.print(f"checkpoint: {newest}")


@app.command()
@told
def restore(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.")],
    photos: Annotated[str, typer.Argument(help="Folder of photographs.")],
    out: Annotated[str, typer.Argument(help="Folder for the restored photographs.")],
    references: Annotated[
        str | None, typer.Option(help="Folder of good photographs; references/NAME/* go to the photograph NAME.")
    ] = None,
    detector: Annotated[str, typer.Option(help="Face detector by name: see `anchorface doctor`.")] = "scrfd_2.5g_kps",
    faces: Annotated[str, typer.Option(help="`all`, or `largest` for the largest face alone.")] = "all",
    steps: Annotated[int, typer.Option(help="Euler steps.")] = 12,
    guidance: Annotated[float, typer.Option(help="Guidance; 1 is none.")] = 1.0,
    fidelity: Annotated[float, typer.Option(help="0: a sample, sharp; 1: the mean estimate, cautious.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed; a photograph's name and this decide its noise.")] = 42,
) -> None:
    """Restore the faces of photographs, with zero or more references."""
    from faces.detect import Detector
    from faces.weights import find
    from restoration import Restorer, SamplerSettings, restore_folder

    counts = restore_folder(
        Restorer(checkpoint, device="auto"), photos, out, detector=Detector(find(detector)), references=references,
        faces=faces, seed=seed, settings=SamplerSettings(steps=steps, guidance=guidance, fidelity=fidelity),
        progress=console.print,
    )
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()) + f" → {out}")


@app.command()
@told
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.")],
    dataset: Annotated[str, typer.Argument(help="A dataset version.")],
    out: Annotated[str, typer.Argument(help="Folder for rows, tables and the page.")],
    judge: Annotated[str, typer.Option(help="Judge network: neither in the anchor nor in the loss.")] = "judge_small",
    profile: Annotated[str, typer.Option(help="Degradation profile.")] = "refldm-severe",
    count: Annotated[int, typer.Option(help="Pictures.")] = 100,
    split: Annotated[str, typer.Option(help="Split.")] = "test",
    history: Annotated[str | None, typer.Option(help="The run's progress.jsonl, for its curves.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of targets, references, plans and noise.")] = 0,
) -> None:
    """Judge a checkpoint on held-out people: table with intervals, and a page."""
    from evaluation import evaluate as judge_it
    from evaluation import write_page

    judge_it(
        checkpoint, dataset, out, judge=judge, profile=profile, count=count, split=split, seed=seed, device="auto",
        progress=console.print,
    )
    console.print(f"page: {write_page(out, dataset, f'{out}/report.html', history=history)}")


@app.command()
@told
def degrade(
    sources: Annotated[list[str] | None, typer.Argument(help="Pictures, films, or folders of them.")] = None,
    out: Annotated[str, typer.Option(help="Folder for the results; running it again does what is left.")] = "degraded",
    profile: Annotated[str, typer.Option(help="Degradation profile for pictures: see the --page.")] = "gfpgan",
    clip_profile: Annotated[str, typer.Option(help="Degradation profile for films.")] = "video_call_clip",
    seed: Annotated[int, typer.Option(help="Other seeds, other damage.")] = 0,
    count: Annotated[int, typer.Option(help="Versions of each file.")] = 1,
    size: Annotated[int, typer.Option(help="Cut to the middle square and resize to so many px first; 0: do not.")] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option(help="range=numbers instead of the profile's own, say jpeg.quality=[30,60].")
    ] = None,
    plans_in: Annotated[str, typer.Option(help="A plans.jsonl to carry out instead of drawing plans.")] = "",
    plans_out: Annotated[str, typer.Option(help="Where the plans go; OUT/plans.jsonl if not given.")] = "",
    page: Annotated[str, typer.Option(help="Write a page of every profile over one face, and do no more.")] = "",
) -> None:
    """Make good pictures and films worse: results, the plans that made them, and a contact sheet."""
    from degradation.files import Settings, degrade_files
    from degradation.page import write_page
    from degradation.plan_lines import digest_of, read_plans
    from faces.images import read_photo
    from synthetic import State, identity, render

    if page:
        face = render(identity(seed), State(yaw=12, smile=0.4, background=seed), 512).image
        console.print(f"page: {write_page(page, face, seed=seed)}")
        return
    if not sources:
        raise ConfigurationError("degrade: name the pictures, films or folders, or a --page")
    given = read_plans(plans_in) if plans_in else None
    settings = Settings(
        profile=profile, clip_profile=clip_profile, seed=seed, size=size, overrides=_ranges(overrides or ()),
        plans=digest_of(given) if given is not None else "",
    )
    counts = degrade_files(
        sources, out, read=lambda uri: read_photo(uri)[0], settings=settings, count=count, plans=given,
        plans_out=plans_out, progress=console.print,
    )
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()) + f" → {out}")


def _ranges(words: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """`range=numbers`, the numbers as in JSON.

    Raises:
        ConfigurationError: one that is not.
    """
    found = {}
    for text in words:
        key, _, numbers = text.partition("=")
        try:
            found[key] = json.loads(numbers)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"--overrides {text}: write range=numbers, say jpeg.quality=[30,60]") from error
    return tuple(sorted(found.items(), key=lambda pair: pair[0]))


if __name__ == "__main__":
    app()
