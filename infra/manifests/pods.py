"""Pods of a Ray cluster: the head, workers without GPUs, workers with.

KubeRay puts `ray start` into the first container, takes Ray's CPUs, GPUs and memory from its limits, and adds /dev/shm
for the object store, as large as the memory.
"""

from typing import Any

from anchorface.infra.launch.resources import GRACE
from anchorface.infra.manifests.site import Site

USER = 1000
"""Of the image (infra/images); no process is root."""
SPOT = {
    "cloud.google.com/gke-spot": "true", "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot", "kubernetes.azure.com/scalesetpriority": "spot",
}
"""Labels, and keys of taints, of nodes that may be taken away: Google's, Amazon's two and Azure's."""
AGENT, DASHBOARD, METRICS = 52365, 8265, 8080
PORTS = {"gcs-server": 6379, "dashboard": DASHBOARD, "client": 10001, "as-metrics": 44217, "dash-metrics": 44227}
"""Of the head, beside its metrics: the last two are the metrics of the autoscaler and of the dashboard."""
HEALTH = {"httpGet": {"path": "/api/healthz", "port": AGENT}}
"""Of Ray's agent on every node, for all that the node runs, without a token (Ray 2.53 and later)."""


def pod(
    site: Site, labels: dict[str, str], *, image: str, cpus: int, memory_gib: int, gpus: int = 0, head: bool = False,
    spot: bool = False, autoscaled: bool = False, variables: list[dict[str, Any]] | None = None,
    variables_from: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A pod template.

    Args:
        labels: of the pod. spot: it may stand on a node that is taken away. autoscaled: Ray's autoscaler stands beside
            it and speaks to the API server. variables: name and value of each. variables_from: Secrets whose keys are
            variables.
    """
    amounts = {"cpu": str(cpus), "memory": f"{memory_gib}Gi"} | ({site.gpu: str(gpus)} if gpus else {})
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": f"{site.scratch_gib}Gi"} if site.scratch_gib else {}}]
    mounts = [{"name": "scratch", "mountPath": "/tmp"}]
    if site.claim:
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": site.claim}})
        mounts.append({"name": "shared", "mountPath": site.mount})
    ports = {"metrics": METRICS} | (PORTS if head else {})
    container: dict[str, Any] = {
        "name": "ray-head" if head else "ray-worker",
        "image": image,
        "env": variables or [],
        "envFrom": [{"secretRef": {"name": name}} for name in (*site.secrets, *variables_from)],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": mounts,
        # The first probe waits for imports; the others leave a busy node two minutes, so that work is not ended for it.
        "startupProbe": HEALTH | {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 120},
        "readinessProbe": HEALTH | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 12},
        "livenessProbe": HEALTH | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 12},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "volumes": volumes,
        "terminationGracePeriodSeconds": GRACE,
        "automountServiceAccountToken": autoscaled,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if site.pull_secret:
        spec["imagePullSecrets"] = [{"name": site.pull_secret}]
    if nodes := site.gpu_nodes if gpus else site.cpu_nodes:
        spec["nodeSelector"] = dict(nodes)
    taints = [*([site.gpu] if gpus else []), *(SPOT if spot else {})]
    if taints:
        spec["tolerations"] = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in taints]
    if spot:
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}}
            for key, value in SPOT.items()]}}
    return {"metadata": {"labels": labels}, "spec": spec}
