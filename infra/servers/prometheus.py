"""Prometheus, with a password, scraping every Ray that tells where its numbers are (records.metrics_targets)."""

import shutil
from collections.abc import Mapping
from typing import Any

import yaml

from anchorface.infra.servers.settings import USER, Servers, write_private
from anchorface.records import ConfigurationError
from anchorface.records.metrics_targets import targets
from anchorface.records.storage import make_folder

SECONDS = 10
"""Between two scrapes: as often as Ray has new numbers."""
KEPT = "30d"


def require(servers: Servers) -> None:
    """Refuse what would not start.

    Raises:
        ConfigurationError: it, or what makes its password, is not installed.
    """
    if not shutil.which("prometheus"):
        raise ConfigurationError("Prometheus is not here: apt-get install prometheus, and systemctl disable --now "
                                 "prometheus, which would take its port without a password")
    if servers.passwords:
        try:
            import bcrypt  # noqa: F401
        except ImportError:
            raise ConfigurationError("Prometheus' password needs bcrypt: make cluster-environment, or pip install "
                                     "'anchorface[serve]'") from None


def configuration() -> dict[str, Any]:
    """What it scrapes."""
    files = {"files": [f"{targets()}/*.json"], "refresh_interval": f"{SECONDS}s"}
    return {"global": {"scrape_interval": f"{SECONDS}s"},
            "scrape_configs": [{"job_name": "ray", "file_sd_configs": [files]}]}


def prepare(servers: Servers, made: Mapping[str, str]) -> None:
    """Write its files, and make the folder in which Rays tell of themselves."""
    make_folder(str(targets()))
    make_folder(str(servers.place("prometheus")))
    write_private(servers.place("prometheus.yml"), yaml.safe_dump(configuration()))
    users = {"basic_auth_users": {USER: hashed(made["prometheus"])}} if servers.passwords else {}
    write_private(servers.place("prometheus-web.yml"), yaml.safe_dump(users))


def hashed(password: str) -> str:
    """A password as Prometheus wants to know it."""
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode()


def words(servers: Servers) -> list[str]:
    """Its command, without secrets."""
    host = f"[{servers.host}]" if ":" in servers.host else servers.host
    return ["prometheus", f"--config.file={servers.place('prometheus.yml')}",
            f"--web.config.file={servers.place('prometheus-web.yml')}",
            f"--storage.tsdb.path={servers.place('prometheus')}", f"--storage.tsdb.retention.time={KEPT}",
            f"--web.listen-address={host}:{servers.prometheus_port}"]
