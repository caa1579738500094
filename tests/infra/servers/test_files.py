"""The files of a team's servers: compose.yaml, manifests and dashboards hold together, and with one machine's."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_data_grafana_dashboard

from anchorface.infra.servers import grafana, prometheus
from anchorface.infra.servers.settings import write_passwords
from tests.infra.launch import schemas

FOLDER = Path(grafana.__file__).parent
BOARDS = sorted((FOLDER / "dashboards").glob("*.json"))


@pytest.fixture
def made(tmp_path: Path) -> set[str]:
    """The names of all passwords that are made."""
    write_passwords(str(tmp_path / "made.env"))
    return {line.partition("=")[0] for line in (tmp_path / "made.env").read_text().splitlines()}


def queries(board: Any) -> Iterator[str]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_compose_publishes_two_servers_on_loopback_and_holds_no_password(made: set[str]) -> None:
    text = (FOLDER / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published.keys() == {"mlflow", "grafana"}
    assert all(port.startswith("${BIND:-127.0.0.1}:") for ports in published.values() for port in ports)
    names = set(re.findall(r"\$\{(\w+):\?", text))
    assert names == made
    for name, each in services.items():
        for key, value in each.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET", key) or re.fullmatch(r"\$\{\w+:\?.*\}", value), (name, key)
        assert name == "mlflow" or re.search(r":\S*\d", each["image"]), "a version is named"
        for volume in each.get("volumes", ()):
            here = volume.partition(":")[0]
            assert not here.startswith("./") or (FOLDER / here).exists(), volume


def test_compose_leaves_what_has_no_password_to_the_other_servers() -> None:
    made = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert made["networks"]["inside"]["internal"]
    assert made["services"]["postgres"]["networks"] == made["services"]["storage"]["networks"] == ["inside"]
    words = made["services"]["mlflow"]["command"]
    assert "--app-name=basic-auth" in words and any(word.startswith("--allowed-hosts=") for word in words)


def test_manifests_hold_against_kubernetes_schemas_and_name_what_is_there(made: set[str], shared_data: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    text = subprocess.run(["kubectl", "kustomize", str(FOLDER)], check=True, capture_output=True, text=True).stdout
    objects = list(yaml.safe_load_all(text))
    for each in objects:
        schemas.check(each, shared_data / "schemas")
    maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    pods = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in objects if "replicas" in
            each.get("spec", {})}
    guarded = {each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
               for each in objects if each["kind"] == "NetworkPolicy"}
    assert guarded == pods.keys() - {"grafana"}, "in a namespace where nobody is reached but by a policy"
    for spec in pods.values():
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] and "readinessProbe" in container
        keys = [one["valueFrom"]["secretKeyRef"] for one in container.get("env", ()) if "valueFrom" in one]
        assert all(key["name"] == "servers" and key["key"] in made for key in keys)
        named = {volume["configMap"]["name"] for volume in spec.get("volumes", ()) if "configMap" in volume}
        assert named <= maps
    assert not {each["kind"] for each in objects} & {"Secret", "Ingress"}
    assert {each["spec"].get("type", "ClusterIP") for each in objects if each["kind"] == "Service"} == {"ClusterIP"}


def test_grafana_gets_the_same_from_a_file_and_from_one_machine() -> None:
    written = yaml.safe_load((FOLDER / "provisioning" / "datasource.yaml").read_text())
    assert written == grafana.source("http://prometheus:9090", password=False)
    assert yaml.safe_load((FOLDER / "provisioning" / "dashboards.yaml").read_text()) == grafana.provider("/dashboards")


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_dashboards_have_fields_that_rays_have_and_lie_beside_them(file: Path) -> None:
    board, ray = json.loads(file.read_text()), json.loads(generate_data_grafana_dashboard()[0])
    rows = [panel for row in ray["panels"] for panel in [row, *row.get("panels", ())]]
    assert board.keys() <= ray.keys() and board["uid"] == f"anchorface-{file.stem}"
    of_panels = {key for panel in rows for key in panel}
    of_targets = {key for panel in rows for target in panel.get("targets", ()) for key in target}
    of_variables = {key for one in ray["templating"]["list"] for key in one}
    assert all(one.keys() <= of_variables for one in board["templating"]["list"])
    places = set()
    for panel in board["panels"]:
        assert panel.keys() <= of_panels and panel["description"] is not None
        assert all(target.keys() <= of_targets for target in panel["targets"])
        places.add((panel["gridPos"]["x"], panel["gridPos"]["y"]))
    assert len(places) == len(board["panels"]) and len({panel["id"] for panel in board["panels"]}) == len(places)
    assert f"{file.stem}.json" not in grafana.ray_dashboards()


def test_prometheus_reads_its_files_and_every_query(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian: prometheus)")
    pytest.importorskip("bcrypt")  # cluster.lock has it
    rules = [{"record": f"query_{number}", "expr": re.sub(r"\$(session|run)", ".*", query)} for number, query in
             enumerate(query for file in BOARDS for query in queries(json.loads(file.read_text())))]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(prometheus.configuration()))
    scraped = yaml.safe_load((FOLDER / "kubernetes" / "scrape.yaml").read_text())
    found = scraped["scrape_configs"][0].pop("kubernetes_sd_configs")  # Debian's Prometheus is built without these
    assert found == [{"role": "pod", "namespaces": {"own_namespace": True}}]
    (tmp_path / "scrape.yaml").write_text(yaml.safe_dump(scraped))
    (tmp_path / "web.yaml").write_text(yaml.safe_dump({"basic_auth_users": {"me": prometheus.hashed("word")}}))
    for words in (("rules", tmp_path / "rules.yaml"), ("config", tmp_path / "one.yaml"),
                  ("config", FOLDER / "prometheus.yaml"), ("config", tmp_path / "scrape.yaml"),
                  ("web-config", tmp_path / "web.yaml")):
        answer = subprocess.run(["promtool", "check", *map(str, words)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(rules) > 15


def test_passwords_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    for name in ("a.env", "b.env"):
        write_passwords(str(tmp_path / name))
    assert (tmp_path / "a.env").stat().st_mode & 0o777 == 0o600
    words = re.findall(r"=(\S{20,})", (tmp_path / "a.env").read_text() + (tmp_path / "b.env").read_text())
    assert len(words) == len(set(words)) == 10
    before = (tmp_path / "a.env").read_text()
    with pytest.raises(ValueError, match="another name"):
        write_passwords(str(tmp_path / "a.env"))
    assert (tmp_path / "a.env").read_text() == before
