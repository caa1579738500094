"""A fault campaign: runs on a cluster of several raylets on this machine, disturbed at random, beside one that is not.

    python -m benchmarks.faults [--faults 30] [--seed 0] [--folder FOLDER] [--elastic]

Faults: a worker killed, a node killed, a node drained, the driver told to stop (SIGTERM) and killed (SIGKILL), MLflow
killed and started, the disk full (a small tmpfs, where this process may mount one), a storage error, a NaN planted in
one rank, a rank that hangs (SIGSTOP). Every run must end at the same step with every position once: its digest chain is
that of the undisturbed run. Runs of two workers must end with the same bits; runs of one to two (elastic), whose lost
node comes back only after they went on without it, say how many worked and how far their averages are. The table says
what each fault cost: samples made again, and seconds until the run was beyond where it stood (an elastic one that lost
a node: without it).
"""

import argparse
import contextlib
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import torch
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anchorface.models.checkpoint import read_description
from anchorface.models.conditions import Conditions
from anchorface.models.weights import load
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import StorageError
from anchorface.records.lines import Lines
from anchorface.training.checkpoints.layout import latest
from anchorface.training.execution import Execution
from anchorface.training.job import PROGRESS
from anchorface.training.objectives.flow import flow_error
from anchorface.training.objectives.prediction import Prediction

ROOT = Path(__file__).resolve().parents[1]
BATCH, STEPS, EVERY = 4, 1200, 30
HANG, DRAIN = 20.0, 15
SLOWEST = 240.0
"""Seconds after which a run that has not recovered counts as lost."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """The velocity's error; NaN, once, when a file stands at `trigger` and this rank is the first to take it."""

    kind: ClassVar[str] = "planted"
    weight: float = 1.0
    trigger: str = ""

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        error = flow_error(prediction.velocity, prediction.noise - prediction.clean)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.trigger)
            error = error + torch.nan
        return {"loss": error, "planted": error.detach()}


@dataclass
class Run:
    """A run that is under way: its folder, what starts it, and its driver."""

    folder: Path
    arguments: Path
    address: str
    driver: "subprocess.Popen[bytes]"
    starts: int = 1

    def clock(self) -> int:
        """Samples that the newest line of progress tells of."""
        try:
            lines = Lines(str(self.folder / PROGRESS)).read()[0]
        except StorageError:
            return 0
        return max((int(line["clock"]) for line in lines if "loss" in line), default=0)

    def began(self) -> list[dict[str, Any]]:
        """Its lines of progress that say from where, and with how many workers, it went on."""
        return [line for line in Lines(str(self.folder / PROGRESS)).read()[0] if "pid" in line]

    def start(self) -> None:
        """Start the same command again."""
        self.driver, self.starts = drive(self.arguments, self.address), self.starts + 1

    def ended(self) -> bool:
        """Whether its driver ended well."""
        return self.driver.poll() == 0

    def beyond(self, clock: int) -> bool:
        """Wait until so many samples have been seen."""
        return self.settled(lambda: self.clock() >= clock or self.ended())

    def settled(self, until: Callable[[], bool]) -> bool:
        """Wait for something; a driver that ended by itself before the run was complete is started again, as a
        scheduler would. False: it took too long."""
        deadline = time.monotonic() + SLOWEST
        while not until():
            if time.monotonic() > deadline:
                return False
            if self.driver.poll() not in (None, 0):
                self.start()
            time.sleep(0.2)
        return True

    def workers(self) -> list[psutil.Process]:
        """The processes of its ranks."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                line = process.info["cmdline"] or [""]
                if line[0].startswith("ray::RayTrainWorker") or "RayTrainWorker" in line[0]:
                    found.append(process)
        return found


class Campaign:
    """The cluster, MLflow and the disk that faults happen to."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        os.environ.update({"PYTHONPATH": str(ROOT), "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
                           "RAY_BACKEND_LOG_LEVEL": "fatal", "NO_ALBUMENTATIONS_UPDATE": "1"})
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(3)]
        self.elastic = False
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.mlflow = self._mlflow()
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(self.disk)],
                                      capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        os.killpg(self.mlflow.pid, signal.SIGKILL)
        self.cluster.shutdown()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    def _mlflow(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
             "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port),
             "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def begin(self, name: str, *, elastic: bool) -> Run:
        """Start a run. An elastic one finds two nodes of one CPU for its two workers, another one a third to spare."""
        self.elastic = elastic
        while len(self.nodes) < 3 - elastic:
            self.nodes.append(self.cluster.add_node(num_cpus=1))
        while len(self.nodes) > 3 - elastic:
            self.cluster.remove_node(self.nodes.pop())
        folder = self.disk / name
        folder.mkdir()
        execution = Execution(workers=2, least_workers=1 if elastic else 0, threads=1, zero_stage=2, hang=HANG,
                              resize_seconds=20.0, failures=8, patience=120.0)
        recipe = small_recipe(str(self.folder / "nan"))
        arguments = self.folder / f"{name}.arguments"
        arguments.write_bytes(pickle.dumps({
            "recipe": recipe, "dataset_uri": str(ROOT / "tests" / "golden" / "dataset"), "run_folder": str(folder),
            "execution": execution, "tracking_uri": f"http://127.0.0.1:{self.port}"}))
        return Run(folder, arguments, self.cluster.address, drive(arguments, self.cluster.address))

    def replaced(self, run: Run) -> float | None:
        """A new node for one that is gone: at once, or when an elastic run went on with the one that is left; then it
        grows again. Returns when an elastic run went on."""
        if not self.elastic:
            self.nodes.append(self.cluster.add_node(num_cpus=1))
            return None
        went_on = time.monotonic() if run.beyond(run.clock() + 1) else None
        run.beyond(run.clock() + EVERY * BATCH)
        self.nodes.append(self.cluster.add_node(num_cpus=1))
        run.settled(lambda: run.began()[-1]["workers"] > 1 or run.ended())
        return went_on

    # Each fault does its harm, and afterwards repairs what a person or a scheduler would repair.

    def worker_killed(self, run: Run) -> None:
        self.random.choice(run.workers()).kill()

    def node_killed(self, run: Run) -> float | None:
        self.cluster.remove_node(self.nodes.pop(self.random.randrange(len(self.nodes))), allow_graceful=False)
        time.sleep(5)
        return self.replaced(run)

    def node_drained(self, run: Run) -> float | None:
        node = self.nodes.pop(self.random.randrange(len(self.nodes)))
        subprocess.run(["ray", "drain-node", "--address", self.cluster.address, "--node-id", node.node_id, "--reason",
                        "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "campaign",
                        "--deadline-remaining-seconds", str(DRAIN)], check=True, capture_output=True,
                       env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
        if not self.elastic:
            self.replaced(run)
        time.sleep(DRAIN)
        self.cluster.remove_node(node, allow_graceful=False)
        return self.replaced(run) if self.elastic else None

    def driver_told_to_stop(self, run: Run) -> None:
        run.driver.send_signal(signal.SIGTERM)
        status = run.driver.wait(SLOWEST)
        assert status == 75, f"the driver ended with {status}"
        run.start()

    def driver_killed(self, run: Run) -> None:
        run.driver.kill()
        run.driver.wait()
        run.start()

    def mlflow_away(self, run: Run) -> None:
        os.killpg(self.mlflow.pid, signal.SIGKILL)
        time.sleep(10)
        self.mlflow = self._mlflow()

    def disk_full(self, run: Run) -> None:
        ballast = self.disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        time.sleep(15)
        ballast.unlink()

    def storage_error(self, run: Run) -> None:
        place, away = run.folder / "checkpoints", run.folder / "away"
        place.rename(away)
        place.write_text("not a folder")
        time.sleep(6)
        place.unlink()
        away.rename(place)

    def nan_planted(self, run: Run) -> None:
        (self.folder / "nan").write_text("")
        run.driver.wait(SLOWEST)
        run.start()

    def rank_hangs(self, run: Run) -> None:
        self.random.choice(run.workers()).suspend()

    def faults(self) -> dict[str, Callable[[Run], float | None]]:
        """By name, those that can be made here."""
        found: dict[str, Callable[[Run], float | None]] = {
            "worker killed": self.worker_killed, "node killed": self.node_killed, "node drained": self.node_drained,
            "driver SIGTERM": self.driver_told_to_stop, "driver SIGKILL": self.driver_killed,
            "MLflow away": self.mlflow_away, "storage error": self.storage_error, "NaN planted": self.nan_planted,
            "rank hangs": self.rank_hangs}
        return found | ({"disk full": self.disk_full} if self.mounted else {})


def small_recipe(trigger: str) -> Any:
    """The smallest IConFace that has every part, at 32 px."""
    from benchmarks.faults import Planted as Known  # by its module's name, which every process knows it by
    from tests.golden.measure import micro_recipe

    return replace(micro_recipe(), name="faults", positions=STEPS * BATCH, losses=(Known(trigger=trigger),),
                   precision="fp32", warmup=8, checkpoint_every=EVERY * BATCH, log_every=EVERY * BATCH // 2,
                   checkpoints_kept=3)


def drive(arguments: Path, address: str) -> "subprocess.Popen[bytes]":
    """A driver's process; what it says is added to a file beside its arguments."""
    with arguments.with_suffix(".log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "benchmarks.faults", "--drive", str(arguments)], cwd=ROOT,
                                env={**os.environ, "RAY_ADDRESS": address}, stdout=log, stderr=log)


def digest_and_bits(folder: Path) -> tuple[str, int, dict[str, Tensor]]:
    newest = latest(str(folder))
    assert newest is not None
    said = read_description(newest)
    return said.digest, said.clock, load(f"{newest}/ema.safetensors")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=10, help="faults in a run")
    parser.add_argument("--only", default="", help="one fault by name")
    parser.add_argument("--elastic", action="store_true", help="one or two workers in every run, not in each third")
    parser.add_argument("--folder", default="")
    parser.add_argument("--drive", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        drive_here(Path(asked.drive))
        return
    console = Console()
    with working_folder(asked.folder) as folder:
        campaign = Campaign(folder, asked.seed)
        try:
            if not campaign.mounted:
                console.print("no tmpfs may be mounted here: the full disk is left out")
            play(campaign, asked, console)
        finally:
            campaign.close()


def play(campaign: Campaign, asked: argparse.Namespace, console: Console) -> None:
    """All runs, and the tables."""
    calm = campaign.begin("calm", elastic=False)
    if not calm.settled(calm.ended):
        raise SystemExit(f"the undisturbed run did not end: {calm.arguments.with_suffix('.log')}")
    expected = digest_and_bits(calm.folder)
    table = Table("run", "workers", "fault", "at sample", "made again", "seconds to recover", title="faults")
    ends = Table("run", "workers", "faults", "starts", "each position once", "same bits", "averages apart",
                 title="runs")
    tables = (table, ends)
    left = [asked.only or name for name in (list(campaign.faults()) * asked.faults)[: asked.faults]]
    campaign.random.shuffle(left)
    number = 0
    try:
        while left:
            number = one_run(campaign, asked, left, number, expected, tables, console)
    finally:
        for shown in tables:
            console.print(shown)


def one_run(campaign: Campaign, asked: argparse.Namespace, left: list[str], number: int,
            expected: tuple[str, int, dict[str, Tensor]], tables: tuple[Table, Table],
            console: Console) -> int:
    """A run with its share of the faults that are left; rows of both tables. Returns the number of the next."""
    faults, (table, ends) = campaign.faults(), tables
    elastic = asked.elastic or number % 3 == 2
    run, done = campaign.begin(f"run{number}", elastic=elastic), 0
    while left and done < asked.each:
        first = run.clock() + EVERY * BATCH * campaign.random.randint(1, 2)
        if first > (STEPS - 3 * EVERY) * BATCH or not run.beyond(first):
            break
        name = left.pop()
        before, starts, begun = run.clock(), run.began(), time.monotonic()
        went_on = faults[name](run)
        back = run.beyond(before + EVERY * BATCH // 2 + 1)
        since = run.began()[len(starts):]
        again = max(0, before - since[0]["clock"]) if since else 0
        workers = " ".join(str(line["workers"]) for line in (starts[-1], *since))
        took = (went_on or time.monotonic()) - begun
        table.add_row(str(number), workers, name, str(before), str(again), f"{took:.0f}" if back else "[red]never[/]")
        console.print(f"run {number}: {name} at {before}: {took:.0f} s", highlight=False)
        done += 1
    whole = run.settled(run.ended)
    found = digest_and_bits(run.folder)
    same = all(torch.equal(tensor, found[2][key]) for key, tensor in expected[2].items())
    apart = max(float((tensor - found[2][key]).abs().max()) for key, tensor in expected[2].items())
    worked = [str(line["workers"]) for line in run.began()]
    good = "yes" if whole and found[:2] == expected[:2] else "[red]NO[/]"
    bits = "yes" if same else "resized" if len(set(worked)) > 1 else "[red]NO[/]"
    ends.add_row(str(number), " ".join(worked), str(done), str(run.starts), good, bits, f"{apart:.1e}")
    return number + 1


def drive_here(arguments: Path) -> None:
    """The command itself: what `anchorface train` does."""
    import typer

    from anchorface.cli.app import told
    from anchorface.training.launch import train

    try:
        told(train)(**pickle.loads(arguments.read_bytes()), report=lambda line: print(line, flush=True))
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


@contextlib.contextmanager
def working_folder(asked: str) -> Iterator[Path]:
    """The folder that was asked for, or one that is deleted afterwards."""
    if asked:
        Path(asked).mkdir(parents=True, exist_ok=True)
        yield Path(asked).resolve()
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        yield Path(made)


if __name__ == "__main__":
    main()
