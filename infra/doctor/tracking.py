"""MLflow's server: whether it answers from every node, and whether it takes a run, with a number and a file.

The run and its experiment have a name that nobody else uses and are deleted afterwards; what is deleted MLflow shows no
more, and its administrator's `mlflow gc` removes it from the database.
"""

import re
import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from anchorface.infra.doctor.findings import Finding, grouped
from anchorface.records import ConfigurationError
from anchorface.records.addresses import redacted
from anchorface.records.patience import within

if TYPE_CHECKING:
    from anchorface.infra.doctor.nodes import Nodes

PREFIX = "anchorface-doctor-"
FILE, TEXT = "doctor.txt", "written by anchorface doctor\n"
SECONDS = 30.0
"""For each answer of the server; its client waits ten (training.tracking)."""
REMEDIES = (
    (r"\b401\b|\b403 Forbidden|unauthori[sz]ed|permission|denied|credential",
     "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD there, of a user who may write"),
    (r"Invalid Host", "start the server with this name among its --allowed-hosts"),
    (r"mlflow-artifacts|s3://", "let it write where it keeps files (--artifacts-destination)"),
)
AWAY = "start the server, and let every node reach its port; `anchorface servers up` starts one"


def require_server(address: str) -> None:
    """Refuse a store that is no server: nodes cannot share it.

    Raises:
        ConfigurationError: says what is needed.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(f"--tracking {address}: the address of MLflow's server is needed, such as "
                                 "http://mlflow:5000")


def tried(address: str) -> Finding:
    """Write and delete a run, from here."""
    if failed := failure(address) or written(address):
        return _fault(address, f"from {socket.gethostname()}, where this runs: {failed}")
    return Finding(topic="tracking", subject=redacted(address), state="ok",
                   detail="it answers; a run with a file was written and deleted")


def shared(address: str, nodes: "Nodes") -> list[Finding]:
    """Whether it answers from each node, a row for each group of them that fails alike; and what `tried` says."""
    said = nodes.ask(redacted(address), 2 * SECONDS, lambda actor, node: actor.answers_of.remote(address))
    failures = grouped({node: text for node, text in said.items() if text})
    rows = [_fault(address, f"{names}: {text}") for text, names in failures.items()]
    here = tried(address)
    if here.state == "ok" and not rows and said:
        return [Finding(topic="tracking", subject=here.subject, state="ok",
                        detail=f"it answers {len(said)} nodes; a run with a file was written and deleted")]
    return [*rows, here]


def failure(address: str) -> str:
    """Why the server does not answer whoever asks from here, or nothing."""
    return _within(lambda: _client(address).search_experiments(max_results=1))


def written(address: str) -> str:
    """Write a run with a number and a file into an experiment of its own, and delete all. Returns why that fails, or
    nothing."""
    client, made = _client(address), list[str]()
    name = f"{PREFIX}{secrets.token_hex(8)}"
    failed = _within(lambda: made.append(client.create_experiment(name)))
    if failed:
        return f"takes no experiment: {failed}"
    failed = _within(lambda: _run(client, address, made[0]))
    delete = partial(client.delete_experiment, made[0])  # its runs go with it
    left = _within(delete) and _within(delete)  # a refused file may have cost the connection
    return failed or (left and f"the experiment {name} cannot be deleted: {left}")


def _run(client: Any, address: str, experiment: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run = client.create_run(experiment).info
    client.log_metric(run.run_id, "doctor", 1.0)
    client.get_run(run.run_id)
    client.log_text(run.run_id, TEXT, FILE)
    get_artifact_repository(run.artifact_uri, tracking_uri=address).delete_artifacts(FILE)


def _client(address: str) -> Any:
    from anchorface.training.tracking import connect

    return connect(address)


def _within(action: Callable[[], Any]) -> str:
    """Why an action fails, or nothing."""
    from anchorface.training.tracking import shortened

    try:
        within(SECONDS, action)
    except Exception as error:  # a store raises what its database, its network or MLflow raises
        return shortened(error)
    return ""


def _fault(address: str, detail: str) -> Finding:
    remedy = next((said for pattern, said in REMEDIES if re.search(pattern, detail, re.IGNORECASE)), AWAY)
    return Finding(topic="tracking", subject=redacted(address), state="fault", detail=detail, remedy=remedy)
