"""KubeRay's RayJob and RayCluster, and the policy of their network, from the same Resources.

In: Work, or a name with Resources; a Site. Out: dictionaries of Kubernetes' API, ready for YAML. Of KubeRay 1.7, with
the features that it switches on by itself.

A work is one RayJob: a head that drives, `nodes` workers that carry, `feed_nodes` workers without GPUs beside them. The
command is data in a variable of the head; the values of passed variables come from a Secret of the work's name.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from anchorface.infra.launch.order import ENTRYPOINT, ORDER, order
from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.work import Work
from anchorface.infra.manifests.pods import DASHBOARD, METRICS, PORTS, pod
from anchorface.infra.manifests.site import NAME, Site
from anchorface.records import ConfigurationError

RAY = "2.60.0"
"""Of pyproject.toml."""
ELASTIC = ("curate", "evaluate", "restore")
"""Verbs whose tasks fill however many nodes there are; training takes its workers at the start."""
AGAIN = 2
"""How often work on nodes that may be taken away is begun again in a new cluster (our choice)."""
LATE = 1800
"""Seconds beyond the time that was asked for, for nodes and images, until KubeRay ends a job by force (our choice)."""
KEPT = 86_400
"""Seconds for which a finished job's head stays, so that its log can be read; workers go at once."""
LONGEST = 47
"""Of a RayJob's name."""
INSTANCE = "app.kubernetes.io/instance"
QUEUE = "kueue.x-k8s.io/queue-name"


def labels(name: str) -> dict[str, str]:
    """Of everything that belongs to one piece of work. KubeRay finds its pods by app.kubernetes.io/name, so that one is
    left to it."""
    return {"app.kubernetes.io/part-of": "anchorface", INSTANCE: name}


def ray_job(work: Work, site: Site) -> dict[str, Any]:
    """A RayJob that carries the work out.

    Raises:
        ConfigurationError: resources that Kubernetes needs are not given, or a word of the command holds a password.
    """
    asked = work.resources
    variables = {ORDER: order(work, site.mount if site.claim else "/"), "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE)}
    scaled = work.command[0] in ELASTIC and asked.nodes > 1 and not asked.queue
    spec: dict[str, Any] = {
        "entrypoint": ENTRYPOINT,
        "submissionMode": "SidecarMode",
        "backoffLimit": AGAIN if asked.preemptible else 0,
        "rayClusterSpec": cluster_spec(work.name, asked, site, scaled=scaled, variables=variables,
                                       variables_from=(work.name,) if work.environment else ()),
    }
    if asked.minutes:
        spec["activeDeadlineSeconds"] = asked.minutes * 60 + LATE
    if asked.queue:
        spec |= {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 60}  # Kueue wants the first
    else:
        spec["deletionStrategy"] = {"deletionRules": deletion_rules(scaled)}
    about = {"anchorface/commit": work.code.commit, "anchorface/tree": work.code.tree,
             "anchorface/changed": ", ".join(work.code.changed)}
    marks = labels(work.name) | ({QUEUE: asked.queue} if asked.queue else {})
    return _object("ray.io/v1", "RayJob", work.name, site, spec, marks, about)


def deletion_rules(scaled: bool) -> list[dict[str, Any]]:
    """Workers go when a job is over, the head after KEPT seconds; KubeRay cannot take an autoscaler's workers from it,
    which lets idle ones go by itself."""
    times = {"DeleteCluster": KEPT} if scaled else {"DeleteWorkers": 0, "DeleteCluster": KEPT}
    # The third: a job that never ran.
    ends = ({"jobStatus": "SUCCEEDED"}, {"jobStatus": "FAILED"}, {"jobDeploymentStatus": "Failed"})
    return [{"policy": policy, "condition": end | {"ttlSeconds": seconds}}
            for policy, seconds in times.items() for end in ends]


def ray_cluster(name: str, asked: Resources, site: Site) -> dict[str, Any]:
    """A RayCluster that stands until it is deleted, for `--on ray`; it survives its head where the site has a Redis."""
    spec = cluster_spec(name, asked, site, scaled=not asked.queue)
    if site.redis:
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": site.redis, "externalStorageNamespace": name,
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": site.redis_secret, "key": "password"}}}}
    marks = labels(name) | ({QUEUE: asked.queue} if asked.queue else {})
    return _object("ray.io/v1", "RayCluster", name, site, spec, marks)


def cluster_spec(
    name: str, asked: Resources, site: Site, *, scaled: bool, variables: Mapping[str, str] | None = None,
    variables_from: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The Ray cluster of a job, or one that stands.

    Args:
        scaled: Ray's autoscaler decides how many workers there are, from one (of the feed: none) to what is asked for.
        variables: of the head alone. variables_from: Secrets of every pod.

    Raises:
        ConfigurationError: no image, CPUs or memory.
    """
    for option, given in {"image": asked.image, "cpus": asked.cpus, "memory": asked.memory_gib}.items():
        if not given:
            raise ConfigurationError(f"kubernetes: --{option} is needed: pods have what they ask for")
    asked.none_of("kubernetes", "account")
    if asked.feed_nodes and not asked.feed_cpus:
        raise ConfigurationError("kubernetes: --feed-cpus is needed with --feed-nodes")
    marks = labels(name)
    driving = [{"name": key, "value": value} for key, value in (variables or {}).items()]
    workers = pod(site, marks, image=asked.image, cpus=asked.cpus, memory_gib=asked.memory_gib, gpus=asked.gpus,
                  spot=asked.preemptible, variables_from=variables_from)
    groups = [_group("gpu" if asked.gpus else "cpu", workers, least=1 if scaled else asked.nodes, most=asked.nodes)]
    if asked.feed_nodes:
        feed = pod(site, marks, image=asked.image, cpus=asked.feed_cpus, memory_gib=asked.memory_gib,
                   spot=asked.preemptible, variables_from=variables_from)
        groups.append(_group("feed", feed, least=0 if scaled else asked.feed_nodes, most=asked.feed_nodes))
    spec: dict[str, Any] = {
        "rayVersion": RAY,
        "authOptions": {"mode": "token"},  # KubeRay makes the token, and a Secret of it for the pods
        "enableInTreeAutoscaling": scaled,
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
            "template": pod(site, marks, image=asked.image, cpus=site.head_cpus, memory_gib=site.head_memory_gib,
                            head=True, autoscaled=scaled, variables=driving, variables_from=variables_from)},
        "workerGroupSpecs": groups,
    }
    if scaled:
        spec["autoscalerOptions"] = {
            "version": "v2", "idleTimeoutSeconds": 300,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    return spec


def network_policy(name: str, site: Site) -> dict[str, Any]:
    """Who reaches the pods of a work: they each other, KubeRay's operator the dashboard, Prometheus the metrics; nobody
    else. What they reach is not limited: buckets and servers stand outside."""
    anywhere: dict[str, Any] = {"namespaceSelector": {}}

    def ports(*numbers: int) -> list[dict[str, Any]]:
        return [{"protocol": "TCP", "port": number} for number in numbers]

    operator = anywhere | {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}}}
    prometheus = anywhere | {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}
    spec = {
        "podSelector": {"matchLabels": labels(name)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": labels(name)}}]},
            {"from": [operator], "ports": ports(DASHBOARD)},
            {"from": [prometheus], "ports": ports(METRICS, PORTS["as-metrics"], PORTS["dash-metrics"])},
        ],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, site, spec, labels(name))


def secret(work: Work, values: Mapping[str, str], site: Site) -> dict[str, Any]:
    """The variables that a work passes on; its pods refer to them by name."""
    made = _object("v1", "Secret", work.name, site, {}, labels(work.name))
    del made["spec"]
    return made | {"type": "Opaque", "stringData": {name: values[name] for name in work.environment if name in values}}


def text(manifest: dict[str, Any]) -> str:
    """A manifest as YAML, its keys in the order in which they were made."""
    return str(yaml.safe_dump(manifest, sort_keys=False, width=120))


def _group(name: str, template: dict[str, Any], *, least: int, most: int) -> dict[str, Any]:
    return {"groupName": name, "replicas": least, "minReplicas": least, "maxReplicas": most, "rayStartParams": {},
            "template": template}


def _object(
    version: str, kind: str, name: str, site: Site, spec: dict[str, Any], marks: dict[str, str],
    about: dict[str, str] | None = None,
) -> dict[str, Any]:
    if not NAME.fullmatch(name) or not name[0].isalpha() or len(name) > LONGEST:
        raise ConfigurationError(f"{name!r}: letters, digits and -, the first a letter, {LONGEST} at most, as KubeRay "
                                 "wants names")
    metadata: dict[str, Any] = {"name": name} | ({"namespace": site.namespace} if site.namespace else {})
    metadata |= {"labels": marks} | ({"annotations": about} if about else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
