"""Work goes to Kubernetes by kubectl, as it is installed: sent, looked at, read, ended; and what is refused before."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from anchorface.infra.launch import kubernetes as launched
from anchorface.infra.launch.kubernetes import Kubernetes, amount, reason_of, state_of
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.submission import Phase, find
from anchorface.infra.launch.work import Code, Work
from anchorface.infra.manifests import rayjob
from anchorface.records import AnchorfaceError, ConfigurationError, LauncherError
from tests.infra.launch.kubernetes_server import Server, kubernetes
from tests.infra.launch.schemas import VERSION

WORK = Work(name="train-12ab34", command=("train", "s3://bucket/data", "s3://bucket/run"), folder="/home/me",
            resources=Resources(nodes=2, cpus=8, gpus=2, memory_gib=16, image="faces/anchorface:1"),
            environment=("AWS_SECRET_ACCESS_KEY",), code=Code(commit="c0ffee", tree="0.1.0 abc", changed=()))
BASE = Path(rayjob.__file__).with_name("base")


@pytest.fixture
def server(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    with kubernetes(tmp_path, shared_data / "schemas") as (made, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        monkeypatch.setenv("HOME", str(tmp_path))  # kubectl keeps what it discovered
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        monkeypatch.delenv(launched.SITE, raising=False)
        made.objects["nodes", "one"] = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "one"}, "status": {
            "allocatable": {"cpu": "15890m", "memory": "64Gi", "nvidia.com/gpu": "2"}}}
        yield made


def test_work_is_sent_looked_at_read_and_ended(server: Server) -> None:
    to = Kubernetes()
    to.ready(WORK)
    assert not [key for key in server.objects if key[0] != "nodes"], "what is refused before a start starts nothing"
    submission = to.submit(WORK)
    assert find(WORK.name) == submission and submission.address == "faces@test"
    made = {key[0]: each for key, each in server.objects.items() if key[1] == WORK.name}
    assert made["secrets"]["stringData"] == {"AWS_SECRET_ACCESS_KEY": "s3cret"}
    owners = [made[kind]["metadata"]["ownerReferences"][0]["uid"] for kind in ("secrets", "networkpolicies")]
    assert owners == [made["rayjobs"]["metadata"]["uid"]] * 2
    assert "s3cret" not in json.dumps([made["rayjobs"], made["networkpolicies"]])

    marks = {rayjob.INSTANCE: WORK.name, "ray.io/node-type": "head"}
    pod: dict[str, Any] = {"kind": "Pod", "apiVersion": "v1", "spec": {
        "containers": [{"name": "ray-head"}, {"name": launched.SUBMITTER}]}, "status": {"containerStatuses": [
            {"name": "ray-head", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}}
    pod["metadata"] = {"name": "head-1", "labels": marks, "creationTimestamp": "2026-01-01T00:00:00Z"}
    server.objects["pods", "head-1"] = pod
    state = to.state(submission)
    assert (state.phase, state.detail) == (Phase.WAITING, "ImagePullBackOff: no such image")
    with pytest.raises(LauncherError, match=r"has no log: its pods are not there yet\. ImagePullBackOff"):
        list(to.log(submission, follow=False))

    pod["status"]["containerStatuses"] = [{"name": name, "state": {"running": {}}} for name in ("ray-head",
                                                                                                launched.SUBMITTER)]
    made["rayjobs"]["status"] = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Initializing", "jobId": "train-x"}
    server.logs["head-1"] = "step 1\nstep 2\n"
    assert to.state(submission).phase is Phase.RUNNING, "a cluster that is scaled stays Initializing while it works"
    assert list(to.log(submission, follow=True)) == ["step 1", "step 2"]
    to.cancel(submission)
    assert any(each.endswith("/pods/head-1/exec") for each in server.asked), (server.asked, "it was told to end first")
    assert not [key for key in server.objects if key[1] == WORK.name], "nothing of it is left"
    assert to.state(submission).phase is Phase.UNKNOWN
    to.cancel(submission)


def test_what_the_cluster_does_not_take_is_told_before_the_start(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(work: Work = WORK) -> str:
        with pytest.raises(AnchorfaceError) as told:
            Kubernetes().ready(work)
        return str(told.value)

    def asked(**change: object) -> Work:
        return replace(WORK, resources=replace(WORK.resources, **change))

    assert "3 nvidia.com/gpu on a node: the largest of the cluster's 1 nodes has 2" in refused(asked(gpus=3))
    queue = {"kind": "LocalQueue", "apiVersion": "kueue.x-k8s.io/v1beta1", "metadata": {"name": "research"}}
    server.objects["localqueues", "research"] = queue
    assert "there is no queue reserch in faces@test; there are research" in refused(asked(queue="reserch"))
    site = tmp_path / "site.toml"
    site.write_text('claim = "faces"\n')
    monkeypatch.setenv(launched.SITE, str(site))
    assert "there is no volume faces" in refused()
    monkeypatch.delenv(launched.SITE)
    server.forbidden |= {"nodes"}
    Kubernetes().ready(asked(gpus=3))
    server.missing |= {"ray.io"}
    shutil.rmtree(tmp_path / ".kube")
    assert "KubeRay is not installed" in refused()
    config = json.loads((tmp_path / "config").read_text())
    config["users"][0]["user"]["token"] = "another"
    (tmp_path / "config").write_text(json.dumps(config))
    said = refused()
    assert "does not know you" in said and "another" not in said
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "config").write_text(json.dumps(config))
    assert "no cluster answers" in refused()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs the program kubectl" in refused()
    assert not [key for key in server.objects if key[1] == WORK.name]


def test_a_field_that_kuberay_does_not_know_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rayjob.ray_job
    monkeypatch.setattr(rayjob, "ray_job", lambda *words: real(*words) | {"spce": {}})
    with pytest.raises(LauncherError, match="spce"):
        Kubernetes().ready(WORK)


def test_the_base_is_what_kustomize_builds_and_kubernetes_knows() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    built = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, check=True).stdout
    made = {each["kind"]: each for each in yaml.safe_load_all(built)}
    for kind, each in made.items():
        if kind != "PodMonitor":
            kubernetes_validate.validate(each, VERSION, strict=True)
    allowed = {(resource, verb) for rule in made["Role"]["rules"] for resource in rule["resources"]
               for verb in rule["verbs"]}
    assert {("rayjobs", "create"), ("rayjobs", "delete"), ("networkpolicies", "create"), ("secrets", "create"),
            ("pods/log", "get"), ("pods/exec", "create")} <= allowed and ("secrets", "get") not in allowed


@pytest.mark.parametrize(
    ("status", "phase"),
    [({}, Phase.WAITING), ({"jobDeploymentStatus": "Initializing"}, Phase.WAITING),
     ({"jobDeploymentStatus": "Suspended"}, Phase.WAITING), ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"},
                                                             Phase.WAITING),
     ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, Phase.RUNNING),
     ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, Phase.SUCCEEDED),
     ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, Phase.CANCELLED),
     ({"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}, Phase.WAITING),
     ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "too long"}, Phase.FAILED),
     ({"jobDeploymentStatus": "ValidationFailed"}, Phase.FAILED)])
def test_every_status_of_a_job_has_a_meaning(status: dict[str, str], phase: Phase) -> None:
    assert state_of(status).phase is phase
    assert "too long" in state_of(status).detail or "message" not in status


def test_a_pod_that_finds_no_node_says_why() -> None:
    pods = [{"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}}]
    assert reason_of(pods) == "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    starting = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    assert reason_of([{"status": {"containerStatuses": [starting]}}]) == ""


def test_quantities_are_numbers() -> None:
    assert [amount(text) for text in ("3920m", "8", "16Gi", "1k")] == [3.92, 8.0, 16 * 2**30, 1000.0]
    with pytest.raises(LauncherError, match="nobody knows"):
        amount("8 apples")
    for asked in (Resources(cpus=8), Resources(feed_nodes=1, feed_cpus=8)):
        with pytest.raises(ConfigurationError, match="8 cpu on a node"):
            launched.require_nodes([{"cpu": "7910m"}], asked, Kubernetes().site)
