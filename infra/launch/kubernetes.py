"""Kubernetes with KubeRay, through kubectl.

In: Work; kubectl's own configuration (KUBECONFIG), and a Site in the file that `ANCHORFACE_SITE` names. Out: a RayJob
of the work's name, with the policy of its network and the Secret of its variables, which go when it goes.

kubectl is started as a program, without a shell; what it sends are the manifests of `render`.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from anchorface.infra.launch.images import require_image
from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.submission import Phase, State, Submission, keep, now
from anchorface.infra.launch.work import Work, single
from anchorface.infra.manifests import rayjob
from anchorface.infra.manifests.site import Site, read_site
from anchorface.records import ConfigurationError, LauncherError
from anchorface.records.addresses import redacted

SITE = "ANCHORFACE_SITE"
SUBMITTER = "ray-job-submitter"
"""KubeRay's container in the head's pod that starts the job and prints its log."""
PATIENCE = 60
"""Seconds for an answer of kubectl."""
POLL = 2.0
PHASES = {"PENDING": Phase.WAITING, "RUNNING": Phase.RUNNING, "SUCCEEDED": Phase.SUCCEEDED, "STOPPED": Phase.CANCELLED}
FAILED = ("Failed", "ValidationFailed")
UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
         "Ti": 2**40}
AWAY = ("no cluster answers: is it up, and does `kubectl cluster-info` reach it? KUBECONFIG and `kubectl config "
        "use-context` choose another")
REMEDIES = (
    (r"connection refused|unable to connect|no such host|timeout|timed out|no route|was refused|unreachable|EOF", AWAY),
    (r"logged in|unauthorized|credential|token has|provide credentials", "the cluster does not know you: log in again, "
     "as its owners say; `kubectl auth whoami` shows who you are"),
    (r"no matches for kind|doesn't have a resource type|could not find the requested resource",
     "KubeRay is not installed in this cluster, or not for you: its owners install it by Helm (kuberay-operator 1.7)"),
    (r"forbidden", "you may not do this there: infra/manifests/base has the Role that is needed"),
    (r"context .* does not exist|no context exists|no configuration", "kubectl knows no such cluster: `kubectl config "
     "get-contexts` lists what it knows"),
)


class Kubernetes:
    """RayJobs of KubeRay."""

    def __init__(self) -> None:
        self.site = read_site(os.environ.get(SITE, ""))

    def render(self, work: Work) -> dict[str, str]:
        """The manifests; the Secret has `***` for every value."""
        made = manifests(work, self.site, dict.fromkeys(work.environment, "***"))
        return {f"{each['kind'].lower()}.yaml": rayjob.text(each) for each in made}

    def ready(self, work: Work) -> None:
        """kubectl is here, the cluster answers and takes the manifests as they are, and has queue, volume, Secrets and
        nodes. What one may not look at there is not known, and no fault."""
        made, place, asked = manifests(work, self.site, os.environ), self._place(), work.resources
        require_image(asked.image)
        if self._ask(place, "auth", "can-i", "create", "rayjobs.ray.io", fails=True).strip() != "yes":
            raise LauncherError(f"you may not create RayJobs in {place}: infra/manifests/base has the Role for it")
        for each in made:
            self._ask(place, "create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", sent=each)
        if asked.queue:
            self._require(place, "localqueues.kueue.x-k8s.io", asked.queue, "queue")
        if self.site.claim:
            self._require(place, "persistentvolumeclaims", self.site.claim, "volume")
        for name in filter(None, (*self.site.secrets, self.site.pull_secret)):
            self._require(place, "secrets", name, "Secret")
        if not self.site.nodes_on_demand:
            with permitted():
                nodes = json.loads(self._ask(place, "get", "nodes", "-o", "json"))["items"]
                require_nodes([node["status"]["allocatable"] for node in nodes], asked, self.site)

    def submit(self, work: Work) -> Submission:
        """Create the RayJob, then what belongs to it."""
        made, place = manifests(work, self.site, os.environ), self._place()
        job = json.loads(self._ask(place, "create", "-o", "json", "-f", "-", sent=made[0]))
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": work.name, "uid": job["metadata"]["uid"]}
        try:
            for each in made[1:]:
                each["metadata"]["ownerReferences"] = [owner]
                self._ask(place, "create", "-o", "name", "-f", "-", sent=each)
        except LauncherError:
            self._ask(place, "delete", "rayjob", work.name, "--wait=false")
            raise
        return keep(Submission(launcher="kubernetes", id=work.name, name=work.name, command=work.command,
                               submitted=now(), address=place))

    def state(self, submission: Submission) -> State:
        """What KubeRay says of the job; while it waits, what its pods wait for."""
        job = self._job(submission)
        if job is None:
            return State(phase=Phase.UNKNOWN, detail="not in the cluster (any more): it was cancelled or deleted")
        found = state_of(job.get("status") or {})
        if found.phase is Phase.WAITING and not found.detail:
            return State(phase=Phase.WAITING, detail=reason_of(self._pods(submission)))
        return found

    def log(self, submission: Submission, follow: bool) -> Iterator[str]:
        """What the job prints. A finished job's is there for a day; in a queue of Kueue for a minute."""
        while not (head := self._head(submission)):
            state = self.state(submission)
            if not follow or state.phase is not Phase.WAITING:
                raise LauncherError(f"{submission.name} ({state.phase.value}) has no log: its pods are not there "
                                    f"{'yet' if state.phase is Phase.WAITING else 'any more'}. {state.detail}".strip())
            time.sleep(POLL)
        words = ["logs", head, "-c", SUBMITTER, *(["--follow"] if follow else [])]
        with subprocess.Popen(command(submission.address, *words), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as answer:
            try:
                assert answer.stdout and answer.stderr
                for line in answer.stdout:
                    yield line.rstrip("\n")
                if answer.wait():
                    raise refused(answer.stderr.read())
            finally:
                answer.terminate()

    def cancel(self, submission: Submission) -> None:
        """The job is told to end, with GRACE seconds for it; then all of it is deleted."""
        job = self._job(submission)
        if job is None:
            return
        head, running = self._head(submission), (job.get("status") or {}).get("jobId")
        if head and running and not state_of(job["status"]).phase.over:
            with contextlib.suppress(LauncherError):  # it ends in any case; this way in good order
                self._ask(submission.address, "exec", head, "-c", "ray-head", "--", "ray", "job", "stop", running,
                          patience=GRACE + PATIENCE)
        self._ask(submission.address, "delete", "rayjob", submission.id, "--ignore-not-found", "--cascade=foreground",
                  f"--timeout={GRACE + PATIENCE}s", patience=GRACE + 2 * PATIENCE)

    def _place(self) -> str:
        """`namespace@context`, as a submission keeps it. kubectl in a pod has no context."""
        asked = command(f"{self.site.namespace}@{self.site.context}", "config", "view", "--minify", "-o", "json")
        known = json.loads(run(asked, fails=True) or "{}")
        context = self.site.context or known.get("current-context") or ""
        there = [each["context"] for each in known.get("contexts") or () if each["name"] == context]
        return f"{self.site.namespace or (there and there[0].get('namespace')) or 'default'}@{context}"

    def _ask(self, place: str, *words: str, sent: dict[str, Any] | None = None, patience: float = PATIENCE,
             fails: bool = False) -> str:
        return run(command(place, *words), sent=rayjob.text(sent) if sent else "", patience=patience, fails=fails)

    def _job(self, submission: Submission) -> dict[str, Any] | None:
        said = self._ask(submission.address, "get", "rayjob", submission.id, "--ignore-not-found", "-o", "json")
        return dict(json.loads(said)) if said.strip() else None

    def _pods(self, submission: Submission, *which: str) -> list[dict[str, Any]]:
        chosen = ",".join((f"{rayjob.INSTANCE}={submission.name}", *which))
        said = self._ask(submission.address, "get", "pods", "-l", chosen, "-o", "json")
        return sorted(json.loads(said)["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _head(self, submission: Submission) -> str:
        """The pod of the newest head whose submitter has begun; empty if there is none."""
        for pod in reversed(self._pods(submission, "ray.io/node-type=head")):
            for each in pod["status"].get("containerStatuses", ()):
                if each["name"] == SUBMITTER and each["state"].keys() & {"running", "terminated"}:
                    return str(pod["metadata"]["name"])
        return ""

    def _require(self, place: str, kind: str, name: str, called: str) -> None:
        with permitted():
            if not self._ask(place, "get", kind, name, "--ignore-not-found", "-o", "name").strip():
                known = self._ask(place, "get", kind, "-o", "name").split()
                raise ConfigurationError(f"there is no {called} {name} in {place}; there are "
                                         + (", ".join(each.partition("/")[2] for each in known[:10]) or "none"))


def manifests(work: Work, site: Site, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """All that is created: the RayJob first, what belongs to it afterwards. values: of the variables passed on."""
    work = single(work, "kubernetes")
    made = [rayjob.ray_job(work, site), rayjob.network_policy(work.name, site)]
    return [*made, rayjob.secret(work, values, site)] if work.environment else made


def command(place: str, *words: str) -> list[str]:
    """kubectl's words. place: `namespace@context`, either may be empty."""
    namespace, _, context = place.partition("@")
    return ["kubectl", *([f"--namespace={namespace}"] if namespace else []),
            *([f"--context={context}"] if context else []), *words]


def run(words: list[str], *, sent: str = "", patience: float = PATIENCE, fails: bool = False) -> str:
    """What kubectl prints. sent: its standard input. fails: a refusal that it says on its standard output is an answer.

    Raises:
        ConfigurationError: there is no kubectl. LauncherError: what it or the cluster refuses, with the remedy.
    """
    try:
        answer = subprocess.run(words, input=sent, capture_output=True, text=True, timeout=patience)
    except FileNotFoundError:
        raise ConfigurationError("--on kubernetes needs the program kubectl, 1.27 or later: install it, and log in to "
                                 "the cluster with it") from None
    except subprocess.TimeoutExpired:
        raise LauncherError(f"kubectl {words[-1]}: no answer in {patience:g} seconds; {AWAY}") from None
    if answer.returncode and not (fails and answer.stdout.strip()):
        raise refused(answer.stderr)
    return answer.stdout


def refused(said: str) -> LauncherError:
    """The error for what kubectl says, with a remedy."""
    lines = [line for line in said.strip().splitlines() if not re.match(r"[EIW]\d{4} |Warning: ", line)]
    remedy = next((f"; {remedy}" for pattern, remedy in REMEDIES if re.search(pattern, said, re.IGNORECASE)), "")
    return LauncherError(f"kubectl: {redacted(' '.join(lines))[:500]}{remedy}")


@contextlib.contextmanager
def permitted() -> Iterator[None]:
    """What one may not look at is not known, and no fault."""
    try:
        yield
    except LauncherError as error:
        if "forbidden" not in str(error).lower():
            raise


def state_of(status: Mapping[str, Any]) -> State:
    """What the status of a RayJob means."""
    deployed, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    said = redacted(" ".join(filter(None, (status.get("reason"), status.get("message")))).partition("\n")[0][:300])
    if deployed in FAILED or (job == "FAILED" and deployed != "Retrying"):
        return State(phase=Phase.FAILED, detail=said)
    if deployed in ("Suspended", "Suspending"):
        return State(phase=Phase.WAITING, detail="in the queue")
    if deployed == "Retrying":
        return State(phase=Phase.WAITING, detail=f"is begun again. {said}".strip())
    return State(phase=PHASES.get(job, Phase.WAITING))


def reason_of(pods: list[dict[str, Any]]) -> str:
    """What the first pod that waits is waiting for; empty if none says."""
    for pod in pods:
        for each in pod["status"].get("conditions", ()):
            if each["type"] == "PodScheduled" and each["status"] == "False":
                return f"{each.get('reason', '')}: {each.get('message', '')}"[:300]
        for each in pod["status"].get("containerStatuses", ()):
            waits = each["state"].get("waiting", {})
            if waits.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{waits['reason']}: {waits.get('message', '')}"[:300]
    return ""


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number: `3920m` is 3.92, `16Gi` is 17179869184."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity)
    if not found or found[2] not in UNITS:
        raise LauncherError(f"the cluster gives a quantity that nobody knows: {quantity[:40]!r}")
    return float(found[1]) * UNITS[found[2]]


def require_nodes(nodes: list[dict[str, str]], asked: Resources, site: Site) -> None:
    """Refuse a pod that fits on no node.

    Args:
        nodes: what pods may have on each (`allocatable`).

    Raises:
        ConfigurationError: says what is asked for and what there is.
    """
    least = {site.gpu: asked.gpus, "cpu": max(asked.cpus, asked.feed_cpus), "memory": asked.memory_gib * 2**30}
    for name, wanted in least.items():
        most = max((amount(node.get(name, "0")) for node in nodes), default=0.0)
        if wanted > most:
            unit, called = (2**30, "memory GiB") if name == "memory" else (1, name)
            raise ConfigurationError(
                f"{wanted / unit:g} {called} on a node: the largest of the cluster's {len(nodes)} nodes has "
                f"{most / unit:g}; ask for less on more nodes, or say nodes_on_demand in the site file if nodes are "
                "made when they are asked for")
