"""Ports at which others reach this machine: Ray's, and those of the servers beside it.

In: the sockets of all processes that this user may see (psutil); of others' the port alone tells what they are. Out:
what listens at an address that is not loopback.
"""

import contextlib
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from anchorface.infra.doctor.findings import Finding

RAY = "Ray"
SERVERS = {"mlflow": "MLflow", "prometheus": "Prometheus", "grafana": "Grafana", "postgres": "Postgres",
           "rustfs": "S3 server", "anchorface": "anchorface"}
"""Word in a command -> whose it is."""
RAYS = re.compile(r"^ray(::|\.)|/ray/(core|dashboard|_private|util|autoscaler|scripts)/")
"""In a word of a command of Ray's."""
PORTS = {6379: RAY, 8265: RAY, 10001: RAY, 5000: "MLflow", 9090: "Prometheus", 3000: "Grafana", 5432: "Postgres",
         5433: "Postgres", 9000: "S3 server"}
"""By which those of other users and of containers are known."""
SHOWN = 6
OPEN_RAY = ("whoever reaches a port of it runs what they like here: start every node with RAY_AUTH_MODE=token and one "
            "token (ray get-auth-token --generate), or let it listen on loopback alone")
OPEN_SERVER = ("let it listen on loopback (127.0.0.1) and reach it by ssh -L, or see that it asks for a password and a "
               "firewall lets in only those who need it")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A socket that others reach. owner: Ray, MLflow, ... address: empty for every address of the machine. token:
    whether who comes must know a token; only Ray's."""

    owner: str
    address: str
    port: int
    token: bool


def listening() -> list[Listening]:
    """Those of Ray and the servers that are here, in order, without this process's own."""
    found = set()
    for each in psutil.net_connections("tcp"):
        if each.status != psutil.CONN_LISTEN or is_loopback(each.laddr.ip) or each.pid == os.getpid():
            continue
        owner, token = _owner(each.pid, each.laddr.port)
        if owner:
            address = "" if ipaddress.ip_address(each.laddr.ip).is_unspecified else each.laddr.ip
            found.add((owner, token, address, each.laddr.port))
    return [Listening(owner=owner, token=token, address=address, port=port)
            for owner, token, address, port in sorted(found)]


def open_ports(found: Sequence[Listening], state: str) -> list[Finding]:
    """A row for each owner, with token or without.

    Args:
        state: of a Ray that is open to everybody; a server is noted, since it may ask for a password.
    """
    rows = []
    for owner, token in sorted({(each.owner, each.token) for each in found}):
        at = [f"{each.address or '*'}:{each.port}" for each in found if (each.owner, each.token) == (owner, token)]
        detail = f"listens at {', '.join(at[:SHOWN])}" + (f" and {len(at) - SHOWN} more" if len(at) > SHOWN else "")
        rows.append(Finding(
            topic="ports", subject=owner, state="ok" if token else state if owner == RAY else "note",
            detail=detail + "; wants a token" * token,
            remedy="" if token else OPEN_RAY if owner == RAY else OPEN_SERVER))
    return rows


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def owner_of(words: Sequence[str]) -> str:
    """Whose a command is, empty for others'."""
    telling = (*words[:4], *words[-1:])  # a program, a module and its arguments; uvicorn's last word is what it serves
    if any(map(RAYS.search, telling)):
        return RAY
    named = " ".join(Path(word).name for word in telling)
    return next((owner for word, owner in SERVERS.items() if word in named), "")


def _owner(process: int | None, port: int) -> tuple[str, bool]:
    """Of a socket, and whether it wants a token."""
    with contextlib.suppress(psutil.Error, OSError):
        if process is not None:
            owner = owner_of(psutil.Process(process).cmdline())
            return owner, owner == RAY and _wants_token(psutil.Process(process))
    return PORTS.get(port, ""), False


def _wants_token(process: psutil.Process) -> bool:
    """By its environment; Ray's processes that rename themselves hide theirs, so the one above is asked then."""
    for each in (process, process.parent()):
        with contextlib.suppress(psutil.Error, OSError):
            if each is not None and (mode := each.environ().get("RAY_AUTH_MODE")):
                return mode.lower() == "token"
    return False
