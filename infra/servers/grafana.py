"""Grafana, where it is installed (Debian does not have it), with the dashboards of anchorface and those of Ray."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from anchorface.infra.servers.settings import USER, Servers, write_private
from anchorface.records.storage import make_folder

DASHBOARDS = Path(__file__).with_name("dashboards")
HOMES = (Path("/usr/share/grafana"), Path("/usr/local/share/grafana"))


def program() -> str:
    """Its command, empty where it is not installed."""
    return shutil.which("grafana") or next((str(home / "bin" / "grafana") for home in HOMES
                                            if (home / "bin" / "grafana").exists()), "")


def source(url: str, *, password: bool) -> dict[str, object]:
    """Prometheus as Grafana's data source; its password comes from the environment."""
    each: dict[str, object] = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": url,
                               "isDefault": True}
    if password:
        each |= {"basicAuth": True, "basicAuthUser": USER,
                 "secureJsonData": {"basicAuthPassword": "$PROMETHEUS_PASSWORD"}}
    return {"apiVersion": 1, "datasources": [each]}


def provider(folder: str) -> dict[str, object]:
    """Where Grafana finds dashboards."""
    return {"apiVersion": 1, "providers": [{"name": "anchorface", "type": "file", "folder": "anchorface",
                                            "options": {"path": folder}}]}


def ray_dashboards() -> dict[str, str]:
    """File name -> Ray's own dashboards, as this version of Ray makes them."""
    from ray.dashboard.modules.metrics import grafana_dashboard_factory as ray

    made = {"ray": ray.generate_default_grafana_dashboard, "ray-data": ray.generate_data_grafana_dashboard,
            "ray-train": ray.generate_train_grafana_dashboard}
    return {f"{name}.json": make()[0] for name, make in made.items()}


def prepare(servers: Servers, made: Mapping[str, str]) -> None:
    """Write what it is provisioned with; the dashboards lie there without Grafana too."""
    for name in ("data", "dashboards", "provisioning/datasources", "provisioning/dashboards"):
        make_folder(str(servers.place("grafana", name)))
    dashboards = {file.name: file.read_text() for file in DASHBOARDS.glob("*.json")} | ray_dashboards()
    for name, text in dashboards.items():
        write_private(servers.place("grafana", "dashboards", name), text)
    wanted = {"datasources/prometheus.yaml": source(servers.address("prometheus"), password=servers.passwords),
              "dashboards/anchorface.yaml": provider(str(servers.place("grafana", "dashboards")))}
    for name, content in wanted.items():
        write_private(servers.place("grafana", "provisioning", name), yaml.safe_dump(content))
    write_private(servers.place("grafana", "password"), made["grafana"])


def words(servers: Servers) -> list[str]:
    """Its command, without secrets."""
    home = next((home for home in HOMES if home.exists()), Path(program()).resolve().parents[1])
    return [program(), "server", "--homepath", str(home)]


def environment(servers: Servers, made: Mapping[str, str]) -> dict[str, str]:
    """Its settings."""
    return {"GF_SERVER_HTTP_ADDR": servers.host, "GF_SERVER_HTTP_PORT": str(servers.grafana_port),
            "GF_PATHS_DATA": str(servers.place("grafana", "data")),
            "GF_PATHS_PROVISIONING": str(servers.place("grafana", "provisioning")),
            "GF_SECURITY_ADMIN_USER": USER,
            "GF_SECURITY_ADMIN_PASSWORD__FILE": str(servers.place("grafana", "password")),
            "GF_AUTH_ANONYMOUS_ENABLED": "false", "GF_USERS_ALLOW_SIGN_UP": "false",
            "GF_ANALYTICS_REPORTING_ENABLED": "false", "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "PROMETHEUS_PASSWORD": made["prometheus"]}
