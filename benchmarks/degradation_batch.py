"""Images per second of `degradation.apply_batch`, per profile, beside the copy limit of the device's memory.

    python benchmarks/degradation_batch.py [--device cuda] [--batch 64] [--size 512] [--profiles NAME ...]

The limit is what reading and writing the batch once would take, measured in the same run: no degradation can be
faster. On an accelerator the clock is the wall's around a finished queue; the host's share (reading plans, uploading
parameters) is in it, and printed on its own as CPU time. On the CPU torch has one thread and the clock is CPU time.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.degradation import Plan, apply_batch, draw, profiles
from anchorface.degradation.batch import where
from anchorface.records import rng
from benchmarks.degradation import scene


def seconds(work: Callable[[], object], device: torch.device, times: int) -> tuple[float, float]:
    """Of one call on average: on the clock that counts, and the host's CPU time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, host = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, host = time.perf_counter() - wall, time.process_time() - host
    return (wall if device.type == "cuda" else host) / times, host / times


def copy_limit(images: torch.Tensor) -> float:
    """Seconds to read and write the batch once, from copies of 256 MB, which no cache holds."""
    count = max(1, (256 << 20) // images.numel())
    source = images.flatten().repeat(count)
    target = torch.empty_like(source)
    target.copy_(source)
    return seconds(lambda: target.copy_(source), images.device, 10)[0] / count


def on_cpu(plans: list[Plan]) -> str:
    """Which operations of the plans leave the device, and in how many plans."""
    names = Counter(name for plan in plans for name, place in where(plan).items() if place == "cpu")
    return ", ".join(f"{name} {count}" for name, count in names.most_common())


def main() -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=default)
    parser.add_argument("--batch", type=int, default=64 if default == "cuda" else 4)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batches", type=int, default=5 if default == "cuda" else 1, help="besides a first one")
    parser.add_argument("--profiles", nargs="*", default=list(profiles()), choices=profiles(), metavar="NAME")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    image = torch.from_numpy(scene(options.size)).to(device)
    images = image.expand(options.batch, -1, -1, -1).contiguous()
    limit = copy_limit(images)
    print(f"{name}; batches of {options.batch} at {options.size} px; torch {torch.__version__}")
    bandwidth = 2 * images.numel() / limit / 1e9
    print(f"copy limit: {options.batch / limit:,.0f} images/s ({bandwidth:,.1f} GB/s read and written)")
    print(f"{'profile':<18}{'images/s':>10}{'of limit':>10}{'host ms/batch':>15}{'peak MB':>9}  steps on the CPU")
    for profile in options.profiles:
        drawn = [[draw(profile, rng(0, "benchmark", batch * options.batch + place), options.size)
                  for place in range(options.batch)] for batch in range(options.batches + 1)]
        apply_batch(images, drawn[0])
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        spent = np.array([seconds(lambda plans=plans: apply_batch(images, plans), device, 1) for plans in drawn[1:]])
        clock, host = spent.mean(0)
        peak = f"{torch.cuda.max_memory_allocated(device) / 1e6:,.0f}" if device.type == "cuda" else "-"
        print(f"{profile:<18}{options.batch / clock:>10.1f}{limit / clock:>10.2%}{host * 1e3:>15.1f}{peak:>9}  "
              f"{on_cpu([plan for plans in drawn[1:] for plan in plans])}", flush=True)


if __name__ == "__main__":
    main()
