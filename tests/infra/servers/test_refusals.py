"""What is refused before any server starts, with its remedy; and where a Ray tells of its metrics."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private.utils import get_dashboard_dependency_error
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.infra.servers import mlflow, postgres, prometheus
from anchorface.infra.servers.settings import Servers
from anchorface.pipelines.stages import cluster, metrics
from anchorface.records import ConfigurationError
from anchorface.records.metrics_targets import targets, withdraw


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["servers", *words], env={"COLUMNS": "400", "NO_COLOR": "1"})
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--host", "0.0.0.0", "--no-passwords"), "others reach it, so passwords are needed"),
     (("--host", "cluster.example", "--no-passwords"), "others reach it"),
     (("--artifacts", "s3://key:s3cret@bucket/a"), "by the environment"),
     (("--mlflow-port", "9090"), "a port of its own"),
     (("--grafana-port", "99999"), "from 1 to 65535")])
def test_settings_that_are_wrong_start_nothing(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    status, text = run("up", "--folder", str(tmp_path / "servers"), *words)
    assert status == 2 and said in text and "s3cret" not in text and "Traceback" not in text
    assert not (tmp_path / "servers").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "require", lambda: None)
    monkeypatch.setattr(prometheus, "require", lambda servers: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, text = run("up", "--folder", str(tmp_path / "servers"), "--postgres-port", port)
    assert status == 2 and f"127.0.0.1:{port}" in text and "--postgres-port" in text
    assert not (tmp_path / "servers").exists()


def test_a_server_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="apt-get install prometheus"):
        prometheus.require(Servers(folder="/nowhere"))
    with pytest.raises(ConfigurationError, match="apt-get install postgresql"):
        postgres.tool("no-such-tool")


@pytest.mark.skipif(os.geteuid() != 0 or not postgres.DEBIAN.exists(), reason="needs root, and Debian's postgresql")
def test_a_folder_that_roots_postgres_may_not_enter_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "servers").mkdir()
    with pytest.raises(ConfigurationError, match="may not enter it"):
        postgres.prepare(Servers(folder=str(tmp_path / "servers")), "word")
    assert not (tmp_path / "servers" / "postgres").exists()


def test_files_that_mlflow_could_not_write_are_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")  # cluster.lock has it, and flask_wtf
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        mlflow.require(Servers(folder=str(tmp_path), artifacts=str(tmp_path / "file" / "artifacts")))


def test_a_folder_without_servers_is_told_and_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    for words in (("status",), ("down", "--delete")):
        status, text = run(*words, "--folder", str(tmp_path))
        assert status == 2 and "no servers" in text
    assert (tmp_path / "mine").exists()
    assert run("down", "--folder", str(tmp_path)) == (0, "")


def test_mlflow_is_called_by_the_names_that_are_given() -> None:
    servers = Servers(folder="/f", host="0.0.0.0", names=("mlflow.example",))
    words = mlflow.words(servers)
    assert words[words.index("--allowed-hosts") + 1] == (
        "localhost,localhost:*,127.0.0.1,127.0.0.1:*,mlflow.example,mlflow.example:*")
    assert "--app-name" in words and servers.address("mlflow") == "http://127.0.0.1:5000"
    assert servers.address("postgres") == "postgresql://127.0.0.1:5433"


@pytest.mark.parametrize("key", ["throughput/images_per_second", "validation/flow/sigma_0.3"])
def test_names_of_metrics_are_such_as_ray_takes(key: str) -> None:
    assert metrics.metric_name(f"training_{key}").replace("_", "").isalnum()


@pytest.mark.cluster
@pytest.mark.skipif(get_dashboard_dependency_error() is not None, reason="needs Ray's agent: make cluster-environment")
def test_a_ray_tells_of_itself_where_somebody_wants_to_know(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    cluster._announce()
    assert not targets().exists(), "nobody does"
    targets().mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (str(gone.pid), "cluster"):
        (targets() / f"{name}.json").write_text("[]")
    cluster._announce()
    told = {file.stem: json.loads(file.read_text()) for file in targets().iterdir()}
    assert told.keys() == {str(os.getpid()), "cluster"}
    ((address,),) = (each["targets"] for each in told[str(os.getpid())])
    host, _, port = address.rpartition(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port)), timeout=10).close()
    withdraw()
    assert [file.stem for file in targets().iterdir()] == ["cluster"]
