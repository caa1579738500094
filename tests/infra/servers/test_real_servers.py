"""Real MLflow on a real Postgres and a real S3 server, and a real Prometheus: a run is tracked while MLflow is killed
and started again, its model restores as the command does, and every query of the dashboards has series.
"""

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from PIL import Image
from ray._private.utils import get_dashboard_dependency_error
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.cli.app import INTERRUPTED
from anchorface.infra.servers import Servers, down, machine, postgres, processes, status, up
from anchorface.infra.servers.settings import USER
from anchorface.records import ConfigurationError, LauncherError
from anchorface.records.seeds import derive
from tests.infra.servers.test_files import BOARDS, queries
from tests.object_store import READER, ObjectStore

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not (postgres.DEBIAN.exists() and shutil.which("prometheus")),
                       reason="needs Postgres and Prometheus (Debian: postgresql, prometheus)"),
    pytest.mark.skipif(find_spec("psycopg") is None or get_dashboard_dependency_error() is not None,
                       reason="needs cluster.lock: make cluster-environment"),
]
ENOUGH = 150.0
"""Seconds after which every number has been scraped twice, on a busy machine."""
NOT_HERE = {"training: Utilisation"}
"""Panels that a run fills only after a minute of training."""


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def place(environment: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the user postgres may pass, where this test runs as root."""
    with tempfile.TemporaryDirectory(prefix="anchorface-servers-", dir="/tmp") as folder:
        os.chmod(folder, 0o711)
        environment.setenv("XDG_STATE_HOME", f"{folder}/state")
        yield Path(folder)


@pytest.fixture(scope="module")
def servers(place: Path, buckets: ObjectStore, environment: pytest.MonkeyPatch) -> Iterator[Servers]:
    """All of them, with MLflow's files in a bucket, and this process's environment as their client's."""
    for name, value in buckets.environment().items():
        environment.setenv(name, value)
    made = Servers(folder=str(place / "servers"), artifacts=f"{buckets.bucket()}/mlflow", **free_ports())
    up(made)
    for line in made.place("client.env").read_text().splitlines():
        environment.setenv(*line.split("=", 1))
    yield made
    down(made.folder)
    assert {each.state for each in status(made.folder)} <= {"stopped", "not installed"}
    assert not [each for each in psutil.process_iter() if str(made.folder) in " ".join(_words(each))]


@dataclass
class Lived:
    """What was seen of a run. away: lines of progress when MLflow died, and when it was there again. series: panel of
    a dashboard -> how many series its queries had."""

    folder: Path
    status: int
    said: str
    away: tuple[int, int]
    series: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def lived(servers: Servers, place: Path) -> Iterator[Lived]:
    """A run during which MLflow is killed, with all its processes, and started again; in the end it is interrupted."""
    folder = place / "line"
    folder.mkdir()
    program = Path(__file__).with_name("tracked_line.py")
    with open(folder / "said", "wb") as said:
        process = subprocess.Popen([sys.executable, program, folder], stdout=said, stderr=said, start_new_session=True)
    try:
        client, series = MlflowClient(), dict[str, int]()

        def going() -> None:
            assert process.poll() is None, (folder / "said").read_text()

        until(lambda: len(lines(folder)) >= 3, going)
        until(lambda: len(history(client, "flow")) >= 2, going)
        killed = processes.living(servers.place(), "mlflow")
        for each in killed:
            each.kill()
        psutil.wait_procs(killed, 10)
        assert [each.state for each in status(servers.folder) if each.name == "mlflow"] == ["stopped"]
        died = len(lines(folder))
        until(lambda: len(lines(folder)) >= died + 3, going)
        up(servers)
        back, deadline = len(lines(folder)), time.monotonic() + ENOUGH
        while process.poll() is None and time.monotonic() < deadline and not wanted() <= series.keys():
            look(servers, series)
            time.sleep(2)
        until(lambda: len(history(client, "flow")) > back, going)
        process.terminate()
        process.wait(120)
        yield Lived(folder, process.returncode, (folder / "said").read_text(), (died, back), series)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_training_goes_on_without_mlflow_and_all_of_it_arrives_in_order(lived: Lived) -> None:
    assert lived.status == INTERRUPTED, lived.said
    assert "is away" in lived.said and "is back" in lived.said
    assert lived.away[1] >= lived.away[0] + 3, "lines were written meanwhile"
    assert CliRunner().invoke(app, ["runs", "sync", str(lived.folder / "run")]).exit_code == 0, "what the end left"
    told = [line for line in lines(lived.folder) if "flow" in line]
    for name in ("flow", "learning_rate", "throughput/data_wait"):
        arrived = sorted(history(MlflowClient(), name), key=lambda point: (point.timestamp, point.step))
        assert [(point.step, point.value) for point in arrived] == [
            (line["clock"], pytest.approx(line[name])) for line in told if name in line]
    run = MlflowClient().get_run(run_id(lived.folder))
    assert run.info.status == "KILLED" and run.data.params["feed.batch"] == "2"


def test_a_registered_model_restores_to_the_bytes_of_the_command(lived: Lived, shared_data: Path) -> None:
    words = ["runs", "register", str(lived.folder / "run"), "--name", "restorer", "--alias", "champion"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    photos = lived.folder / "a photograph"
    photos.mkdir()
    shown = Image.open(next((shared_data / "photos").rglob("*.jpg"))).convert("RGB")
    shown.thumbnail((640, 640))
    shown.save(photos / "one.jpg", quality=60)
    newest = max((lived.folder / "run" / "checkpoints").iterdir())
    answer = CliRunner().invoke(app, ["restore", str(newest), str(photos), str(lived.folder / "out"), "--steps", "2"])
    assert answer.exit_code == 0 and "1 restored" in answer.output, answer.output
    model = mlflow.pyfunc.load_model("models:/restorer@champion")
    given = pd.DataFrame({"image": [(photos / "one.jpg").read_bytes()]})
    found = model.predict(given, params={"steps": 2, "seed": derive(42, "photo one.jpg")})
    (written,) = (lived.folder / "out").rglob("*.png")
    assert found["problem"][0] == "" and found["image"][0] == written.read_bytes()
    restored = Image.open(io.BytesIO(found["image"][0])).convert("RGB")
    assert restored.tobytes() != Image.open(photos / "one.jpg").convert("RGB").tobytes(), "there was a face"


def test_files_stand_in_the_bucket_and_runs_in_postgres(lived: Lived, servers: Servers, buckets: ObjectStore) -> None:
    from pyarrow import fs

    root = servers.artifacts.removeprefix("s3://")
    names = [info.path for info in buckets.system().get_file_info(fs.FileSelector(root, recursive=True))]
    assert any(name.endswith("checkpoint.json") for name in names)
    asked = subprocess.run(
        ["psql", "--tuples-only", "--no-align", "--command", "select count(*) from metrics", "--host", "127.0.0.1",
         "--port", str(servers.postgres_port), "--username", USER, "postgres"], check=True, capture_output=True,
        text=True, env=os.environ | {"PGPASSFILE": str(servers.place("pgpass"))})
    assert int(asked.stdout) > 100


def test_every_query_of_the_dashboards_has_series(lived: Lived) -> None:
    assert wanted() <= lived.series.keys(), wanted() - lived.series.keys()


def test_nobody_without_the_password_is_served(servers: Servers) -> None:
    for address in (f"{servers.address('mlflow')}/api/2.0/mlflow/experiments/search?max_results=1",
                    f"{servers.address('prometheus')}/api/v1/query?query=up"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=20)
        assert refused.value.code == 401
    without = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    answer = subprocess.run(["psql", "--no-password", "--host", "127.0.0.1", "--port", str(servers.postgres_port),
                             "--username", USER, "postgres"], capture_output=True, text=True, env=without)
    assert answer.returncode and "password" in answer.stderr


def test_mlflow_is_called_by_names_that_it_knows(servers: Servers) -> None:
    known = bearing(servers, "mlflow")
    address = f"{servers.address('mlflow')}/api/2.0/mlflow/experiments/search?max_results=1"
    assert urllib.request.urlopen(urllib.request.Request(address, headers=known), timeout=20).status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(address, headers=known | {"Host": "evil.example"}), timeout=20)
    assert refused.value.code == 403


def test_passwords_stand_in_private_files_and_on_no_command_line(servers: Servers) -> None:
    made = machine.passwords(servers)
    for file in servers.place().iterdir():
        if file.is_file() and any(word in file.read_text(errors="replace") for word in made.values()):
            assert file.stat().st_mode & 0o077 == 0, file
            assert file.suffix != ".log", file
    for process in psutil.process_iter():
        assert not any(word in " ".join(_words(process)) for word in made.values()), process
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN
                 and each.laddr.port in servers.ports.values()]
    assert len(listening) >= 3 and {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_other_settings_and_a_bucket_that_may_not_be_written_are_refused(
    servers: Servers, buckets: ObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="run with other settings"):
        up(replace(servers, names=("other.example",)))
    for name, value in buckets.environment(READER).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        up(Servers(folder=str(place / "others"), artifacts=servers.artifacts, **free_ports()))
    assert not (place / "others" / "postgres").exists()


def test_a_server_that_does_not_start_is_told_and_those_before_it_are_ended(place: Path) -> None:
    broken = Servers(folder=str(place / "broken"), **free_ports())
    broken.place("prometheus").mkdir(parents=True)
    broken.place("prometheus", "wal").write_text("a file where a folder should stand")
    with pytest.raises(LauncherError, match=r"prometheus does not start.*prometheus\.log"):
        up(broken)
    assert broken.place("postgres", "PG_VERSION").exists() and not postgres.lives(broken)
    assert {each.state for each in status(broken.folder)} <= {"stopped", "not installed"}


def free_ports() -> dict[str, int]:
    """A port that nobody listens at for each server."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    found = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return dict(zip(("mlflow_port", "postgres_port", "prometheus_port", "grafana_port"), found, strict=True))


def bearing(servers: Servers, name: str) -> dict[str, str]:
    """The header with a server's password."""
    word = base64.b64encode(f"{USER}:{machine.passwords(servers)[name]}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


def wanted() -> set[str]:
    """All panels that a short run of the tiny twin fills."""
    return {f"{file.stem}: {panel['title']}" for file in BOARDS
            for panel in json.loads(file.read_text())["panels"]} - NOT_HERE


def look(servers: Servers, series: dict[str, int]) -> None:
    """Ask Prometheus every query of the dashboards; panel -> series, where all its queries have some."""
    for file in BOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            found = []
            for query in queries({"panels": [panel]}):
                said = urllib.parse.urlencode({"query": re.sub(r"\$(session|run)", ".*", query)})
                asked = urllib.request.Request(f"{servers.address('prometheus')}/api/v1/query?{said}",
                                               headers=bearing(servers, "prometheus"))
                with urllib.request.urlopen(asked, timeout=20) as answer:
                    found.append(len(json.load(answer)["data"]["result"]))
            if all(found):
                series[f"{file.stem}: {panel['title']}"] = sum(found)


def lines(folder: Path) -> list[dict[str, Any]]:
    """A run's progress so far."""
    file = folder / "run" / "progress.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run_id(folder: Path) -> str:
    return str(json.loads((folder / "run" / "run.json").read_text())["run_id"])


def history(client: MlflowClient, name: str) -> list[Any]:
    """What MLflow has of the one run's metric."""
    named = client.search_experiments(filter_string="name = 'anchorface'")
    (run,) = client.search_runs([each.experiment_id for each in named])
    return list(client.get_metric_history(run.info.run_id, name))


def until(condition: Callable[[], bool], going: Callable[[], None], seconds: float = 300.0) -> None:
    """Wait for it while something goes on."""
    deadline = time.monotonic() + seconds
    while not condition():
        going()
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
