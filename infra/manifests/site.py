"""What a team's Kubernetes has for this work: a Site, read from a TOML file.

    namespace = "faces"
    claim = "faces"                 # a volume that all pods share, mounted at /data
    secrets = ["bucket"]            # of the namespace: their keys become variables of every pod
    [gpu_nodes]
    "cloud.google.com/gke-accelerator" = "nvidia-h100-80gb"
"""

import json
import re
import tomllib
from dataclasses import dataclass, field
from typing import Annotated

from anchorface.records import ConfigurationError
from anchorface.records.bounds import Bounds, check
from anchorface.records.state import parsed
from anchorface.records.storage import read_bytes

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Of an object of Kubernetes (RFC 1123)."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """namespace: where everything stands; empty: that of kubectl's context. context: of kubectl's; empty: the current.
    claim: a PersistentVolumeClaim that many nodes may write, mounted at `mount`, where relative paths begin; empty: all
    paths are URIs. secrets: Secrets of the namespace whose keys become variables of every pod. pull_secret: for the
    image. gpu: what a GPU is called. cpu_nodes, gpu_nodes: labels of the nodes for pods without and with GPUs.
    nodes_on_demand: nodes are made when they are asked for, so that those which stand say nothing of what can be had.
    scratch_gib: of a pod's disk for what Ray spills; 0: no limit. head_cpus, head_memory_gib: of the pod that drives
    the work and carries none of it. redis, redis_secret: host:port, and a Secret with the key `password`, where a
    standing cluster keeps what survives its head.
    """

    namespace: str = ""
    context: str = ""
    claim: str = ""
    mount: str = "/data"
    secrets: tuple[str, ...] = ()
    pull_secret: str = ""
    gpu: str = "nvidia.com/gpu"
    cpu_nodes: dict[str, str] = field(default_factory=dict)
    gpu_nodes: dict[str, str] = field(default_factory=dict)
    nodes_on_demand: bool = False
    scratch_gib: Annotated[int, Bounds(0, 10**6)] = 0
    head_cpus: Annotated[int, Bounds(1, 4096)] = 2
    head_memory_gib: Annotated[int, Bounds(1, 10**6)] = 8
    redis: str = ""
    redis_secret: str = ""

    def __post_init__(self) -> None:
        check(self, "site: ")
        named = {"namespace": self.namespace, "claim": self.claim, "pull_secret": self.pull_secret,
                 "redis_secret": self.redis_secret} | {f"secrets: {name}": name for name in self.secrets}
        for key, name in named.items():
            if name and not NAME.fullmatch(name):
                raise ConfigurationError(f"site: {key} {name!r}: no name of an object of Kubernetes")
        if not self.mount.startswith("/") or self.mount == "/":
            raise ConfigurationError(f"site: mount {self.mount!r}: an absolute path below / is needed")
        if bool(self.redis) != bool(self.redis_secret):
            raise ConfigurationError("site: redis and redis_secret belong together")


def read_site(place: str) -> Site:
    """A site from a TOML file; the empty site if `place` is empty.

    Raises:
        DataError: it is no TOML, or not of this form. ConfigurationError: a value cannot be. StorageError: it cannot be
        read.
    """
    if not place:
        return Site()
    try:
        said = tomllib.loads(read_bytes(place).decode())
    except ValueError as error:  # of the TOML, or of its text
        raise ConfigurationError(f"{place}: not TOML ({error})") from error
    return parsed(json.dumps(said, default=str), Site, place)
