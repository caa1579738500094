"""All nodes of a Ray cluster asked at once, each with a time limit: one that is dead or hangs is a finding.

In: a cluster that is joined (pipelines.stages.cluster). Out: answers by node; who did not give one stands in `lost`,
and is not asked again.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anchorface.infra.doctor.findings import first_line
from anchorface.pipelines.stages.progress import Progress
from anchorface.records.addresses import redacted

PINGS = 5
"""Questions of which the quickest answer tells the clock."""


class Nodes:
    """An actor on each node; whether one comes, its first answer tells.

    Args:
        known: name -> what Ray says of the node. kind: the actors' class. progress: is told of each question.
    """

    def __init__(self, known: Mapping[str, Mapping[str, Any]], kind: type, progress: Progress) -> None:
        self.known, self.progress = known, progress
        self.lost: dict[str, str] = {}
        self._actors = {name: on_node(kind, node["NodeID"]) for name, node in known.items()}

    @property
    def living(self) -> list[str]:
        """The nodes that have answered all questions so far."""
        return sorted(self._actors)

    def ask(self, what: str, seconds: float, call: Callable[[Any, str], Any]) -> dict[str, Any]:
        """Ask all living nodes at once.

        Args:
            what: is asked, for whoever waits. seconds: that the answers may take. call: asks the actor of a node.
        """
        refs = {call(self._actors[node], node): node for node in self.living}
        answers: dict[str, Any] = {}
        with self.progress.stage(what, len(refs), "nodes") as shown:
            for ref, answer in answered(refs, seconds):
                if isinstance(answer, Exception):
                    self._lose(refs[ref], reason(answer) or f"no answer in {seconds:.0f} s ({what})")
                else:
                    answers[refs[ref]] = answer
                shown.advance()
        return dict(sorted(answers.items()))

    def clocks(self, seconds: float) -> dict[str, tuple[float, float, float]]:
        """Of each living node: when it was asked, what its clock said, and when the answer was here; the quickest of
        PINGS, one node after the other, so that none waits for another."""
        found = {}
        with self.progress.stage("clocks", len(self.living), "nodes") as shown:
            for node in self.living:
                try:
                    found[node] = min((self._ping(node, seconds) for _ in range(PINGS)), key=lambda of: of[2] - of[0])
                except (RayError, TimeoutError) as error:
                    self._lose(node, reason(error) or f"no answer in {seconds:.0f} s (clock)")
                shown.advance()
        return found

    def _ping(self, node: str, seconds: float) -> tuple[float, float, float]:
        sent = time.time()
        there = ray.get(self._actors[node].clock.remote(), timeout=seconds)
        return sent, there, time.time()

    def _lose(self, node: str, why: str) -> None:
        self.lost[node] = why
        ray.kill(self._actors.pop(node))

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all actors, whatever they are doing."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()


def on_node(kind: type, node_id: str, gpus: int = 0) -> Any:
    """An actor of a class on one node and no other."""
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(num_cpus=0, num_gpus=gpus)(kind).options(scheduling_strategy=there).remote()


def answered(refs: Mapping[Any, str], seconds: float) -> Iterator[tuple[Any, Any]]:
    """Each reference with its answer, as they come; an error is an answer, and TimeoutError that of those that did not
    come in time."""
    deadline, waiting = time.monotonic() + seconds, list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, timeout=max(deadline - time.monotonic(), 0))
        for ref in done:
            try:
                yield ref, ray.get(ref)
            except RayError as error:
                yield ref, error
        if not done:
            yield from ((ref, TimeoutError()) for ref in waiting)
            return


def reason(error: Exception) -> str:
    """Why a node gives no answer, in a line; nothing for one that did not come in time."""
    if isinstance(error, GetTimeoutError | TimeoutError):
        return ""
    # A traceback of the node's, of a question or of the actor's start: its last line says what it was.
    last = str(error).strip().splitlines()[-1:]
    if isinstance(error, RayTaskError) or (last and re.match(r"\w+Error: ", last[0])):
        return redacted(last[0][:300])
    return first_line(error)


def named(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Ray's nodes by names that are theirs alone, in order: the host's, with the address or Ray's id where several
    share that."""
    hosts = Counter(node["NodeManagerHostname"] for node in nodes)
    places = Counter((node["NodeManagerHostname"], node["NodeManagerAddress"]) for node in nodes)

    def name(node: Mapping[str, Any]) -> str:
        host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
        if hosts[host] == 1:
            return str(host)
        return f"{host} ({address if places[host, address] == 1 else node['NodeID'][:8]})"

    return dict(sorted(((name(node), node) for node in nodes), key=lambda pair: pair[0]))
