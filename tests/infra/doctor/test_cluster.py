"""The doctor on a real Ray of three nodes: all is well; a node has other code, sees another folder, may not write into
the bucket or takes no interface; one lacks the package; one is killed.

Each node is a process here; what it sees is made different by its environment and its mounts.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anchorface.infra.launch.ray import ROOT, files
from anchorface.training.tracking import connect
from tests.infra.launch.ray_cluster import BIN, HEAD, OTHERS, Cluster, ray_cluster
from tests.object_store import READER, SECRET, ObjectStore
from tests.training.mlflow_server import Server

pytest.importorskip("aiohttp_cors", reason="needs ray[default]: make cluster-environment")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
LACKS = 'import sys\nsys.meta_path = [each for each in sys.meta_path if "anchorface" not in repr(each)]\n'
"""A `sitecustomize` with which Python does not find the package any more."""
MOUNTS = 'mount --bind "$1" "$2" && mount --bind "$3" "$3" && mount -o remount,bind,ro "$3" && shift 3 && exec "$@"'


def doctor(cluster: Cluster, *words: str, **variables: str) -> tuple[int, str]:
    """Its exit status, and all that it prints."""
    environment = os.environ | cluster.variables | {"RAY_ADDRESS": cluster.address, "COLUMNS": "400"} | variables
    environment.pop("RAY_API_SERVER_ADDRESS")
    done = subprocess.run([BIN / "anchorface", "doctor", "--cluster", *words], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return done.returncode, done.stdout


def rows(text: str) -> list[str]:
    """The rows of the table, each in a line with single spaces."""
    found: list[str] = []
    topic = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if len(cells) == 4 and cells[2]:
            topic = cells[0] or topic
            found.append(" ".join([topic, *cells[1:]]))
        elif len(cells) == 4:
            found[-1] += " " + cells[3]
    return found


def row(text: str, *words: str) -> str:
    """The one row with all these words."""
    found = [each for each in rows(text) if all(word in each for word in words)]
    assert len(found) == 1, (words, found, text)
    return found[0]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_all_is_well_on_three_nodes_then_one_is_killed(
    short: Path, tmp_path: Path, server: Server, bucket: str, buckets: ObjectStore
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with ray_cluster(short) as cluster:
        begun = time.monotonic()
        status, text = doctor(cluster, "--folder", str(folder), "--folder", bucket, "--tracking", server.uri)
        seconds = time.monotonic() - begun
        assert status == 0 and "the cluster is as work needs it" in text, text
        assert all(" ok " in each for each in rows(text) if "anchorface" not in each), text  # others of this machine's
        names = [each.partition(" ok ")[0] for each in rows(text) if each.startswith("nodes ")]
        host = socket.gethostname()
        assert names == ["nodes all", *(f"nodes {host} ({address})" for address in (HEAD, *OTHERS))], text
        row(text, "code", "on 3 nodes and here")
        row(text, str(folder), "from here and by 3 nodes")
        row(text, bucket, "from here and by 3 nodes")
        row(text, "tracking", "it answers 3 nodes; a run with a file was written and deleted")
        row(text, "pairs", "each of 3 nodes reaches the others")
        assert "GiB/s" in row(text, "gloo", "all_reduce of 64 MiB over 3 nodes is right", "interface")
        assert SECRET not in text
        print(f"three nodes, two places and a server: {seconds:.1f} s")
        print(text)
        assert list(folder.iterdir()) == []
        assert [each.name for each in connect(server.uri).search_experiments()] == ["Default"]
        left = [" ".join(process.cmdline()) for node in OTHERS for process in cluster.processes(node)]
        assert not [each for each in left if each.startswith(("ray::Node", "ray::Rank"))]
        server.kill()
        cluster.kill(OTHERS[1])
        status, text = doctor(cluster, "--tracking", server.uri)
        print(text)
        assert status == 1, text
        assert any(OTHERS[1] in each and (" fault " in each or " note " in each) for each in rows(text)), text
        assert any(each.startswith("tracking") and " fault " in each and "servers up" in each for each in rows(text))
        row(text, "pairs", "each of 2 nodes reaches the others")
        row(text, "gloo", "over 2 nodes is right")


def other_code(folder: Path) -> None:
    """A copy of the package with another state of its code."""
    for path in files():
        if path.endswith((".py", ".toml", ".lock")):
            (folder / "anchorface" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, folder / "anchorface" / path)
    with (folder / "anchorface" / "records" / "nouns.py").open("a") as file:
        file.write("# another state\n")


def test_each_fault_of_a_node_is_named_with_its_remedy(
    short: Path, tmp_path: Path, bucket: str
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounts of a node's own need root (unshare --mount)")
    places = {name: tmp_path / name for name in ("shared", "empty", "read-only", "other", "lacks")}
    for place in places.values():
        place.mkdir()
    other_code(places["other"])
    (places["lacks"] / "sitecustomize.py").write_text(LACKS)
    mounts = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(places["empty"]), str(places["shared"]),
              str(places["read-only"])]
    sick = {OTHERS[0]: ["env", f"PYTHONPATH={places['other']}", f"AWS_ACCESS_KEY_ID={READER}",
                        "GLOO_SOCKET_IFNAME=none0", *mounts],
            OTHERS[1]: ["env", f"PYTHONPATH={places['lacks']}"]}
    with ray_cluster(short, sick) as cluster:
        status, text = doctor(cluster, "--folder", str(places["shared"]), "--folder", str(places["read-only"]),
                              "--folder", bucket)
        print(text)
    assert status == 1, text
    ill, lacking = OTHERS
    assert "install anchorface" in row(text, "nodes", lacking, "fault", "No module named 'anchorface'")
    assert "install the same state" in row(text, "code", "fault", ill)
    assert "mount the same folder" in row(text, str(places["shared"]), "fault", ill, "the file is not there")
    assert "mount the same folder" in row(text, str(places["read-only"]), "fault", ill, "Read-only file system")
    assert "AWS_ACCESS_KEY_ID" in row(text, bucket, "fault", ill)
    assert "GLOO_SOCKET_IFNAME" in row(text, "gloo", "fault", ill, "none0")
    assert SECRET not in text
    assert not [path for name in ("shared", "read-only", "empty") for path in places[name].iterdir()]
