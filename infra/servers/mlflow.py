"""MLflow's own server: runs and users in Postgres, files in a bucket or folder, which clients reach through it."""

import importlib.util
import sys
import uuid
from collections.abc import Mapping

from anchorface.infra.servers import postgres
from anchorface.infra.servers.settings import USER, Servers, write_private
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.storage import delete, join, make_folder, write_atomic

AUTH = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {user}
admin_password = {password}
"""


def require(servers: Servers) -> None:
    """Refuse what would not start.

    Raises:
        ConfigurationError: packages that are missing, or files that cannot be written.
    """
    needed = ["psycopg", *(["flask_wtf"] if servers.passwords else []),
              *(["boto3"] if servers.artifacts.startswith("s3://") else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"MLflow's server needs {', '.join(missing)}: make cluster-environment, or pip "
                                 "install 'anchorface[serve]'")
    probe = join(files(servers), f"write-test-{uuid.uuid4().hex}")
    try:
        if not servers.artifacts:
            make_folder(files(servers))
        write_atomic(probe, b"")
        delete(probe)
    except AnchorfaceError as error:
        raise ConfigurationError(f"MLflow's files cannot be written to {files(servers)}: {error}") from error


def files(servers: Servers) -> str:
    """Where runs' files and models stand."""
    return servers.artifacts or str(servers.place("artifacts"))


def prepare(servers: Servers, made: Mapping[str, str]) -> None:
    """Write its users' file, and the environment that leads a client to it."""
    write_private(servers.place("mlflow-auth.ini"), AUTH.format(
        database=postgres.address(servers), user=USER, password=made["mlflow"]))
    known = {"MLFLOW_TRACKING_URI": servers.address("mlflow")}
    if servers.passwords:
        known |= {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": made["mlflow"]}
    write_private(servers.place("client.env"), "".join(f"{name}={value}\n" for name, value in known.items()))


def words(servers: Servers) -> list[str]:
    """Its command, without secrets."""
    named = ["--allowed-hosts", ",".join(hosts(servers))] if servers.names else []
    return [sys.executable, "-m", "mlflow", "server", "--host", servers.host, "--port", str(servers.mlflow_port),
            "--workers", "1", "--backend-store-uri", postgres.address(servers), "--artifacts-destination",
            files(servers), *named, *(["--app-name", "basic-auth"] if servers.passwords else [])]


def hosts(servers: Servers) -> list[str]:
    """What a client may call it: since 3.5 it refuses any other name."""
    local = ("localhost", "127.0.0.1", *((servers.host,) if servers.host not in ("0.0.0.0", "::") else ()))
    return [form for name in dict.fromkeys((*local, *servers.names)) for form in (name, f"{name}:*")]


def environment(servers: Servers, made: Mapping[str, str]) -> dict[str, str]:
    """What it has to know besides."""
    return {"PGPASSFILE": str(servers.place("pgpass")),
            "MLFLOW_AUTH_CONFIG_PATH": str(servers.place("mlflow-auth.ini")),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": made["cookies"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
