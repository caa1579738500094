"""A Ray cluster that already runs: work goes to its head by Ray Jobs, with the code that lies here.

In: Work, and the cluster's dashboard in `RAY_API_SERVER_ADDRESS` (or `RAY_ADDRESS`), such as http://127.0.0.1:8265; its
token where Ray looks for it (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token). Out: a job of the work's name.

The cluster gets the source files, the carried weights and the locks as they stand here, and every process of the job
imports them; packages are the nodes' own, and `inside` refuses others than the lock's. A cluster shows the environment
of a job to all who may ask it, so passwords and keys stay here: the nodes have their own.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_nodes
from ray.util.state.exception import RayStateApiException

from anchorface.infra.launch.order import ENTRYPOINT, ORDER, order, plain_and_secret
from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.submission import Phase, State, Submission, keep, now
from anchorface.infra.launch.work import ROOMS, ROOT, Work, single
from anchorface.records import AnchorfaceError, ConfigurationError, LauncherError
from anchorface.records.addresses import redacted

SERVER, CLUSTER = "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
PHASES = {
    JobStatus.PENDING: Phase.WAITING, JobStatus.RUNNING: Phase.RUNNING, JobStatus.SUCCEEDED: Phase.SUCCEEDED,
    JobStatus.FAILED: Phase.FAILED, JobStatus.STOPPED: Phase.CANCELLED,
}
BESIDE = ("pyproject.toml", "requirements.lock", "cluster.lock", "weights")
ANSWER = 10.0
"""Seconds that a cluster has to take a connection."""
POLL = 0.5
MOST_NODES = 10_000


class Ray:
    """Ray Jobs on a running cluster."""

    def render(self, work: Work) -> dict[str, str]:
        """The request that would be sent, with `***` for the values of variables, and the files beside it."""
        sent = request(work, dict.fromkeys(work.environment, "***"))
        changed = "".join(f"not as in the commit: {path}\n" for path in work.code.changed)
        return {"job.json": json.dumps(sent, indent=1),
                "working_dir.txt": f"{changed}{''.join(f'anchorface/{path}{chr(10)}' for path in files())}"}

    def ready(self, work: Work) -> None:
        """The cluster answers, knows the token, wants one, runs this Ray, and has the nodes."""
        request(work, os.environ)
        where = address()
        there = client(where)._server_ray_version
        if there != ray.__version__:
            raise ConfigurationError(f"the cluster runs Ray {there}, here is {ray.__version__}: both must be the same")
        with told("does not say what nodes it has"), addressed(where):
            found = list_nodes(limit=MOST_NODES, raise_on_missing_output=False)
            said = requests.get(f"{where}/api/authentication_mode", timeout=ANSWER).json()
        nodes = [node for node in found if node.state == "ALIVE"]
        require_closed(said.get("authentication_mode", ""), [node.node_ip for node in nodes])
        require_nodes([node.resources_total for node in nodes], work.resources)

    def submit(self, work: Work) -> Submission:
        """Upload the code and start the job."""
        sent, where = request(work, os.environ), address()
        jobs = client(where)
        with tempfile.TemporaryDirectory() as folder:
            for path in files():
                place = Path(folder, "anchorface", path)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, place)
            sent["runtime_env"]["working_dir"] = folder
            with told("does not take the job"):
                jobs.submit_job(**sent)
        return keep(Submission(launcher="ray", id=work.name, name=work.name, command=work.command, submitted=now(),
                               address=redacted(where)))

    def state(self, submission: Submission) -> State:
        """What the cluster says of the job; unknown if it does not know it, as after its own restart."""
        return _state(client(address(submission)), submission)

    def log(self, submission: Submission, follow: bool) -> Iterator[str]:
        """Lines of the job's driver."""
        jobs = client(address(submission))
        while follow and _state(jobs, submission).phase is Phase.WAITING:
            time.sleep(POLL)
        rest = ""
        for part in _tail(jobs, submission.id) if follow else _written(jobs, submission.id):
            *lines, rest = (rest + part).split("\n")
            yield from lines
        if rest:
            yield rest

    def cancel(self, submission: Submission) -> None:
        """Every process of the job gets SIGTERM, and SIGKILL after GRACE seconds."""
        jobs = client(address(submission))
        if _state(jobs, submission).phase.over:
            return
        with told("does not end the job"):
            jobs.stop_job(submission.id)
        end = time.monotonic() + GRACE + 60
        while not _state(jobs, submission).phase.over:
            if time.monotonic() > end:
                raise LauncherError(f"{submission.name} was told to end and has not: `anchorface jobs` shows whether "
                                    "it does")
            time.sleep(POLL)


def client(where: str) -> JobSubmissionClient:
    """A client of the cluster whose dashboard is at an address.

    Raises:
        LauncherError: nobody answers there, or it wants a token.
    """
    parts = urlsplit(where)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        raise LauncherError(f"no Ray cluster answers at {where} ({error}): is it up, and is this the address of its "
                            "dashboard? Where it is behind a firewall, forward the port: ssh -L 8265:127.0.0.1:8265 "
                            "HEAD") from None
    if any(os.environ.get(name) for name in TOKENS) or os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with told("does not answer as a Ray cluster does"), addressed(where):
        return JobSubmissionClient(where)


@contextlib.contextmanager
def addressed(where: str) -> Iterator[None]:
    """Ray prefers its variables to an address that it is given: so they give this one for the length of a block."""
    before = os.environ.get(SERVER)
    os.environ[SERVER] = where
    try:
        yield
    finally:
        os.environ.pop(SERVER)
        if before is not None:
            os.environ[SERVER] = before


def address(submission: Submission | None = None) -> str:
    """The dashboard of the cluster, with its credentials: that of a submission, else the environment's.

    Raises:
        ConfigurationError: there is none.
    """
    here = os.environ.get(SERVER) or os.environ.get(CLUSTER) or ""
    if submission and submission.address and submission.address != redacted(here):
        return submission.address
    if not here.startswith(("http://", "https://")):
        raise ConfigurationError(f"--on ray: set {SERVER} to the dashboard of the cluster, such as http://127.0.0.1:8265"
                                 + (f"; {redacted(here)} is none" if here else ""))
    return here.rstrip("/")


def request(work: Work, values: Mapping[str, str]) -> dict[str, Any]:
    """What Ray Jobs is asked for, but for the files.

    Args:
        values: of the variables that the work names.

    Raises:
        ConfigurationError: resources that a running cluster does not have, or a secret.
    """
    asked = work.resources
    asked.none_of("a running Ray cluster", "queue", "account", "image", "feed_nodes", "feed_cpus")
    plain, kept_back = plain_and_secret(single(work, "ray"), values)
    # A job is ended in good order: Ray's own three seconds are too short for a checkpoint.
    told_all = plain | {ORDER: order(work, work.folder, kept_back), "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE)}
    about = {"commit": work.code.commit, "tree": work.code.tree, "changed": ", ".join(work.code.changed),
             "command": shlex.join(work.command)}
    return {"submission_id": work.name, "entrypoint": ENTRYPOINT, "runtime_env": {"env_vars": told_all},
            "metadata": about}


def files() -> list[str]:
    """The files that a job gets, as paths below the root: sources, the carried weights, the locks."""
    found = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    for name in BESIDE:
        place = ROOT / name
        found += [path for path in (place.rglob("*") if place.is_dir() else [place]) if path.is_file()]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def require_closed(mode: str, nodes: Sequence[str]) -> None:
    """Refuse a cluster that takes work from anybody who reaches it, unless nobody else does.

    Args:
        mode: of authentication, as its dashboard says. nodes: their addresses.

    Raises:
        ConfigurationError: says what its nodes need.
    """
    if mode != "token" and not all(ipaddress.ip_address(node).is_loopback for node in nodes):
        raise ConfigurationError("the Ray cluster wants no token: whoever reaches a port of it runs what they like "
                                 "there, with the nodes' credentials; start its nodes with RAY_AUTH_MODE=token and one "
                                 "token (ray get-auth-token --generate)")


def require_nodes(nodes: list[dict[str, Any]], asked: Resources) -> None:
    """Refuse what no nodes of a cluster can give.

    Args:
        nodes: what Ray has on each: CPU, GPU, memory (bytes).

    Raises:
        ConfigurationError: says what is asked for and what there is.
    """
    least = {"GPU": asked.gpus, "CPU": asked.cpus, "memory": asked.memory_gib * 2**30}
    for name, amount in least.items():
        most = max((float(node.get(name, 0)) for node in nodes), default=0.0)
        if amount > most:
            unit = 2**30 if name == "memory" else 1
            raise ConfigurationError(f"{amount / unit:g} {name}{' GiB' if unit > 1 else ''} on a node: the largest of "
                                     f"the cluster's {len(nodes)} nodes has {most / unit:g}; ask for less on each")
    fit = [node for node in nodes if all(float(node.get(name, 0)) >= amount for name, amount in least.items())]
    if len(fit) < asked.nodes:
        raise ConfigurationError(f"{asked.nodes} nodes: {len(fit)} of the cluster's {len(nodes)} have what is asked "
                                 "for; ask for fewer, or for less on each")


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Ray's client raises whatever its parts raise: here it becomes a LauncherError with a remedy."""
    try:
        yield
    except AuthenticationError as error:
        said = "has another token" if "Invalid" in str(error) else "wants a token"
        raise LauncherError(f"the Ray cluster {said}: set RAY_AUTH_TOKEN_PATH to a file that holds the token of its "
                            "nodes, or RAY_AUTH_TOKEN, and RAY_AUTH_MODE=token") from None
    except AnchorfaceError:
        raise
    except (RuntimeError, ValueError, OSError, RayStateApiException, aiohttp.ClientError) as error:
        raise LauncherError(f"the Ray cluster {what}: {_first_line(str(error))}") from error


def _state(jobs: JobSubmissionClient, submission: Submission) -> State:
    with told("does not say how the job goes"):
        found = [job for job in jobs.list_jobs() if job.submission_id == submission.id]
    if not found:
        return State(phase=Phase.UNKNOWN, detail="the cluster does not know this job (any more)")
    phase, status = PHASES[JobStatus(found[0].status)], found[0].driver_exit_code
    detail = "" if phase is not Phase.FAILED else f"exit status {status}" if status else found[0].message or ""
    return State(phase=phase, detail=_first_line(detail))


def _written(jobs: JobSubmissionClient, name: str) -> Iterator[str]:
    with told("does not show the log"):
        yield str(jobs.get_job_logs(name))


def _tail(jobs: JobSubmissionClient, name: str) -> Iterator[str]:
    """What a job prints, as it prints it."""
    loop = asyncio.new_event_loop()
    parts = jobs.tail_job_logs(name)
    try:
        with told("does not show the log"), contextlib.suppress(StopAsyncIteration):
            while True:
                yield loop.run_until_complete(anext(parts))
    finally:
        loop.run_until_complete(parts.aclose())
        loop.close()


def _first_line(text: str) -> str:
    return redacted(text.strip().partition("\n")[0][:300])
