"""A Ray of one's own: heard by nobody else, seen by nobody else, quiet, short of path, and gone at the end."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SAYS = """
import os, stat, sys, psutil, ray
from pathlib import Path
from anchorface.pipelines.stages.cluster import connect
connect(num_cpus=1)
folder = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
mine = [p for p in psutil.process_iter() if p.pid == os.getpid() or p.ppid() == os.getpid()]
mine += [child for p in mine for child in p.children(recursive=True)]
heard = {c.laddr.ip for p in mine for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
modes = {stat.S_IMODE(folder.stat().st_mode)}
umask = ray.get(ray.remote(num_cpus=0)(lambda: os.umask(0)).remote())
print(folder, sorted(heard), [oct(mode) for mode in modes], oct(umask))
"""


def test_it_is_private_on_loopback_quiet_and_gone_even_where_tmpdir_is_long(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, timeout=400,
                          env=environment | {"TMPDIR": str(long), "HOME": str(home)})
    assert done.returncode == 0, done.stderr
    folder, said = done.stdout.strip().split(" ", 1)
    assert set(eval(said[: said.index("]") + 1])) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert said.endswith("['0o700'] 0o77")
    assert [text for text in done.stderr.splitlines() if "Ray did not start" not in text] == []
    assert not Path(folder).exists() and not list(long.iterdir()) and not list(home.rglob("auth_token"))


CHOOSES = """
import json, os, sys, time
import ray
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.stage import Part

class Says:
    def __call__(self, name, payload):
        time.sleep(payload)
        return {f"{sys.argv[2]}/{name}.txt": str(os.getpid()).encode()}, {"parts": 1}

seconds = json.loads(sys.argv[3])
parts = [Part(name=stage.part_name(n), rows=1, inputs="", payload=json.dumps(each)) for n, each in enumerate(seconds)]
counts = stage.run(sys.argv[1], sys.argv[2], parts, Says, settings={})
print(json.dumps([os.getpid(), ray.is_initialized(), counts]))
"""


def chooses(out: Path, seconds: list[float], **environment: str) -> "subprocess.Popen[str]":
    """A process that does a stage whose parts take so many seconds."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    words = [sys.executable, "-c", CHOOSES, str(out), "said", json.dumps(seconds)]
    return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain | environment)


def test_small_work_is_done_without_ray(tmp_path: Path) -> None:
    process = chooses(tmp_path, [0.1, 0.1, 0.1], RAY_GCS_SERVER_PORT="none: whoever starts Ray fails")
    said, complaints = process.communicate(timeout=200)
    pid, started, counts = json.loads(said)
    assert not started and counts == {"parts": 3} and complaints == ""
    assert {path.read_text() for path in (tmp_path / "said").iterdir()} == {str(pid)}


def test_ray_that_does_not_start_is_an_error_in_one_sentence_after_three_tries(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    process = chooses(tmp_path, [3.0, 0, 0, 0, 0], RAY_GCS_SERVER_PORT="no number", TMPDIR=str(tmp_path / "tmp"))
    said, complaints = process.communicate(timeout=200)
    assert process.returncode == 1 and said == "" and complaints.count("Ray did not start (") == 2
    assert "ConfigurationError: Ray did not start here in 3 tries (invalid literal" in complaints
    assert len(list((tmp_path / "said").iterdir())) == 1, "what was done before stays"
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.timeout(300)
def test_large_work_is_ray_s_and_a_start_that_fails_gets_another_try(tmp_path: Path) -> None:
    """The port of Ray's own is taken until it has been tried once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = chooses(
            tmp_path, [3.0, 0, 0, 0, 0], RAY_GCS_SERVER_PORT=str(taken.getsockname()[1]),
            RAY_py_gcs_connect_timeout_s="1", RAY_gcs_server_request_timeout_seconds="1")
        assert process.stderr is not None
        tries = next(line for line in process.stderr if line.startswith("Ray did not start ("))
    said, complaints = process.communicate(timeout=200)
    assert tries.endswith("try 2 of 3\n") and process.returncode == 0 and "Ray did not start" not in complaints
    pid, started, counts = json.loads(said)
    done = [path.read_text() for path in sorted((tmp_path / "said").iterdir())]
    assert started and counts == {"parts": 5} and done[0] == str(pid) and str(pid) not in done[1:]
