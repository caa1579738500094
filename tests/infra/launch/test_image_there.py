"""Whether an image is there is asked of a real registry."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from anchorface.infra.launch.images import require_image
from anchorface.records import ConfigurationError
from tests.infra.launch.slurm_cluster import free_ports


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The host and port of a registry that has `faces/anchorface:1` and nothing else."""
    if not shutil.which("docker-registry"):
        pytest.skip("needs Debian's docker-registry")
    (port,) = free_ports(1)
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "kept")}},
                "http": {"addr": f"127.0.0.1:{port}"}, "log": {"level": "error"}}
    (tmp_path / "registry.json").write_text(json.dumps(settings))
    with open(tmp_path / "said", "wb") as said, subprocess.Popen(
            ["docker-registry", "serve", tmp_path / "registry.json"], stdout=said, stderr=said) as process:
        try:
            push(f"http://127.0.0.1:{port}/v2/faces/anchorface", "1")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def push(place: str, tag: str) -> None:
    """The smallest image: a configuration and no layer."""
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    for _ in range(100):
        try:
            begun = requests.post(f"{place}/blobs/uploads/", timeout=10)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    requests.put(begun.headers["Location"], params={"digest": digest}, data=config, timeout=10).raise_for_status()
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config), "digest": digest}}
    requests.put(f"{place}/manifests/{tag}", data=json.dumps(manifest), headers={"Content-Type": kind},
                 timeout=10).raise_for_status()


def test_an_image_that_is_missing_is_refused(registry: str) -> None:
    require_image(f"{registry}/faces/anchorface:1")
    for wrong in ("faces/anchorface:2", "faces/anchorface", "faces/other:1", f"faces/anchorface@sha256:{'0' * 64}"):
        with pytest.raises(ConfigurationError, match="has no such image"):
            require_image(f"{registry}/{wrong}")


def test_what_cannot_be_known_from_here_is_left_open() -> None:
    (port,) = free_ports(1)
    for image in ("anchorface", "faces/anchorface:1", f"127.0.0.1:{port}/faces/anchorface:1"):
        require_image(image)
