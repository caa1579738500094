"""Where the servers of one machine stand and who may reach them.

    FOLDER/settings.json    Servers, as they were started
           secrets.json     made passwords, 0600
           client.env       the environment that leads a client to MLflow, 0600
           postgres/ artifacts/ prometheus/ grafana/   their data
           NAME.log
"""

import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from anchorface.records import ConfigurationError
from anchorface.records.addresses import has_secret
from anchorface.records.homes import state_home
from anchorface.records.storage import private, told

USER = "anchorface"
"""The name to which all passwords belong."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What is started.

    folder: everything that they write; for its owner. host: the address that MLflow, Prometheus and Grafana listen at;
    Postgres stays on loopback. names: host names by which clients call MLflow, where these are not those of this
    machine's private addresses. artifacts: bucket or folder of MLflow's files; empty for one in `folder`. passwords:
    whether MLflow and Prometheus ask for one; Postgres and Grafana always do. Ports as named.

    Raises:
        ConfigurationError: an address that others reach, without passwords; or credentials in an address.
    """

    folder: str
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    artifacts: str = ""
    passwords: bool = True
    mlflow_port: int = 5000
    postgres_port: int = 5433
    prometheus_port: int = 9090
    grafana_port: int = 3000

    def __post_init__(self) -> None:
        if not self.passwords and not _is_loopback(self.host):
            raise ConfigurationError(f"--host {self.host}: others reach it, so passwords are needed; leave "
                                     "--no-passwords out, or the host")
        if has_secret(self.artifacts):
            raise ConfigurationError("--artifacts: give credentials by the environment (AWS_ACCESS_KEY_ID, ...)")
        if not all(1 <= port <= 65535 for port in self.ports.values()):
            raise ConfigurationError("a port is a number from 1 to 65535")
        if len(set(self.ports.values())) < len(self.ports):
            raise ConfigurationError(f"each server needs a port of its own, not {self.ports}")

    @property
    def ports(self) -> dict[str, int]:
        """Name of a server -> its port, in the order in which they are started."""
        return {"postgres": self.postgres_port, "prometheus": self.prometheus_port, "mlflow": self.mlflow_port,
                "grafana": self.grafana_port}

    def address(self, name: str) -> str:
        """Where this machine itself reaches a server."""
        any_address = self.host in ("0.0.0.0", "::")
        host = "127.0.0.1" if name == "postgres" or any_address else self.host
        return f"{'postgresql' if name == 'postgres' else 'http'}://{host}:{self.ports[name]}"

    def place(self, *names: str) -> Path:
        """A file or folder of theirs."""
        return Path(self.folder, *names)


def default_folder() -> str:
    """$XDG_STATE_HOME/anchorface/servers (~/.local/state); for root, whom Postgres refuses and whose home nobody else
    enters, /var/lib/anchorface-servers."""
    if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
        return "/var/lib/anchorface-servers"
    return str(state_home("servers"))


def new_secrets() -> dict[str, str]:
    """Passwords for everybody, and the key of MLflow's cookies."""
    return {name: secrets.token_urlsafe(24) for name in ("postgres", "mlflow", "prometheus", "grafana", "cookies")}


def write_passwords(file: str) -> None:
    """A new file of variables with passwords, which compose.yaml and the manifests name.

    Raises:
        ConfigurationError: it is there: databases know what stands in it.
    """
    if os.path.lexists(file):
        raise ConfigurationError(f"{file}: it is there, and servers may know these passwords; give another name")
    lines = [f"{name}_PASSWORD={secrets.token_urlsafe(24)}\n" for name in ("POSTGRES", "S3", "MLFLOW", "COOKIES",
                                                                           "GRAFANA")]
    with told(file, "cannot be written"):
        write_private(Path(file), "".join(lines))


def write_private(file: Path, text: str) -> None:
    """A file for its owner alone."""
    with open(file, "w", opener=private) as into:
        os.fchmod(into.fileno(), 0o600)
        into.write(text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
