"""What time, feedback, suffix weights, blending and negatives bring to films, and what they cost, at tiny size.

    python benchmarks/ip_fvr.py --cost [--rounds 5]
    python benchmarks/ip_fvr.py [--folder runs/ip_fvr] [--base 2048] [--time 1024] [--clips 384] [--rows ...] [--print]

`--cost` compares in one run, medians of rounds in turns, one thread, processor time: a training step of one clip of 8
frames with as many single pictures (in one batch, and one after another), and sampling a clip with its frames one by
one. Fresh adapters, two references.

Else the study. Films of synthetic persons, taken at their own rate through the curator, give the clips that are learned
from; judged are films of persons whom no run saw: synthetic heads that turn, speak and age, with exact flow, and the
clean clips of the shared films, all degraded as a whole by a clip profile. `base` is an IConFace of pictures, and
`time` the IP-FVR that goes on from it with `--time` clips and without feedback; every row has seen as many frames:

    iconface    the image system, gone on from `base` with pictures and used frame by frame
    own         IP-FVR gone on from `time`, whose frames have each their own noise (its `time` is `time-own`)
    temporal    the same with the noise of a clip shared among its frames, as the recipe has it
    feedback    + feedback learning, all frames weighed alike
    suffix      + suffix weights
    blending    the same in clips of 12 frames that share 4 and are blended (before: clips of 8 side by side)
    negatives   + away from low quality and from artefacts

A row's run is validated along the way too, on the same clips of held-out persons each time: `hacking.png` shows the
reward by the network in the loss against the reward and the likeness by the judge over the course of feedback learning.
What stands is not made again; `--print` prints it.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.degradation.clip import apply_clip, draw_clip
from anchorface.degradation.film import film_bytes, rate_of, read_film
from anchorface.evaluation.films.evaluate import evaluate_films
from anchorface.faces.detect import Detector
from anchorface.faces.images import encode_jpeg
from anchorface.faces.weights import find
from anchorface.models.flow import shift_schedule
from anchorface.models.ip_fvr.negatives import ARTEFACTS, QUALITY
from anchorface.models.sampler import initial_noise, sample
from anchorface.pipelines.feed.sample import Batch
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.records import rng
from anchorface.records.storage import write_atomic
from anchorface.restoration import Restorer, SamplerSettings
from anchorface.restoration.folder import restore_folder
from anchorface.synthetic import State, identity, render
from anchorface.synthetic.film import write_films
from anchorface.training.clips import by_frame
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.networks import load_networks
from anchorface.training.objective import encode, objective
from anchorface.training.recipes import Recipe, recipe

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "video"
CLEAN = ("lp_d12", "lp_d20", "lp_d3", "lp_s18", "st_1", "st_2")
"""The shared films that are clean."""
SEED, LEARNED, JUDGED, PROFILE = 20_261, 48, 12, "vfhq"
FILM_FRAMES, JUDGED_FRAMES, SIZE = 24, 48, 256
JUDGES = {"real": "mobilefacenet_y1_ms1m_112", "fake": "judge_small"}
FRAMES, STEPS = 8, 12
DETECTOR = "scrfd_2.5g_kps"
FEEDBACK = "losses.feedback."
OWN = {"model.system.shared_noise": 0.0}
FIRST, THEN = ({"losses.identity.weight": 2.0, "learning_rate": rate} for rate in (1e-3, 1e-4))
LEARNT: dict[str, dict[str, Any]] = {
    "time": {**FIRST, f"{FEEDBACK}weight": 0.0},
    "time-own": {**FIRST, f"{FEEDBACK}weight": 0.0, **OWN},
    "own": {**THEN, f"{FEEDBACK}weight": 0.0, **OWN},
    "temporal": {**THEN, f"{FEEDBACK}weight": 0.0},
    "feedback": {**THEN, f"{FEEDBACK}weight": 1.0, f"{FEEDBACK}frame_weights": "uniform"},
    "suffix": {**THEN, f"{FEEDBACK}weight": 1.0},
}
"""Runs that are trained on clips, with what differs in the recipe: the identity loss weighs what it does in the image
system, so that rows differ by time alone. With .1 of feedback, the recipe's, nothing showed at this rate; at the
recipe's, 5e-4, it cost .04 of the judge's likeness within 36 steps."""
PLAIN = SamplerSettings(steps=6, precision="bf16", keep=0.0, trust=1.0)
AWAY = replace(PLAIN, attributes=(("quality", 1.0), ("artefacts", 0.0)),
               negatives=tuple(replace(negative, scale=0.2) for negative in (QUALITY, ARTEFACTS)))
"""At a scale of 1 each, pictures burn: likeness falls by .19 and the warping error is eight times as large."""
USED: dict[str, tuple[str, int, SamplerSettings]] = {
    "iconface": ("iconface", 0, PLAIN), "own": ("own", 0, PLAIN), "temporal": ("temporal", 0, PLAIN),
    "feedback": ("feedback", 0, PLAIN), "suffix": ("suffix", 0, PLAIN), "blending": ("suffix", 4, PLAIN),
    "negatives": ("suffix", 4, AWAY),
}
"""Row -> the run that it uses, frames that its clips share, and how it samples. A clip begins at every eighth frame in
all of them, so that borders of clips are judged at the same places."""
HERE = Execution(workers=0, threads=1)


def clip_batch(made: Recipe) -> Batch:
    """One clip of a synthetic head that turns, with two references, as the feed would give it."""
    size, who = made.model.image_size, identity(900)
    shots = [render(who, State(yaw=3.0 * number), size) for number in range(FRAMES)]
    shown = [render(who, State(yaw=yaw, background=1), size) for yaw in (-25.0, 25.0)]
    target = np.stack([shot.image for shot in shots])
    degraded = apply_clip(target, draw_clip(PROFILE, rng(0, "benchmark"), FRAMES, size))
    width = made.model.system.identity_dimension
    return {
        "position": np.array([0]), "target": target[None], "degraded": degraded[None],
        "landmarks": np.stack([shot.landmarks for shot in shots]).astype(np.float32)[None],
        "target_embedding": rng(0, "embedding").normal(size=(1, FRAMES, width)).astype(np.float32),
        "references": np.stack([shot.image for shot in shown])[None],
        "reference_landmarks": np.stack([shot.landmarks for shot in shown]).astype(np.float32)[None],
        "reference_embeddings": rng(1, "embedding").normal(size=(1, 2, width)).astype(np.float32),
        "digest": np.array(["00" * 32]),
    }


def cost(rounds: int) -> None:
    """Print what a clip costs beside its frames."""
    torch.set_num_threads(1)
    device, film, image = torch.device("cpu"), recipe("ip_fvr_tiny", precision="fp32"), recipe(
        "iconface_tiny", precision="fp32")
    fed_back = replace(film, losses=tuple(replace(part, fraction=1.0) if part.kind == "feedback" else part
                                          for part in film.losses))
    plain = replace(film, losses=tuple(part for part in film.losses if part.kind != "feedback"))
    networks, of_image, clip = load_networks(film, device), load_networks(image, device), clip_batch(film)
    pictures = by_frame(clip) | {"position": np.arange(FRAMES)}
    single = [{name: array[place : place + 1] for name, array in pictures.items()} for place in range(FRAMES)]
    side = film.model.tokens_per_side
    noise, levels = initial_noise(range(FRAMES), (side * side, 128)), shift_schedule(STEPS, side * side)
    with torch.no_grad():
        _, given = encode(film, networks, clip, device)
    alone = [replace(given.rows(slice(0, FRAMES)), frames=1).rows(slice(place, place + 1)) for place in range(FRAMES)]

    def step(made: Recipe, of: Any, *batches: Batch) -> None:
        for batch in batches:
            objective(made, of, of.network, batch, device)[0].mean().backward()

    ways: dict[str, Callable[[], Any]] = {
        "train: clip": lambda: step(plain, networks, clip),
        "train: clip, with feedback": lambda: step(fed_back, networks, clip),
        "train: 8 pictures in a batch, iconface": lambda: step(image, of_image, pictures),
        "train: 8 pictures one by one, iconface": lambda: step(image, of_image, *single),
        "sample: clip": lambda: sample(lambda z, sigma: networks.network(z, sigma, given), noise, levels),
        "sample: 8 frames one by one": lambda: [
            sample(lambda z, sigma, own=own: networks.network(z, sigma, own), noise[place : place + 1], levels)
            for place, own in enumerate(alone)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            begun = time.process_time()
            work()
            if number:  # the first round pays for what is made once
                seconds[name].append(time.process_time() - begun)
    for name, found in seconds.items():
        whole = seconds[f"{name.partition(':')[0]}: clip"]
        ratio = statistics.median(mine / of_clip for mine, of_clip in zip(found, whole, strict=True))
        print(f"{name:42s} {statistics.median(found):7.2f} s of processor time, {ratio:5.2f} x the clip", flush=True)


def once(place: Path, make: Callable[[], Any]) -> Any:
    """What `make` gave when it was first asked, from a JSON file."""
    if not place.exists():
        write_atomic(str(place), json.dumps(make()).encode())
    return json.loads(place.read_text())


def dataset(folder: Path, persons: int) -> str:
    """The version that is learned from: two films and two photographs of each synthetic person."""
    films, out = folder / "films", str(folder / "workspace")
    shutil.rmtree(films, ignore_errors=True)
    write_films(films, persons, FILM_FRAMES, SEED, films_each=2, size=SIZE)
    ingest(str(films), out, frame_seconds=0, concurrency=0)
    find_faces(out, detector=DETECTOR, crop_size=SIZE, concurrency=0)
    print(group(out, labels=True, splits=(0.85, 0.15, 0.0)), flush=True)
    return shards(out, concurrency=0)


def judged(folder: Path, persons: int) -> dict[str, str]:
    """Folders of true and degraded films with references (evaluation.films.folder): `fake` and `real`."""
    fake, real = folder / "fake", folder / "real"
    for place in (fake, real):
        shutil.rmtree(place, ignore_errors=True)
    write_films(fake, persons, JUDGED_FRAMES, SEED, size=SIZE, first_identity=LEARNED)
    for name in CLEAN:
        frames, seconds = read_film(str(CLIPS / f"{name}.mp4"))
        (real / "gt").mkdir(parents=True, exist_ok=True)
        (real / "gt" / f"{name}.mp4").write_bytes(film_bytes(frames[:JUDGED_FRAMES], seconds[:JUDGED_FRAMES]))
        (real / "references" / name).mkdir(parents=True, exist_ok=True)
        for number, place in enumerate(np.linspace(2 * JUDGED_FRAMES, len(frames) - 1, 2).astype(int)):
            (real / "references" / name / f"{number}.jpg").write_bytes(encode_jpeg(frames[place]))
    for place in (fake, real):
        (place / "lq").mkdir(exist_ok=True)
        for number, file in enumerate(sorted((place / "gt").iterdir())):
            frames, seconds = read_film(str(file))
            plan = draw_clip(PROFILE, rng(SEED, place.name, number), len(frames), min(frames.shape[1:3]),
                             rate=rate_of(seconds))
            (place / "lq" / f"{file.stem}.mp4").write_bytes(film_bytes(apply_clip(frames, plan), seconds))
    return {"fake": str(fake), "real": str(real)}


def trained(folder: Path, run: str, version: str, lengths: dict[str, int]) -> str:
    """The checkpoint of a run, trained to its end. lengths: `base` in pictures, `time` and `clips` in clips."""
    before = {"base": "", "iconface": "base", "time": "base", "time-own": "base", "own": "time-own"}.get(run, "time")
    started = trained(folder, before, version, lengths) if before else ""
    if run in LEARNT:
        clips = lengths["time" if run.startswith("time") else "clips"]
        every = max(clips // 6 // 4 * 4, 4)
        made = recipe("ip_fvr_tiny", positions=clips, cooldown=clips * 2 // 3, **LEARNT[run], **{
            "log_every": every, "validation.every": every, "checkpoint_every": every})
    else:
        count = lengths["base"] if run == "base" else (lengths["time"] + lengths["clips"]) * FRAMES
        made = recipe("iconface_tiny", positions=count, cooldown=count * 2 // 3, checkpoint_every=count,
                      **{"validation.every": count})
    return train(made, version, folder / "runs" / run, HERE, start=started, track=False)


def restored(folder: Path, row: str, checkpoint: str, heaps: dict[str, str]) -> dict[str, str]:
    """The films of a row, by heap."""
    _, overlap, settings = USED[row]
    restorer, found = Restorer(checkpoint), {}
    clips = {} if row == "iconface" else {"clip_length": FRAMES + overlap, "overlap": overlap}
    for name, heap in heaps.items():
        found[name] = str(folder / "outputs" / name / row)
        restore_folder(restorer, f"{heap}/lq", found[name], detector=Detector(find(DETECTOR)), faces="largest",
                       references=f"{heap}/references", settings=settings, **clips)
    return found


def hacking(folder: Path) -> None:
    """Reward by the loss's network against likeness by the judge over the course of feedback learning, one plot."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for run in (run for run in ("feedback", "suffix") if (folder / "runs" / run / "progress.jsonl").exists()):
        file = folder / "runs" / run / "progress.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for key, style, who in (("validation/reward", "-", "to the references, network in the loss"),
                                ("validation/reward_by_judge", "--", "to the references, judge"),
                                ("validation/likeness", ":", "to the truth, judge")):
            points = [(line["clock"], line[key]) for line in lines if key in line]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=f"{run}: {who}")
    axes.set(xlabel="clips of feedback learning", ylabel="cosine of restored frames, persons held out")
    if axes.lines:
        axes.legend(fontsize=7)
    figure.savefig(folder / "hacking.png", dpi=150)


def tables(folder: Path) -> None:
    """Everything that was judged so far, as Markdown."""
    for name in JUDGES:
        table = folder / "judged" / name / "table.md"
        if table.exists():
            print(f"\n### {name}, judge {JUDGES[name]}\n\n{table.read_text()}")


def main() -> None:
    """Cost, or the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/ip_fvr"))
    parser.add_argument("--base", type=int, default=2048, help="pictures that the IConFace is trained on first")
    parser.add_argument("--time", type=int, default=1024, help="clips that the IP-FVR learns time from first")
    parser.add_argument("--clips", type=int, default=384, help="clips that every row goes on with")
    parser.add_argument("--persons", type=int, default=LEARNED, help="whose films are learned from")
    parser.add_argument("--judged", type=int, default=JUDGED, help="synthetic persons whose films are judged")
    parser.add_argument("--rows", default=",".join(USED), help="in this order")
    parser.add_argument("--print", action="store_true", help="only print what stands")
    options = parser.parse_args()
    if options.cost:
        cost(options.rounds)
        return
    if not CLIPS.exists():
        print("skipped: needs the shared films beside the checkout")
        return
    folder = options.folder.resolve()
    if not options.print:
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        version = once(folder / "dataset.json", lambda: dataset(folder, options.persons))
        heaps = once(folder / "judged.json", lambda: judged(folder, options.judged))
        outputs: dict[str, dict[str, str]] = {name: {} for name in heaps}
        lengths = {"base": options.base, "time": options.time, "clips": options.clips}
        for row in options.rows.split(","):
            checkpoint = trained(folder, USED[row][0], version, lengths)
            for name, place in restored(folder, row, checkpoint, heaps).items():
                outputs[name][row] = place
            print(f"{row}: trained and restored", flush=True)
            hacking(folder)
        for name, heap in heaps.items():
            evaluate_films(heap, str(folder / "judged" / name), outputs=outputs[name], judge=JUDGES[name], clip=FRAMES)
    tables(folder)


if __name__ == "__main__":
    main()
