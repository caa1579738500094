"""What Kubernetes is asked for is valid by KubeRay's CRDs and Kubernetes' own schemas, field by field."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from anchorface.infra.launch import LAUNCHERS, launcher
from anchorface.infra.launch.kubernetes import manifests
from anchorface.infra.launch.order import ORDER, Order
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.work import Code, Work
from anchorface.infra.manifests import rayjob
from anchorface.infra.manifests.site import Site, read_site
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.state import parsed
from tests.infra.launch.schemas import check

SITE = Site(namespace="faces", claim="faces", secrets=("bucket",), pull_secret="registry", redis="redis:6379",
            redis_secret="redis", gpu_nodes={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}, scratch_gib=200)
IMAGE = "registry.example/anchorface:1"
RUNS = {
    "curate": Resources(nodes=8, cpus=16, memory_gib=64, image=IMAGE, preemptible=True),
    "train": Resources(nodes=4, cpus=32, gpus=8, memory_gib=512, feed_nodes=4, feed_cpus=32, image=IMAGE, minutes=600,
                       queue="research"),
    "sweep": Resources(nodes=2, cpus=16, gpus=4, memory_gib=128, image=IMAGE, preemptible=True, minutes=120),
    "evaluate": Resources(cpus=8, gpus=1, memory_gib=64, image=IMAGE),
    "restore": Resources(nodes=16, cpus=8, gpus=1, memory_gib=32, image=IMAGE, preemptible=True),
}


def work(verb: str, resources: Resources, *words: str, environment: tuple[str, ...] = ()) -> Work:
    code = Code(commit="c0ffee", tree="0.1.0 abc", changed=("cli/app.py",))
    return Work(name=f"{verb}-12ab34", command=(verb, *words), resources=resources, environment=environment, code=code,
                folder="/home/me")


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [each for group in groups for each in group["template"]["spec"]["containers"]]


@pytest.mark.parametrize("verb", RUNS)
@pytest.mark.parametrize("site", [SITE, Site()], ids=["a site", "no site"])
def test_the_manifests_of_five_kinds_of_run_are_valid(shared_data: Path, verb: str, site: Site) -> None:
    asked = work(verb, RUNS[verb], "s3://bucket/run", environment=("AWS_SECRET_ACCESS_KEY",))
    made = manifests(asked, site, {"AWS_SECRET_ACCESS_KEY": "s3cret"})
    assert [each["kind"] for each in made] == ["RayJob", "NetworkPolicy", "Secret"]
    for each in (*made, rayjob.ray_cluster("team", RUNS[verb], site)):
        check(each, shared_data / "schemas")
        assert yaml.safe_load(rayjob.text(each)) == each
    assert "s3cret" not in json.dumps(made[:2]), "pods refer to a secret, and do not hold it"


def test_every_launcher_is_there() -> None:
    for name, called in LAUNCHERS.items():
        assert type(launcher(name)).__name__ == called
    assert set(LAUNCHERS) == {"local", "ray", "slurm", "kubernetes"}


def test_an_unknown_field_is_an_error_wherever_it_stands(shared_data: Path) -> None:
    schemas = shared_data / "schemas"
    pod = ("rayClusterSpec", "headGroupSpec", "template", "spec")
    for path in ((), pod[:1], pod, ("deletionStrategy",)):
        job = rayjob.ray_job(work("evaluate", RUNS["evaluate"]), SITE)
        place = job["spec"]
        for key in path:
            place = place[key]
        place["noSuchField"] = 1
        with pytest.raises(jsonschema.ValidationError, match="noSuchField"):
            check(job, schemas)
    policy = rayjob.network_policy("train-12ab34", SITE)
    policy["spec"]["ingres"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="ingres"):
        check(policy, schemas)


def test_the_command_reaches_the_head_as_data_and_nothing_else_does(shared_data: Path) -> None:
    words = ("s3://b/$(id)", "--set", "name=\"it's\" `x` $HOME", "é\n")
    job = rayjob.ray_job(work("train", RUNS["train"], *words), SITE)
    assert job["spec"]["entrypoint"] == "python -P -m anchorface.infra.launch.inside"
    assert "runtimeEnvYAML" not in job["spec"]
    head, *workers = containers(job)
    variables = {each["name"]: each["value"] for each in head["env"]}
    assert "$" not in variables[ORDER], "Kubernetes would expand it"
    assert parsed(variables[ORDER], Order, "order") == Order(
        command=("train", *words), folder="/data", seconds=600 * 60 - 120, tree="0.1.0 abc", kept_back=())
    assert not any(each["env"] for each in workers)
    with pytest.raises(ConfigurationError, match="password in an address") as told:
        rayjob.ray_job(work("train", RUNS["train"], "s3://key:s3cret-word@bucket/run"), SITE)
    assert "s3cret-word" not in str(told.value)


def test_resources_are_pods() -> None:
    job = rayjob.ray_job(work("train", RUNS["train"]), SITE)
    spec = job["spec"]["rayClusterSpec"]
    gpu, feed = spec["workerGroupSpecs"]
    assert (gpu["groupName"], gpu["minReplicas"], gpu["maxReplicas"]) == ("gpu", 4, 4)
    assert (feed["groupName"], feed["replicas"]) == ("feed", 4)
    head, worker, feeder = (each["resources"]["limits"] for each in containers(job))
    assert head == {"cpu": "2", "memory": "8Gi"} and feeder == {"cpu": "32", "memory": "512Gi"}
    assert worker == {"cpu": "32", "memory": "512Gi", "nvidia.com/gpu": "8"}
    assert gpu["template"]["spec"]["nodeSelector"] == SITE.gpu_nodes and "nodeSelector" not in feed["template"]["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "the head drives, and carries nothing"
    assert spec["rayVersion"] == ray.__version__ and spec["authOptions"] == {"mode": "token"}


def test_kueue_gets_what_it_admits_and_the_others_keep_their_log() -> None:
    queued = rayjob.ray_job(work("train", RUNS["train"]), SITE)
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert queued["spec"]["shutdownAfterJobFinishes"] and "deletionStrategy" not in queued["spec"]
    assert not queued["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"]
    alone = rayjob.ray_job(work("sweep", RUNS["sweep"]), SITE)["spec"]
    rules = alone["deletionStrategy"]["deletionRules"]
    assert "shutdownAfterJobFinishes" not in alone and len(rules) == len({json.dumps(each) for each in rules}) == 6
    scaled = rayjob.ray_job(work("restore", RUNS["restore"]), SITE)["spec"]
    assert scaled["rayClusterSpec"]["enableInTreeAutoscaling"]
    assert scaled["rayClusterSpec"]["workerGroupSpecs"][0]["minReplicas"] == 1
    assert {each["policy"] for each in scaled["deletionStrategy"]["deletionRules"]} == {"DeleteCluster"}


@pytest.mark.parametrize("verb", RUNS)
def test_what_schemas_cannot_say_holds_too(verb: str) -> None:
    """The rules in the CRD's own language, and those of KubeRay's operator (controllers/ray/utils/validation.go)."""
    job = rayjob.ray_job(work(verb, RUNS[verb]), SITE)
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    assert not any("restartPolicy" in group["template"]["spec"] for group in groups), "Never, or left to KubeRay"
    assert not {"submitterPodTemplate", "submitterConfig", "clusterSelector"} & spec.keys(), "SidecarMode knows none"
    assert spec.get("ttlSecondsAfterFinished", 0) == 0 or spec["shutdownAfterJobFinishes"]
    assert bool(spec.get("shutdownAfterJobFinishes")) != ("deletionStrategy" in spec)
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    for rule in rules:
        assert len(rule["condition"].keys() & {"jobStatus", "jobDeploymentStatus"}) == 1
        assert rule["policy"] != "DeleteWorkers" or not cluster["enableInTreeAutoscaling"]
    kinds = [(rule["policy"], rule["condition"].get("jobStatus")) for rule in rules]
    assert len(set(kinds)) == len(kinds)
    assert len(job["metadata"]["name"]) <= 47 and cluster["rayVersion"] >= "2.52.0"


def test_only_workers_stand_on_nodes_that_are_taken_away() -> None:
    job = rayjob.ray_job(work("sweep", RUNS["sweep"]), SITE)
    spec = job["spec"]["rayClusterSpec"]
    (workers,) = spec["workerGroupSpecs"]
    keys = {each["key"] for each in workers["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot", "karpenter.sh/capacity-type"} < keys
    assert "tolerations" not in spec["headGroupSpec"]["template"]["spec"]
    assert job["spec"]["backoffLimit"] == 2 and job["spec"]["activeDeadlineSeconds"] > 120 * 60


@pytest.mark.parametrize("verb", RUNS)
def test_no_pod_is_root_or_open_to_the_network(verb: str) -> None:
    job = rayjob.ray_job(work(verb, RUNS[verb]), SITE)
    spec = job["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["terminationGracePeriodSeconds"] == 120
        scaling = spec["enableInTreeAutoscaling"] and group is spec["headGroupSpec"]
        assert pod["automountServiceAccountToken"] == scaling
        assert "serviceType" not in group, "a ClusterIP, the default"
        for each in pod["containers"]:
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert each[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}
    policy = rayjob.network_policy(job["metadata"]["name"], SITE)["spec"]
    marks = spec["headGroupSpec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= marks.items()
    assert all(rule["from"] for rule in policy["ingress"]), "an empty list would let everybody in"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"image": ""}, "--image is needed"), ({"cpus": 0}, "--cpus is needed"), ({"memory_gib": 0}, "--memory is needed"),
     ({"account": "mine"}, "knows no account"), ({"feed_nodes": 1}, "--feed-cpus is needed")])
def test_what_pods_need_is_asked_for(change: dict[str, Any], said: str) -> None:
    asked = Resources(**({"cpus": 1, "memory_gib": 4, "image": IMAGE} | change))
    with pytest.raises(ConfigurationError, match=said):
        rayjob.ray_job(work("train", asked), SITE)


@pytest.mark.parametrize(
    ("text", "said"),
    [("clam = 'x'", "unknown keys: 'clam'"), ("claim = 'A b'", "claim 'A b'"), ("= 1", "not TOML"),
     ("mount = 'data'", "an absolute path"), ("head_cpus = 0", "head_cpus"), ("redis = 'r:1'", "belong together")])
def test_a_wrong_site_is_told(tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "site.toml"
    place.write_text(text)
    with pytest.raises(AnchorfaceError, match=said):
        read_site(str(place))


def test_a_site_is_read(tmp_path: Path) -> None:
    place = tmp_path / "site.toml"
    place.write_text('claim = "faces"\nsecrets = ["bucket"]\n[gpu_nodes]\ngpu = "h100"\n')
    assert read_site(str(place)) == Site(claim="faces", secrets=("bucket",), gpu_nodes={"gpu": "h100"})
    assert read_site("") == Site()
