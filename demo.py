"""`anchorface demo`: the whole line on this machine, photographs in, a trained and judged restorer out.

In: nothing (synthetic people are photographed) or a folder of photographs. Out, under one folder:

    photographs/     the synthetic corpus (only without a folder of your own)
    workspace/       Photo and Face rows, dropped rows, the identity index on Lance, shards and Manifest
    run/             checkpoints, the MLflow store
    evaluation/      protocol, rows, tables
    restored/        a few held-out pictures, restored with and without references
    report.html      the page

Every step is its room's verb, so a demo that was stopped goes on where it stopped.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from anchorface.evaluation import evaluate, write_page, write_pictures
from anchorface.evaluation.album import restore_worst
from anchorface.faces import weights
from anchorface.faces.detect import default_detector
from anchorface.faces.embed import best_clusterer
from anchorface.infra import desktop
from anchorface.models.precision import cpu_computes_bfloat16
from anchorface.pipelines.faces.face_filters import FaceFilters
from anchorface.pipelines.faces.sizes import face_sizes_said, photo_sizes_said
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.cluster import connect
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import dropped
from anchorface.records import ConfigurationError, DataError, storage
from anchorface.records.console import Console
from anchorface.records.dataset import DatasetVersion
from anchorface.restoration import Restorer
from anchorface.synthetic import write_corpus
from anchorface.training.launch import train
from anchorface.training.recipes import recipe

# Neither this seed nor any identity drawn from it was used to train a carried network (see weights/*.md).
CORPUS_SEED = 20_260
PROFILE = "refldm-severe"
ENOUGH, SPREAD = 20, 0.3
"""People who are judged, from which on nothing is said of their number (our choice); half a 95 % interval of likeness
for one of them: .023 for the 166 synthetic people of the demo."""

SHARPER = ("If there are fewer people, the carried network took one person's photographs for several people's: "
           "install the extra `dlib`, whose network tells people apart better (docs/curator.md)")


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo does on synthetic people and on photographs.

    identities, photos_each, photo_size: the synthetic corpus. samples: training samples (None: the recipe's).
    count: pictures judged. splits: train, val, test shares of the identities. judge: the judge network's name;
    clusterer: the network that decides who is who among unsorted photographs.
    """

    identities: int = 320
    photos_each: int = 6
    photo_size: int = 320
    crop_size: int = 256
    samples: int | None = None
    count: int = 192
    splits: tuple[float, float, float] = (0.45, 0.03, 0.52)
    judge: str = "judge_small"
    clusterer: str | None = None
    detector: str | None = None


def settings_for(photos: str | None, samples: int | None, identities: int | None) -> DemoSettings:
    """The demo's settings; on photographs it takes the best networks that this machine has.

    Raises:
        WeightsError: photographs without landmarks need a detector, and none is here.
        ConfigurationError: fewer than ten synthetic people.
    """
    if identities is not None and identities < 10:
        raise ConfigurationError(f"--identities {identities}: at least ten, or no split holds anybody")
    if photos is None:
        default = DemoSettings()
        return DemoSettings(samples=samples, identities=identities or default.identities)
    judged = weights.present("mobilefacenet_y1_ms1m_112")
    return DemoSettings(
        samples=samples, crop_size=512, splits=(0.55, 0.05, 0.4),
        judge="mobilefacenet_y1_ms1m_112" if judged else "judge_small",
        clusterer=best_clusterer() or ("mobilefacenet_y1_ms1m_112" if judged else None), detector=default_detector(),
    )


def run(
    out: str, *, photos: str | None = None, samples: int | None = None, identities: int | None = None,
    show: bool = True, console: Console | None = None,
) -> str:
    """Run the demo, or what is left of it.

    Args:
        out: folder for everything. photos: your own photographs. samples: training samples.
        identities: synthetic people. show: open the page, where somebody sits at this machine.

    Returns:
        The report page's path.

    Raises:
        AnchorfaceError: what a room raised.
    """
    say = (console or Console(stderr=True)).print
    chosen = settings_for(photos, samples, identities)
    start = time.monotonic()

    def step(text: str) -> None:
        say(Text.assemble((f"{time.monotonic() - start:5.0f} s", "bold"), f"  {text}"))

    storage.require_writable(storage.join(out, "workspace"))
    source = photos or _photograph(out, chosen, step)
    workspace = f"{out}/workspace"
    step(f"curating {source}: faces, identities, index, shards")
    connect()
    progress = Progress()
    ingest(source, workspace, progress=progress)
    for line in photo_sizes_said(workspace, FaceFilters()):
        say(line)
    find_faces(workspace, detector=chosen.detector, crop_size=chosen.crop_size, progress=progress)
    for line in face_sizes_said(workspace):
        say(line)
    found = group(
        workspace, labels=photos is None, clusterer=chosen.clusterer, splits=chosen.splits, progress=progress
    )
    say(said(found))
    for line in enough(found, chosen.clusterer):
        say(line)
    dataset = shards(workspace, progress=progress)

    overrides: dict[str, Any] = {} if chosen.samples is None else {"positions": chosen.samples}
    if not cpu_computes_bfloat16():
        say("this CPU has no instructions for bfloat16: the demo trains in float32")
        overrides["precision"] = "fp32"
    tracked = storage.is_local(out)  # MLflow's SQLite file cannot stand in a bucket
    step(f"training the adapters on the frozen base: Ray Train, DeepSpeed ZeRO-2{', MLflow' if tracked else ''}")
    checkpoint = train(recipe("iconface_tiny", **overrides), dataset, f"{out}/run", track=tracked, report=say)

    step(f"judging on held-out people ({PROFILE}, judge {chosen.judge})")
    folder = f"{out}/evaluation"
    evaluate(checkpoint, dataset, folder, judge=chosen.judge, profile=PROFILE, count=chosen.count, progress=say)
    write_pictures(folder, dataset, f"{out}/restored", count=8)
    album = restore_worst(Restorer(checkpoint), DatasetVersion.open(dataset)) if photos else []
    page = write_page(
        folder, dataset, f"{out}/report.html", history=f"{out}/run/progress.jsonl", dropped=dropped(workspace),
        title="demo on photographs" if photos else "demo on synthetic people", album=album,
    )
    step("done")
    place = Path(storage.filesystem(page)[1]).as_uri() if tracked else page
    opened = " (open in your browser)" if show and tracked and desktop.show(place) else ""
    say(f"  report       {place}{opened}\n  pictures     {out}/restored\n  checkpoint   {checkpoint}\n"
        f"  dataset      {dataset}"
        + f"\n  MLflow       {_beside('mlflow')} ui --backend-store-uri sqlite:///{out}/mlflow.db" * tracked,
        highlight=False, soft_wrap=True)
    return page


def _beside(command: str) -> str:
    """How to call a command of this environment from this folder."""
    place, here = Path(sys.executable).with_name(command), Path.cwd()
    return str(place.relative_to(here) if place.is_relative_to(here) else place)


def said(found: Mapping[str, Any]) -> str:
    """What `group` found, in a sentence."""
    text = f"{found['faces']} faces of {found['identities']} identities"
    if "precision" in found:
        text += (f"; against the labels, which were not used: pairwise precision {found['precision']:.3f}, "
                 f"recall {found['recall']:.3f}")
    return text


def enough(found: Mapping[str, Any], clusterer: str | None) -> list[str]:
    """What more photographs would bring, where there are few.

    Args:
        found: by `group`. clusterer: that it was asked to take.

    Raises:
        DataError: nobody is left to learn from, or to be judged.
    """
    people, judged = found["identities"], found["test_identities"]
    several = people - found["single_faces"]
    if not judged or not found["train_identities"] or several < 2:
        raise DataError(
            f"faces: {found['faces']}, people: {people}, of whom {several} with several photographs. One person is "
            "learned from and another one judged, so two people with two photographs each are the least, three each "
            "where references are to help. Without more, restore with another run's checkpoint: anchorface restore "
            "CHECKPOINT PHOTOS OUT --references BEST." + (f" {SHARPER}" if clusterer is None and people > 1 else ""))
    lines = []
    if judged < ENOUGH:
        lines.append(
            f"{judged} {'person is' if judged == 1 else 'people are'} judged: enough to look at, too few to measure, "
            f"as likenesses are known to about {SPREAD / judged ** 0.5:.2f} up or down; {ENOUGH} people would bring "
            f"{SPREAD / ENOUGH ** 0.5:.2f}")
    if clusterer is None and found["single_faces"] * 2 > people:
        lines.append(SHARPER)
    return lines


def _photograph(out: str, chosen: DemoSettings, step: Callable[[str], None]) -> str:
    folder = storage.join(out, "photographs")
    done = storage.join(folder, f"done-{chosen.identities}-{chosen.photos_each}-{chosen.photo_size}")
    if not storage.exists(done):
        step(f"photographing {chosen.identities} synthetic people, {chosen.photos_each} times each")
        write_corpus(
            folder, identities=chosen.identities, photos_each=chosen.photos_each, seed=CORPUS_SEED,
            size=chosen.photo_size, group_photos=8, workers=2,
        )
        storage.write_atomic(done, b"")
    return folder
