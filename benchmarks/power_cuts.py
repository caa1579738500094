"""Power cuts while the line and checkpoints are written: `python benchmarks/power_cuts.py [--cuts 12]`.

A file system of its own (ext4 on a loop device; the journal is committed every 600 s, data is not written before a
rename: `commit=600,noauto_da_alloc`) holds only what was brought to the disk. A process works in it; at random shares
of the processor time that the undisturbed work takes it is stopped and the disk's image copied as it is: what was not
synced is not in the copy. Each copy is mounted, which replays its journal, and must hold no marker, manifest or
description without its data, nothing half-written under a final name, and what a rerun makes to the tables of an
undisturbed run, byte for byte.

`--control` skips the sync of everything but markers, manifests and descriptions: then damage must be found, which shows
that the campaign can see it. Needs root and loop devices; without, it says so and ends with status 77.
"""

import argparse
import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from anchorface.identity_index.lance_store import WRITING

ROOT = Path(__file__).resolve().parents[1]
MARKERS = ("done", "manifest.json", "latest", "checkpoint.json")
SKIPPED = 77
TABLES = ("photos/part-*", "faces/part-*", "identities/part-*", "dropped/*/part-*", "dataset/*/*.*", "dataset/*/*/*")
NOBODY_AT_WORK = "lock.json"
"""Empty where nobody holds it (records.lock)."""
CHECKPOINTS = 150


def line(source: Path, out: Path) -> None:
    """All stages, in this process."""
    from anchorface.pipelines.find_faces import find_faces
    from anchorface.pipelines.group import group
    from anchorface.pipelines.ingest import ingest
    from anchorface.pipelines.shards import shards

    ingest(str(source), str(out), part_rows=6, concurrency=0)
    find_faces(str(out), embedder="adaface_small", crop_size=160, concurrency=0)
    group(str(out), splits=(0.5, 0.25, 0.25), seed=3)
    shards(str(out), shard_bytes=150_000, concurrency=0)


def checkpoints(_source: Path, out: Path) -> None:
    """One checkpoint after the other, with the functions of training."""
    import torch

    from anchorface.models.checkpoint import ADAPTER_FILE, EMA_FILE, read_description, write_adapter, write_description

    said = read_description(next((ROOT / "tests" / "golden" / "run" / "checkpoints").iterdir()))
    for step in range(CHECKPOINTS):
        folder = out / "checkpoints" / f"step-{step:08d}"
        state = {"weight": torch.full((64, 1024), float(step))}
        files = {}
        for name, ema in ((ADAPTER_FILE, False), (EMA_FILE, True)):
            write_adapter(folder, state, ema=ema)
            content = (folder / name).read_bytes()
            files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        write_description(folder, replace(said, extra={**said.extra, "state": {"files": files}}))


WORK: dict[str, Callable[[Path, Path], None]] = {"line": line, "checkpoints": checkpoints}


def without_sync_of_data() -> None:
    """What was forgotten before: only markers are brought to the disk."""
    fsync = os.fsync

    def only_markers(number: int) -> None:
        place = os.readlink(f"/proc/self/fd/{number}")
        if any(part.startswith(MARKERS) for part in Path(place).parts):
            fsync(number)

    os.fsync = only_markers


def command(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """An image's file system while inside."""
    folder.mkdir(exist_ok=True)
    command("mount", "-o", "loop,commit=600,noauto_da_alloc", image, folder)
    try:
        yield folder
    finally:
        command("umount", folder)


@contextmanager
def working(kind: str, source: Path, out: Path, control: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process at its work, which says that it is done and is ended on leaving."""
    words = [sys.executable, __file__, "--work", kind, str(source), str(out)]
    with subprocess.Popen([*words, *(["--control"] if control else [])], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def taken(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time, with its children's: how far the work is, whatever else the machine does."""
    own = psutil.Process(process.pid)
    return sum(sum(each.cpu_times()[:4 if each == own else 2]) for each in (own, *own.children(recursive=True)))


def undisturbed(kind: str, source: Path, out: Path) -> float:
    """Seconds of processor time of the whole work."""
    with working(kind, source, out) as process:
        began = taken(process)
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        return taken(process) - began


def cut(kind: str, source: Path, work: Path, shares: Sequence[float], seconds: float, control: bool) -> list[Path]:
    """A process works in a file system; its images at these shares of the whole work's seconds."""
    image, copies = work / f"{kind}.img", list[Path]()
    with image.open("wb") as file:
        file.truncate(512 * 2**20)
    command("mkfs.ext4", "-q", "-F", image)
    with mounted(image, work / f"{kind}-disk") as disk, working(kind, source, disk / "out", control) as process:
        began = taken(process)
        for moment in sorted(began + share * seconds for share in shares):
            while taken(process) < moment and not select.select([process.stdout], [], [], 0.002)[0]:
                pass
            process.send_signal(signal.SIGSTOP)
            copies.append(work / f"{kind}-{len(copies)}.img")
            command("cp", "--sparse=always", image, copies[-1])
            process.send_signal(signal.SIGCONT)
    image.unlink()
    return copies


def tables(out: Path) -> dict[str, str]:
    """The SHA-256 of every table, shard and manifest."""
    files = (path for name in TABLES for path in out.glob(name) if path.is_file() and path.suffix != ".tmp")
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def damages(kind: str, out: Path) -> list[str]:
    """What is not whole under a final name."""
    from anchorface.pipelines.verify import workspace_checks
    from anchorface.records.checks import carry_out
    from anchorface.training.checkpoints.verify import checkpoint_checks

    if kind == "line":
        checks = workspace_checks(str(out))
    else:
        checks = [check for path in out.glob("checkpoints/*/checkpoint.json") for check in
                  checkpoint_checks(str(path.parent))]
    unfinished = [path.parent for path in out.rglob(WRITING)]  # whose files do not say that they are whole
    empty = [f"{path}: empty" for path in out.rglob("*") if path.is_file() and not path.stat().st_size
             and path.suffix in (".parquet", ".json", ".tar", ".safetensors") and path.name != NOBODY_AT_WORK
             and not any(path.is_relative_to(folder) for folder in unfinished)]
    return empty + [f"{damage.place}: {damage.found}" for damage in carry_out(checks) if damage is not None]


def campaign(kind: str, source: Path, work: Path, cuts: int, control: bool) -> tuple[int, int, int, int]:
    """How many copies were cut, held something, held damage, and did not come to the undisturbed tables."""
    from anchorface.records import rng

    seconds = undisturbed(kind, source, work / f"{kind}-calm")
    shares = rng(int(control), f"power cuts of {kind}", 0).uniform(0.0, 1.0, cuts)
    held = damaged = other = 0
    for copy in cut(kind, source, work, shares, seconds, control):
        with mounted(copy, work / "copy") as disk:
            out = disk / "out"
            for mark in out.rglob(WRITING):
                mark.write_text("the machine's run before the power cut")
            held += any(out.rglob("*"))
            seen = damages(kind, out) if out.exists() else []
            damaged += bool(seen)
            for text in seen[:3]:
                print(f"  {copy.stem}: {text}")
            if kind == "line" and not control:
                line(source, out)
                found, calm = tables(out), tables(work / "line-calm")
                other += found != calm
                for name in sorted({*found, *calm}):
                    if found.get(name) != calm.get(name):
                        print(f"  {copy.stem}: {name} is another after the rerun")
        copy.unlink()
    return cuts, held, damaged, other


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=12)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--work", nargs=3, metavar=("KIND", "SOURCE", "OUT"))
    asked = parser.parse_args()
    if asked.work:
        kind, source, out = asked.work
        import anchorface.models.checkpoint
        import anchorface.pipelines.find_faces
        import anchorface.pipelines.group
        import anchorface.pipelines.shards  # noqa: F401 - what takes long comes before the first cut

        if asked.control:
            without_sync_of_data()
        print("ready", flush=True)
        WORK[kind](Path(source), Path(out))
        print("done", flush=True)
        signal.pause()  # cuts may come late; the parent ends this
        return 0
    work = Path(tempfile.mkdtemp(prefix="power-cuts-"))
    try:
        try:
            probe = work / "probe.img"
            probe.write_bytes(b"")
            os.truncate(probe, 16 * 2**20)
            command("mkfs.ext4", "-q", "-F", probe)
            with mounted(probe, work / "probe"):
                pass
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no loop device can be mounted here ({error}): root is needed, and mkfs.ext4")
            return SKIPPED
        from anchorface.synthetic import write_corpus

        source = work / "source"
        write_corpus(source, identities=5, photos_each=4, seed=11, size=160)
        failed = False
        for kind, cuts in (("line", asked.cuts), ("checkpoints", asked.checkpoints)):
            if not cuts:
                continue
            number, held, damaged, other = campaign(kind, source, work, cuts, asked.control)
            print(f"{kind}: {number} power cuts, {held} disks held something, {damaged} held damage, {other} came to "
                  "other tables when run again", flush=True)
            failed |= bool(other) or bool(damaged) != asked.control
        return int(failed)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
