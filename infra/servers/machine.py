"""The servers of one machine: started, looked at and ended. What runs is asked of the system, never remembered.

`up` is also how a server that died is started again; it keeps data, passwords and ports. `down` ends all of them and
keeps their data; `down --delete` takes that too.
"""

import base64
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass

from anchorface.infra.servers import grafana, mlflow, postgres, processes, prometheus
from anchorface.infra.servers.settings import USER, Servers, new_secrets, write_private
from anchorface.records import ConfigurationError, LauncherError
from anchorface.records.state import read_state
from anchorface.records.storage import make_folder

SETTINGS, SECRETS = "settings.json", "secrets.json"
PATIENCE = 300.0
"""Seconds until a server answers: MLflow makes its tables the first time, on a busy machine."""
HEALTH = {"mlflow": "/health", "prometheus": "/-/ready", "grafana": "/api/health"}


@dataclass(frozen=True, kw_only=True)
class Status:
    """One server. state: `running`, `stopped`, `silent` (it lives and does not answer) or `not installed`."""

    name: str
    state: str
    address: str


def up(servers: Servers, report: Callable[[str], None] = print) -> None:
    """Start what does not run, and return when all of it answers.

    Args:
        report: takes a line for each that was started.

    Raises:
        ConfigurationError: something is not installed, a port is taken, or they run with other settings.
        LauncherError: a server does not start; what this call has started is ended.
    """
    folder = servers.place()
    known = started(servers.folder)
    running = [] if known is None else [name for name in known.ports if _lives(known, name)]
    if running and known != servers:
        raise ConfigurationError(f"{folder}: {', '.join(running)} run with other settings; `anchorface servers down` "
                                 "first")
    wanted = [name for name in servers.ports if name not in running and (name != "grafana" or grafana.program())]
    postgres.require()
    prometheus.require(servers)
    for name in wanted:
        _require_free("127.0.0.1" if name == "postgres" else servers.host, servers.ports[name], name)
    make_folder(str(folder))
    mlflow.require(servers)
    write_private(servers.place(SETTINGS), json.dumps(asdict(servers), indent=1))
    made = passwords(servers)
    begun: list[str] = []
    try:
        for name in wanted:
            begun.append(name)
            _start(servers, name, made)
            report(f"{name} answers at {servers.address(name)}")
    except BaseException:
        for name in reversed(begun):
            _end(servers, name)
        raise
    if not grafana.program():
        grafana.prepare(servers, made)
        report(f"grafana is not here (Debian does not have it); what it is provisioned with, dashboards and all, lies "
               f"in {servers.place('grafana')}")
    report(f"clients of MLflow: set -a; . {servers.place('client.env')}; set +a")
    report(f"passwords of {USER}: {servers.place(SECRETS)}")


def down(folder: str, *, delete: bool = False) -> None:
    """End all of them; nothing if none runs.

    Args:
        delete: their data, logs and passwords too.

    Raises:
        ConfigurationError: to delete a folder that no servers stood in.
    """
    servers = started(folder)
    if servers is not None:
        for name in reversed(servers.ports):
            _end(servers, name)
    if delete and servers is None:
        raise ConfigurationError(f"{folder}: no servers stood here")
    if delete:
        shutil.rmtree(folder)


def status(folder: str) -> list[Status]:
    """All of them, as they are now.

    Raises:
        ConfigurationError: none were ever started there.
    """
    servers = started(folder)
    if servers is None:
        raise ConfigurationError(f"{folder}: no servers were started here; `anchorface servers up` does")
    found = []
    for name in servers.ports:
        if _lives(servers, name):
            state = "running" if name == "postgres" or _answers(servers, name) else "silent"
        else:
            state = "not installed" if name == "grafana" and not grafana.program() else "stopped"
        found.append(Status(name=name, state=state, address=servers.address(name)))
    return found


def started(folder: str) -> Servers | None:
    """What was started last in a folder."""
    file = Servers(folder=folder).place(SETTINGS)
    return read_state(str(file), Servers) if file.exists() else None


def passwords(servers: Servers) -> dict[str, str]:
    """Those of the folder; made the first time."""
    file = servers.place(SECRETS)
    if not file.exists():
        write_private(file, json.dumps(new_secrets(), indent=1))
    return read_state(str(file), dict[str, str])


def _start(servers: Servers, name: str, made: dict[str, str]) -> None:
    if name == "postgres":
        postgres.prepare(servers, made["postgres"])
        postgres.start(servers)
        return
    module = {"mlflow": mlflow, "prometheus": prometheus, "grafana": grafana}[name]
    module.prepare(servers, made)
    environment = {} if module is prometheus else module.environment(servers, made)
    process = processes.start(servers.place(), name, module.words(servers), environment)
    deadline = time.monotonic() + PATIENCE
    while not _answers(servers, name):
        if process.poll() is not None or time.monotonic() > deadline:
            log = servers.place(f"{name}.log")
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise LauncherError(f"{name} does not start: {' '.join(last)[-300:]}; all of it in {log}")
        time.sleep(0.2)


def _end(servers: Servers, name: str) -> None:
    if name == "postgres":
        postgres.stop(servers)
    else:
        processes.end(servers.place(), name)


def _lives(servers: Servers, name: str) -> bool:
    if name == "postgres":
        return postgres.lives(servers)
    return bool(processes.living(servers.place(), name))


def _answers(servers: Servers, name: str) -> bool:
    asked = urllib.request.Request(servers.address(name) + HEALTH[name])
    if name == "prometheus" and servers.passwords:
        word = base64.b64encode(f"{USER}:{passwords(servers)['prometheus']}".encode()).decode()
        asked.add_header("Authorization", f"Basic {word}")
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _require_free(host: str, port: int, name: str) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigurationError(f"{name} cannot listen at {host}:{port} ({error.strerror or error}); give another "
                                 f"--{name}-port or --host, or end what is there") from error
