"""What a Ray cluster is asked for, and what is refused before it is asked; the first process of a job."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from anchorface.infra import supply
from anchorface.infra.launch import inside
from anchorface.infra.launch import ray as launched
from anchorface.infra.launch.order import ORDER, Order
from anchorface.infra.launch.ray import Ray
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.work import ROOMS, ROOT, Code, Work
from anchorface.records import ConfigurationError, LauncherError
from anchorface.records.lineage import code_hash
from anchorface.records.state import parsed

WORK = Work(name="train-12ab34", command=("train", "data", "it's $HOME", '"a" `b`'), resources=Resources(),
            code=Code(commit="c0ffee", tree="0.1.0 abc", changed=("cli/app.py",)), folder="/shared/me")


def test_a_request_holds_the_command_as_data_the_commit_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://bucket:9000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:s3cret-word@host/mlflow")
    asked = replace(WORK, environment=("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI"),
                    resources=Resources(minutes=10))
    sent = launched.request(asked, os.environ)
    assert "s3cret" not in json.dumps(sent)
    variables = sent["runtime_env"]["env_vars"]
    assert variables["AWS_ENDPOINT_URL"] == "http://bucket:9000" and variables["RAY_JOB_STOP_WAIT_TIME_S"] == "120"
    assert parsed(variables[ORDER], Order, "order") == Order(
        command=WORK.command, folder="/shared/me", seconds=480, tree="0.1.0 abc",
        kept_back=("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI"))
    assert (sent["metadata"]["commit"], sent["metadata"]["changed"]) == ("c0ffee", "cli/app.py")
    shown = Ray().render(asked)
    assert "http://bucket:9000" not in shown["job.json"]
    assert "not as in the commit: cli/app.py" in shown["working_dir.txt"]
    with pytest.raises(ConfigurationError, match="MY_TOKEN: a Ray cluster shows"):
        launched.request(replace(WORK, environment=("MY_TOKEN",)), {"MY_TOKEN": "1"})


def test_the_files_that_are_sent_are_all_that_the_code_is() -> None:
    sent = launched.files()
    assert {"__main__.py", "cli/app.py", "infra/launch/inside.py", "requirements.lock", "cluster.lock",
            "pyproject.toml", "weights/SHA256SUMS"} <= set(sent)
    assert not any(path.startswith(("tests/", ".git", ".venv", "docs/")) for path in sent)
    code = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert code <= set(sent), "the hash of the code is taken over these"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"queue": "a"}, "no queue"), ({"image": "a:1"}, "no image"), ({"feed_nodes": 2}, "no feed_nodes")])
def test_what_a_running_cluster_does_not_have_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        launched.request(replace(WORK, resources=Resources(**change)), {})


@pytest.mark.parametrize(
    ("asked", "said"),
    [(Resources(gpus=2), "2 GPU on a node: the largest of the cluster's 2 nodes has 1"),
     (Resources(memory_gib=9), "9 memory GiB on a node"), (Resources(cpus=5), "5 CPU on a node"),
     (Resources(nodes=2, gpus=1), "2 nodes: 1 of the cluster's 2 have")])
def test_more_than_the_nodes_have_is_refused(asked: Resources, said: str) -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0, "memory": 8 * 2**30}, {"CPU": 4.0, "memory": 8 * 2**30, "node:127.0.0.1": 1.0}]
    launched.require_nodes(nodes, Resources(nodes=2, cpus=4, memory_gib=8))
    with pytest.raises(ConfigurationError, match=said):
        launched.require_nodes(nodes, asked)


def test_a_cluster_that_takes_work_from_anybody_is_refused() -> None:
    launched.require_closed("token", ["127.0.0.1", "10.0.0.2"])
    launched.require_closed("disabled", ["127.0.0.1", "127.0.0.2"])
    for mode in ("disabled", ""):
        with pytest.raises(ConfigurationError, match="RAY_AUTH_MODE=token"):
            launched.require_closed(mode, ["127.0.0.1", "10.0.0.2"])


def test_no_cluster_at_the_address_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (launched.SERVER, launched.CLUSTER):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set RAY_API_SERVER_ADDRESS"):
        Ray().ready(WORK)
    monkeypatch.setenv(launched.SERVER, "127.0.0.1:6379")
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:6379 is none"):
        Ray().ready(WORK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(launched.SERVER, f"http://me:s3cret@127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(LauncherError, match="no Ray cluster answers at") as told:
            Ray().ready(WORK)
    assert "s3cret" not in str(told.value)


def given(**change: object) -> dict[str, str]:
    order = Order(command=("jobs",), folder="/", seconds=0, tree=code_hash(ROOMS), kept_back=("MY_TOKEN",))
    return os.environ | {ORDER: json.dumps(asdict(replace(order, **change)))}


def ran(environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-P", "-m", "anchorface.infra.launch.inside"], env=environment,
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_first_process_of_a_job_carries_the_order_out(tmp_path: Path) -> None:
    (tmp_path / "anchorface").mkdir()
    (tmp_path / "anchorface" / "__init__.py").write_text("raise RuntimeError('a folder of the user')")
    status, said = ran(given(folder=str(tmp_path)))
    assert status == 0 and "nothing was submitted" in said and "MY_TOKEN is set where this was submitted" in said, said
    status, said = ran(given(command=("logs", "no-such-job"), folder=str(tmp_path / "gone")))
    assert status == 2 and "relative paths begin at /" in said, said


def test_other_code_and_other_packages_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order = Order(command=(), folder="/", seconds=0, tree=code_hash(ROOMS), kept_back=())
    inside.require_same(order)
    with pytest.raises(ConfigurationError, match=r"submitted was 0\.1\.0 other"):
        inside.require_same(replace(order, tree="0.1.0 other"))
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1 \\\n    --hash=sha256:00\nno-such-thing==1.0 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(supply, "LOCKS", (lock, tmp_path / "no.lock"))
    with pytest.raises(ConfigurationError, match=r"not those of the locks: numpy [\d.]+ \(0\.0\.1\);"):
        inside.require_same(order)


def test_work_is_told_to_end_when_its_time_is_up_and_its_status_is_handed_on() -> None:
    script = "trap 'exit 75' TERM; for second in $(seq 100); do sleep 0.1; done"
    begun = time.monotonic()
    assert inside.carry_out(["bash", "-c", script], 1) == 75
    assert time.monotonic() - begun < 9
    assert inside.carry_out(["bash", "-c", "exit 3"], 0) == 3
    assert inside.carry_out(["bash", "-c", "kill -9 $$"], 0) == 137
