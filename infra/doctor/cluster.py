"""A Ray cluster as the doctor finds it, from where this runs and from every node.

In: the cluster that RAY_ADDRESS names, places that all nodes must share, MLflow's server. Out: rows, by topic and by
node. Nothing stays: processes are killed, files and runs deleted.
"""

import os
from collections.abc import Sequence

import ray

from anchorface.infra.doctor import comparison, places, reach, tracking
from anchorface.infra.doctor.collective import collectives
from anchorface.infra.doctor.findings import Finding
from anchorface.infra.doctor.node import Node, State, state
from anchorface.infra.doctor.nodes import Nodes, named
from anchorface.pipelines.stages import cluster
from anchorface.pipelines.stages.progress import Progress
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.state import parsed

ANSWER = 30.0
"""Seconds for a question that costs nothing (our choice)."""
REMEDY = "its Ray is dead, hangs, or cannot start a process: look into its log, and start Ray there again"
IMPORT = "install anchorface and its packages there, the same state as here, for the Python that starts Ray"


def examine(folders: Sequence[str] = (), server: str = "", progress: Progress | None = None) -> tuple[Finding, ...]:
    """Look at the cluster.

    Args:
        folders: folders or buckets that all nodes must see and may write. server: MLflow's address; empty for none.

    Raises:
        ConfigurationError: no cluster is named, or it cannot be joined.
    """
    if not os.environ.get("RAY_ADDRESS"):
        raise ConfigurationError(
            "--cluster: no cluster is named. On one of its nodes set RAY_ADDRESS=HEAD:PORT (and the token, where it "
            "wants one); or let a launcher look from inside: anchorface submit --wait --on slurm --nodes 2 doctor "
            "--cluster, likewise --on ray and --on kubernetes")
    cluster.join()
    try:
        return (*_examine(folders, server, progress or Progress()),)
    finally:
        ray.shutdown()


def _examine(folders: Sequence[str], server: str, progress: Progress) -> list[Finding]:
    came, wanted = cluster.await_nodes()
    listed = ray.nodes()
    rows = comparison.departed(listed)
    with Nodes(named([node for node in listed if node["Alive"]]), Node, progress) as nodes:
        states, told = _states(nodes)
        rows += told
        measured = {name: comparison.offset(*times) for name, times in nodes.clocks(ANSWER).items()}
        rows += [*comparison.versions(states, state()), *comparison.clocks(measured), *comparison.ports(states)]
        for folder in folders:
            rows += places.shared(folder, nodes)
        rows += tracking.shared(server, nodes) if server else []
        rows += reach.pairs(nodes)
        living = {name: nodes.known[name] for name in nodes.living}
        rows += collectives(living, {name: each.interfaces for name, each in states.items()}, progress)
        rows += [_lost(name, why) for name, why in sorted(nodes.lost.items())]
    topics = list(dict.fromkeys(["nodes", *(row.topic for row in rows)]))
    rows.sort(key=lambda row: (topics.index(row.topic), row.subject if row.topic == "nodes" else ""))
    return [comparison.complete(came, wanted), *rows]


def _states(nodes: Nodes) -> tuple[dict[str, State], list[Finding]]:
    """What each node says of itself, and rows of it; one that speaks of itself in other words has other code."""
    states, rows = dict[str, State](), list[Finding]()
    for name, text in nodes.ask("nodes", cluster.COMING, lambda actor, _: actor.state.remote()).items():
        try:
            states[name] = parsed(text, State, name)
            rows += comparison.hardware(name, states[name], nodes.known[name]["Resources"])
        except AnchorfaceError as error:
            rows.append(Finding(topic="nodes", subject=name, state="fault", detail=f"has other code ({error})",
                                remedy=IMPORT))
    return states, rows


def _lost(name: str, why: str) -> Finding:
    remedy = IMPORT if why.startswith(("ModuleNotFoundError", "ImportError")) else REMEDY
    return Finding(topic="nodes", subject=name, state="fault", detail=why, remedy=remedy)
