"""One collective over the nodes, as training does it: NCCL where nodes have GPUs that Ray gives, else gloo.

One process a node, with one GPU each for NCCL, sums a tensor of 64 MiB over all (all_reduce), as often as says
how fast it goes. It takes the network interfaces that a training would take there. The processes are killed at the end,
whatever they are doing.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError

from anchorface.infra.doctor.findings import Finding, grouped
from anchorface.infra.doctor.nodes import answered, on_node, reason
from anchorface.pipelines.stages.cluster import COMING
from anchorface.pipelines.stages.progress import Progress

MIB = 64
TIMES = 3
SECONDS = 60.0
"""For the nodes to find each other, and for each sum (our choice)."""
REMEDY = ("set {variable} on every node to an interface by which they reach each other (`ip address`), where Ray is "
          "started and for the work (submit --env {variable}), and let a firewall pass all TCP ports between them")
VARIABLES = {"nccl": "NCCL_SOCKET_IFNAME", "gloo": "GLOO_SOCKET_IFNAME"}


class Rank:
    """The process of a node; each is asked to store, or to sum, once."""

    def store(self, address: str) -> int:
        """Be the first, whom the others ask for each other. Returns the port."""
        from torch.distributed import TCPStore

        self._store = TCPStore(address, 0, is_master=True, wait_for_workers=False)
        return int(self._store.port)

    def sums(self, rank: int, world: int, address: str, port: int, backend: str) -> float:
        """Sum rank + 1 over all processes, in every place of the tensor. Returns the seconds of the quickest sum.

        Raises:
            RuntimeError: they do not find each other, or the sum is wrong.
        """
        import torch
        from torch import distributed

        limit = timedelta(seconds=SECONDS)
        store = getattr(self, "_store", None) or distributed.TCPStore(address, port, is_master=False, timeout=limit)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
        device = "cuda" if backend == "nccl" else "cpu"
        best, right = float("inf"), world * (world + 1) / 2
        for _ in range(TIMES):
            tensor = torch.full((MIB * 2**18,), float(rank + 1), device=device)
            distributed.barrier()
            begun = time.perf_counter()
            distributed.all_reduce(tensor)
            least = float(tensor.min())  # waits for the GPU
            best = min(best, time.perf_counter() - begun)
            if (least, float(tensor.max())) != (right, right):
                raise RuntimeError(f"the sum is {least:g} to {float(tensor.max()):g}, and should be {right:g}")
        distributed.destroy_process_group()
        return best


def collectives(
    known: Mapping[str, Mapping[str, Any]], interfaces: Mapping[str, Mapping[str, str]], progress: Progress
) -> list[Finding]:
    """NCCL over the nodes with a GPU that is free, and gloo over all if these are not all.

    Args:
        known: name -> what Ray says of the node. interfaces: name -> backend -> the interface that it takes there.
    """
    free, busy = by_gpus(known, available_resources_per_node())
    rows = [Finding(topic="network", subject="nccl", state="note", detail=f"not tried on {', '.join(busy)}: no GPU is "
                    "free", remedy="look again when other work has ended")] if busy else []
    if len(free) > 1:
        rows.append(_collective("nccl", {name: known[name] for name in free}, interfaces, progress))
    if len(known) > 1 and len(free) < len(known):
        rows.append(_collective("gloo", known, interfaces, progress))
    return rows


def by_gpus(known: Mapping[str, Mapping[str, Any]], left: Mapping[str, Mapping[str, float]]
            ) -> tuple[list[str], list[str]]:
    """The nodes with a GPU that is free, and those whose GPUs are all with other work.

    Args:
        left: Ray's id of a node -> what of its resources nobody has.
    """
    with_gpus = [name for name, node in known.items() if node["Resources"].get("GPU", 0) >= 1]
    free = [name for name in with_gpus if left.get(known[name]["NodeID"], {}).get("GPU", 0) >= 1]
    return free, [name for name in with_gpus if name not in free]


def _collective(backend: str, known: Mapping[str, Mapping[str, Any]], interfaces: Mapping[str, Mapping[str, str]],
                progress: Progress) -> Finding:
    names, world = list(known), len(known)
    first = str(known[names[0]]["NodeManagerAddress"])
    with progress.stage(backend, world, "nodes") as shown, _ranks(known, gpus=backend == "nccl") as ranks:
        ready = {rank.__ray_ready__.remote(): name for name, rank in ranks.items()}
        absent = {ready[ref]: answer for ref, answer in answered(ready, COMING) if isinstance(answer, Exception)}
        if absent:
            return _failed(backend, absent, interfaces)
        try:
            port = ray.get(ranks[names[0]].store.remote(first), timeout=SECONDS)
        except (RayError, TimeoutError) as error:
            return _failed(backend, {names[0]: error}, interfaces)
        refs = {ranks[name].sums.remote(number, world, first, port, backend): name
                for number, name in enumerate(names)}
        seconds, failures = 0.0, dict[str, Exception]()
        for ref, answer in answered(refs, (TIMES + 2) * SECONDS):
            shown.advance()
            if isinstance(answer, Exception):
                failures[refs[ref]] = answer
                break  # the others wait for this one
            seconds = max(seconds, answer)
        if failures:
            return _failed(backend, failures, interfaces)
    sent = 2 * (world - 1) / world * MIB / 1024
    return Finding(
        topic="network", subject=backend, state="ok",
        detail=f"all_reduce of {MIB} MiB over {world} nodes is right and takes {seconds:.3g} s: {sent / seconds:.3g} "
               f"GiB/s of bus bandwidth; {_taken(backend, names, interfaces)}")


@contextlib.contextmanager
def _ranks(known: Mapping[str, Mapping[str, Any]], *, gpus: bool) -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {}
    try:
        for name, node in known.items():
            made[name] = on_node(Rank, node["NodeID"], gpus=int(gpus))
        yield made
    finally:
        for each in made.values():
            ray.kill(each)


def _failed(backend: str, failures: Mapping[str, Exception], interfaces: Mapping[str, Mapping[str, str]]) -> Finding:
    name, error = next(iter(failures.items()))
    return Finding(
        topic="network", subject=backend, state="fault",
        detail=f"all_reduce fails, first on {name}: {reason(error) or 'no end in time'}; "
               f"{_taken(backend, list(interfaces), interfaces)}", remedy=REMEDY.format(variable=VARIABLES[backend]))


def _taken(backend: str, names: list[str], interfaces: Mapping[str, Mapping[str, str]]) -> str:
    """The interfaces, those that are alike together."""
    said = grouped({name: interfaces[name][backend] for name in names if name in interfaces})
    if len(said) == 1:
        return f"interface {next(iter(said))}"
    return "interfaces: " + "; ".join(f"{names}: {text}" for text, names in said.items())
