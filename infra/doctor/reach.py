"""Whether the nodes of a cluster reach each other: every pair by TCP, at a port that is free.

Ray, torch.distributed and NCCL take ports as they come, so a firewall that lets only known ones pass is found here.
"""

import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from anchorface.infra.doctor.findings import Finding, grouped

if TYPE_CHECKING:
    from anchorface.infra.doctor.nodes import Nodes

SECONDS = 5.0
"""For one connection (our choice)."""
AT_ONCE = 32
ANSWER = 60.0
"""Seconds for a node to reach all others."""
LONGEST = 512
"""Bytes of a name."""


def pairs(nodes: "Nodes") -> list[Finding]:
    """Whether each node reaches each other one at the address by which Ray knows it."""
    addresses = {node: str(known["NodeManagerAddress"]) for node, known in nodes.known.items()}
    places = nodes.ask("ports", ANSWER, lambda actor, node: actor.listens.remote(addresses[node], node))
    heard = {node: (addresses[node], port) for node, (port, _) in places.items() if port}
    deaf = {node: why for node, (port, why) in places.items() if not port}

    def others(node: str) -> dict[str, tuple[str, int]]:
        return {name: place for name, place in heard.items() if name != node}

    waiting = ANSWER + SECONDS * len(heard) / AT_ONCE
    unreached = nodes.ask("pairs", waiting, lambda actor, node: actor.reaches.remote(others(node)))
    return told(unreached, deaf, addresses)


def told(unreached: Mapping[str, Mapping[str, str]], deaf: Mapping[str, str], addresses: Mapping[str, str]
         ) -> list[Finding]:
    """The rows of what was found.

    Args:
        unreached: node -> nodes that it does not reach -> why. deaf: nodes that cannot listen -> why.
        addresses: of the nodes, as Ray knows them.
    """
    rows = [Finding(topic="network", subject=node, state="fault", detail=f"cannot listen at {addresses[node]}: {why}",
                    remedy="start Ray there with --node-ip-address of an interface that it has")
            for node, why in sorted(deaf.items())]
    for node, missed in sorted(unreached.items()):
        rows += [Finding(topic="network", subject=node, state="fault", detail=f"does not reach {names} ({why})",
                         remedy="let the nodes reach each other at every TCP port (firewall, network policy), at the "
                                "addresses with which Ray was started")
                 for why, names in grouped(missed).items()]
    if not rows and unreached:
        rows.append(Finding(topic="network", subject="pairs", state="ok",
                            detail=f"each of {len(unreached)} nodes reaches the others at a free port"
                            if len(unreached) > 1 else "there is one node"))
    return rows


def listen(address: str, name: str) -> tuple[int, str]:
    """Say a name to whoever connects, as long as this process lives. Returns the port, and why there is none (then 0).
    """
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.create_server((address, 0), family=family, backlog=1024)
    except OSError as error:
        return 0, str(error)
    threading.Thread(target=_serve, args=(server, name.encode()), daemon=True).start()
    return int(server.getsockname()[1]), ""


def _serve(server: socket.socket, name: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
            with connection:
                connection.sendall(name)
        except OSError:  # whoever came is gone again
            continue


def unreached(others: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """Name of a node that is not reached at its address and port -> why."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = pool.map(lambda name: _failure(name, *others[name]), others)
        return {name: why for name, why in zip(others, failures, strict=True) if why}


def _failure(name: str, address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=SECONDS) as connection:
            said = b""
            while len(said) < LONGEST and (part := connection.recv(LONGEST)):
                said += part
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return "" if said == name.encode() else f"somebody else answers at {address}"
