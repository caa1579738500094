"""What a checkpoint costs the training: the pause of a copy, beside the pause of writing in line.

    python -m benchmarks.checkpoints [--rounds 7] [--folder FOLDER]

The tiny recipe's state is saved for real, in turns: copied at the step boundary and written by a thread, and written
before the next step. For the recipe `iconface` (4 B) the state's bytes are counted on fake tensors, and copied and
written here at this machine's rates, in tensors of its sizes up to 1 GiB. Both pauses are of one rank that holds
everything; with n ranks each holds a n-th. The limit is a copy in memory at the rate that torch reaches here.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from anchorface.records.patience import Patience
from anchorface.training.checkpoints.writer import Place, Writer
from anchorface.training.description import fresh
from anchorface.training.engine import Autocast, GuardedAdamW, configuration, start, stop
from anchorface.training.execution import Execution
from anchorface.training.job import Job
from anchorface.training.networks import load_networks
from anchorface.training.plan import count
from anchorface.training.recipes import recipe
from anchorface.training.state import State

KINDS = 4
"""Numbers that a checkpoint holds of each trained one: itself, its average, two moments."""


def tiny_state() -> State:
    """The tiny recipe's, after one engine was made around it."""
    made = recipe("iconface_tiny", precision="fp32")
    networks = load_networks(made, torch.device("cpu"))
    adapters = networks.network.trainable_parameters()
    settings = configuration(Execution(workers=0), pieces=1, world=1, clip=1.0,
                             trained=sum(parameter.numel() for parameter in adapters))
    return State(start(Autocast(networks.network, enabled=False), GuardedAdamW(adapters, lr=1e-3), settings))


def pauses(state: State, folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that a step waits, off the path and in line, in turns."""
    made = recipe("iconface_tiny", precision="fp32")
    job = Job(recipe=made, dataset="", manifest_id="benchmark", run_folder=str(folder))
    place = Place(run_folder=str(folder), attempt="a", rank=0, world=1, retention=made.retention)
    writer = Writer(place, Patience(), print)
    beside, in_line, said = [], [], fresh(job, 1)
    for number in range(1, 2 * rounds + 3):
        begun = time.perf_counter()
        writer.save(state, said, number)
        if number % 2:
            beside.append(time.perf_counter() - begun)
            writer.wait()
        else:
            writer.wait()
            in_line.append(time.perf_counter() - begun)
    assert writer.problem is None
    return beside[1:], in_line[1:]


def rates(folder: Path, size: int) -> tuple[float, float]:
    """Bytes per second of a copy in memory, and of what the thread does: serialise, hash, write, bring to the disk."""
    import hashlib

    from safetensors.torch import save

    from anchorface.records.storage import write_atomic

    source, target = torch.ones(size // 4), torch.empty(size // 4)
    target.copy_(source)
    copies = []
    for _ in range(5):
        begun = time.perf_counter()
        target.copy_(source)
        copies.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    content = save({"all": target})
    hashlib.sha256(content).hexdigest()
    write_atomic(str(folder / "ballast"), content)
    return size / statistics.median(copies), size / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default="")
    asked = parser.parse_args()
    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=asked.folder or None) as made:
        folder = Path(made)
        dist.init_process_group("gloo", init_method=f"file://{made}/meeting", rank=0, world_size=1)
        state = tiny_state()
        size = KINDS * 4 * sum(shape.numel() for shape in state.shapes.values())
        beside, in_line = (statistics.median(each) for each in pauses(state, folder / "run", asked.rounds))
        large = KINDS * 4 * count(recipe("iconface")).adapters
        copied, written = rates(folder, min(large, 1 << 30))
        stop()
    table = Table("recipe", "MiB", "pause, off the path", "pause, in line", "share", "limit: a copy")
    table.add_row("iconface_tiny", f"{size / 2**20:.0f}", f"{beside * 1000:.1f} ms", f"{in_line * 1000:.0f} ms",
                  f"{beside / in_line:.1%}", f"{size / copied * 1000:.1f} ms")
    there, line = large / copied, large / copied + 1.5 * large / written
    table.add_row("iconface, computed", f"{large / 2**20:,.0f}", f"{there:.2f} s", f"{line:.1f} s",
                  f"{there / line:.1%}", f"{there:.2f} s")
    Console(width=110).print(table)
    Console().print(f"a copy {copied / 2**30:.1f} GiB/s; serialised, hashed and brought to the disk "
                    f"{written / 2**30:.2f} GiB/s. Half of it is written twice: whole adapters and averages")


if __name__ == "__main__":
    main()
