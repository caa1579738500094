"""What the nodes of a cluster say of themselves, compared: with each other, with where the doctor runs, and with Ray.

Pure functions from answers to rows.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anchorface.infra.doctor.findings import LEAST_FREE, Finding, grouped
from anchorface.infra.doctor.node import State
from anchorface.infra.doctor.ports import open_ports

NOTED, WRONG = 1.0, 60.0
"""Seconds by which a clock may be off (our choice). From one on, lines of several nodes' logs and MLflow's times of one
run are no longer in order. A minute is more than any time service lets be, so none runs there; from five on Slurm's
munge and Kerberos, from fifteen on buckets refuse what is signed."""
SHOWN = 6
UNEXPECTED = 2
"""Ray's reason of a node's end that nobody asked for (gcs.proto, NodeDeathInfo.Reason)."""


def hardware(name: str, state: State, resources: Mapping[str, float]) -> list[Finding]:
    """What a node has, and what of it does not fit.

    Args:
        resources: as Ray was told of them: CPU, GPU, accelerator_type:NAME.
    """
    told = int(resources.get("GPU", 0))
    kinds = ", ".join(sorted(key.partition(":")[2] for key in resources if key.startswith("accelerator_type:")))
    detail = (f"{state.cpus} CPUs (Ray: {resources.get('CPU', 0):g}), {state.gpus} GPUs (Ray: {told}"
              f"{f', {kinds}' if kinds else ''}), {state.memory:.0f} GiB memory, {state.free:.0f} GiB free in "
              f"{state.scratch}, Python {state.python}")
    rows = [Finding(topic="nodes", subject=name, state="ok", detail=detail)]
    if state.gpus < told:
        rows.append(Finding(topic="nodes", subject=name, state="fault", detail=f"Ray was told of {told} GPUs, and "
                            f"torch sees {state.gpus}", remedy="install the driver and a torch for it (CUDA), or start "
                            f"Ray there with --num-gpus={state.gpus}"))
    elif state.gpus > told:
        rows.append(Finding(topic="nodes", subject=name, state="note", detail=f"{state.gpus - told} of its GPUs are "
                            "not Ray's", remedy=f"start Ray there with --num-gpus={state.gpus}, unless others use "
                            "them"))
    if state.free < LEAST_FREE:
        rows.append(Finding(topic="nodes", subject=name, state="note", detail=f"little space in {state.scratch}",
                            remedy="free some, or set TMPDIR where Ray is started to a larger disk"))
    return rows


def versions(states: Mapping[str, State], here: State) -> list[Finding]:
    """Code, packages and Python of the nodes beside those of where the doctor runs."""
    if not states:
        return []
    rows = [*_alike("code", {name: state.code for name, state in states.items()}, here.code, "fault",
                    "install the same state of anchorface on every node: what runs there is the code of that node"),
            *_alike("Python", {name: state.python for name, state in states.items()}, here.python,
                    "fault" if len({each.python.rpartition(".")[0] for each in (here, *states.values())}) > 1
                    else "note", "take one Python everywhere"),
            *_alike("packages", {name: _listed(state.packages) for name, state in states.items()},
                    _listed(here.packages), "fault", "install requirements.lock (and cluster.lock) on every node")]
    if here.packages and not [row for row in rows if row.subject == "packages" and row.state != "ok"]:
        rows[-1] = Finding(topic="versions", subject="packages", state="note", detail=f"the same everywhere, and not "
                           f"those of the locks: {_listed(here.packages)}", remedy="install requirements.lock and "
                           "cluster.lock: work that is submitted is refused without")
    return rows


def _alike(what: str, said: Mapping[str, str], here: str, state: str, remedy: str) -> list[Finding]:
    """A row for each group of nodes that says something else than is here, or one if none does."""
    others = {text: names for text, names in grouped(said).items() if text != here}
    if not others:
        return [Finding(topic="versions", subject=what, state="ok", detail=f"{here}, on {len(said)} nodes and here")]
    return [Finding(topic="versions", subject=what, state=state, detail=f"{names}: {text}; here: {here}", remedy=remedy)
            for text, names in others.items()]


def _listed(packages: tuple[str, ...]) -> str:
    if not packages:
        return "those of the locks"
    more = f" and {len(packages) - SHOWN} more" if len(packages) > SHOWN else ""
    return f"{', '.join(packages[:SHOWN])}{more} (in brackets the locks')"


def offset(sent: float, there: float, received: float) -> tuple[float, float]:
    """How far a clock is ahead of ours, and how uncertain that is: half of the round trip. All in seconds."""
    return there - (sent + received) / 2, (received - sent) / 2


def clocks(measured: Mapping[str, tuple[float, float]]) -> list[Finding]:
    """Nodes whose clocks are off for certain; one row if none is.

    Args:
        measured: name -> `offset`.
    """
    rows = []
    for name, (ahead, uncertain) in sorted(measured.items()):
        off = abs(ahead) - uncertain
        if off > NOTED:
            rows.append(Finding(
                topic="clocks", subject=name, state="fault" if off > WRONG else "note",
                detail=f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the clock here (± {uncertain:.2g})",
                remedy="let a time service set it (chrony, systemd-timesyncd)"))
    if not rows and measured:
        most = max(abs(ahead) + uncertain for ahead, uncertain in measured.values())
        rows.append(Finding(topic="clocks", subject="all", state="ok", detail=f"{len(measured)} nodes within "
                            f"{most:.2g} s of the clock here"))
    return rows


def ports(states: Mapping[str, State]) -> list[Finding]:
    """What others reach on each node: a Ray without a token is a fault; one row where none is."""
    said = [(name, found) for name, state in sorted(states.items()) for found in open_ports(state.listening, "fault")]
    rows = [replace(found, subject=f"{name}: {found.subject}") for name, found in said if found.state != "ok"]
    if states and not any(row.state == "fault" for row in rows):
        heard = "it listens for others, and wants a token" if len(said) > len(rows) else "nobody else reaches it"
        rows.append(Finding(topic="ports", subject="Ray", state="ok", detail=f"on {len(states)} nodes {heard}"))
    return rows


def complete(came: int, wanted: int) -> Finding:
    """Whether as many nodes are there as a launcher has started; 1 where it does not say."""
    if came < wanted:
        return Finding(topic="nodes", subject="all", state="missing", detail=f"{came} of {wanted} nodes joined",
                       remedy="the job's log says what the others print")
    return Finding(topic="nodes", subject="all", state="ok",
                   detail=f"{came} of {wanted} nodes joined" if wanted > 1 else f"{came} nodes")


def departed(nodes: list[dict[str, Any]]) -> list[Finding]:
    """Nodes that ended unexpectedly, and whose address no other node has since.

    Args:
        nodes: as `ray.nodes()` lists them.
    """
    here = {node["NodeManagerAddress"] for node in nodes if node["Alive"]}
    gone = {node["NodeManagerAddress"]: node for node in nodes
            if not node["Alive"] and node["DeathReason"] == UNEXPECTED and node["NodeManagerAddress"] not in here}
    return [Finding(topic="nodes", subject=f"{node['NodeManagerHostname']} ({address})", state="note",
                    detail=f"was of the cluster and has died: {node['DeathReasonMessage'] or 'nobody knows why'}"[:300],
                    remedy="start Ray there again, unless another took its place")
            for address, node in sorted(gone.items())]
