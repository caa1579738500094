"""MLflow is stopped and started while a run goes on: the run never waits, and MLflow hears all of it, in order."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from anchorface.records import TrainingError
from anchorface.training import courier, tracking
from anchorface.training.courier import Courier, send_left, sync, waiting
from anchorface.training.recipes import recipe
from anchorface.training.tracking import Tracker, Tracking
from tests.training.mlflow_server import Server

EVERY = 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow") / "server")
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def begin(uri: str, folder: Path, lines: list[str], **given: Any) -> Tracking:
    values = {"experiment": "tests", "artifacts": folder.parent / "artifacts", "run_id": None, "run_name": "run",
              "tags": {"execution": {"workers": 2}}, "folder": folder, "report": lines.append, **given}
    return tracking.begin(recipe("iconface_tiny"), uri=uri, **values)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(tracker: Tracker, clocks: range) -> None:
    for clock in clocks:
        tracker.metrics({"loss": 1 / (1 + clock), "flow/references_0": float(clock)}, clock)


def test_what_mlflow_missed_arrives_in_order_and_the_run_never_waits(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, lines = tmp_path / "run", list[str]()
    uri = server.uri.replace("://", "://me:s3cret@")
    begun = begin(uri, folder, lines)
    (folder / "run.json").write_text(json.dumps({"uri": begun.uri, "run_id": begun.run_id}))
    client, tracker = MlflowClient(tracking_uri=server.uri), Tracker(folder)
    monkeypatch.setattr(courier, "PATIENCE", 2.0)
    monkeypatch.setattr(courier, "SLOWEST", 1.0)
    with Courier(folder, begun, uri=uri, report=lines.append, every=EVERY):
        write(tracker, range(5))
        until(lambda: waiting(folder) == 0)
        assert len(client.get_metric_history(begun.run_id, "loss")) == 5
        server.kill()
        began = time.monotonic()
        write(tracker, range(5, 300))
        (folder / "samples").mkdir()
        (folder / "samples" / "step-00000001.png").write_bytes(b"a picture")
        tracker.picture(folder / "samples" / "step-00000001.png")
        tracker.checkpoint(folder / "checkpoints" / "step-00000001", '{"uri": "s3://key:s3cret@bucket/a"}')
        assert time.monotonic() - began < 5, "the pen waits for nobody"
        until(lambda: len(lines) == 1)
        ended = time.monotonic()
    assert time.monotonic() - ended < 10
    away, left = lines
    assert server.uri in away and "is away" in away and str(folder / "tracking.jsonl") in away
    assert "has not taken 298 lines" in left and "anchorface runs sync" in left

    began = time.monotonic()
    with pytest.raises(TrainingError, match="--no-track"):
        begin(uri, tmp_path / "another", lines)
    assert time.monotonic() - began < 15 and not (tmp_path / "another").exists()
    with pytest.raises(TrainingError, match="298 wait"):
        sync(folder, report=lines.append)
    lines.clear()
    assert begin(uri, folder, lines, run_id=begun.run_id) == begun
    assert len(lines) == 1 and "is away" in lines[0] and "training goes on" in lines[0]
    lines.clear()
    monkeypatch.setattr(courier, "PATIENCE", 60.0)
    with Courier(folder, begun, uri=uri, report=lines.append, every=EVERY):
        write(Tracker(folder), range(300, 310))
        until(lambda: len(lines) == 1)
        server.start()
        until(lambda: waiting(folder) == 0)
    assert len(lines) == 2 and "is back: 310 lines that waited have arrived" in lines[1], lines

    history = client.get_metric_history(begun.run_id, "loss")
    assert [point.step for point in sorted(history, key=lambda point: point.timestamp)] == list(range(310))
    assert all(point.value == 1 / (1 + point.step) for point in history)
    run = client.get_run(begun.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["checkpoint"].endswith("step-00000001")
    assert run.data.params["feed.batch"] == "16" and run.data.tags["execution.workers"] == "2"
    assert run.data.tags["starts"] == "2"
    here = client.download_artifacts(begun.run_id, "checkpoints/step-00000001/checkpoint.json", str(tmp_path))
    assert Path(here).read_text() == '{"uri": "s3://bucket/a"}'
    assert [found.path for found in client.list_artifacts(begun.run_id, "samples")] == ["samples/step-00000001.png"]

    (folder / "tracking-sent.json").unlink()
    assert sync(folder, report=lines.append) == 318
    assert len(client.get_metric_history(begun.run_id, "loss")) == 310, "MLflow keeps equal metrics once"
    assert sync(folder, report=lines.append) == 0

    printed, warned = capfd.readouterr()
    stored = "".join(path.read_text() for path in [folder / "run.json", *folder.glob("tracking*")])
    assert server.uri in stored and "s3cret" not in f"{printed} {warned} {stored} {client.get_run(begun.run_id)}"


def test_a_server_that_never_answers_is_told_of_in_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(TrainingError, match="--no-track"):
            begin(uri, tmp_path / "run", [])
        assert time.monotonic() - began < 15


def test_a_password_goes_to_the_server_and_nowhere_else(tmp_path: Path) -> None:
    uri = "http://me:s3cret@127.0.0.1:9"
    lines: list[str] = []
    with pytest.raises(TrainingError) as caught:
        begin(uri, tmp_path / "run", lines)
    begun = begin(uri, tmp_path / "run", lines, run_id="abc", tags={"dataset": "s3://key:s3cret@bucket/a"})
    assert begun == Tracking(uri="http://127.0.0.1:9", run_id="abc")
    made = Courier(tmp_path / "run", begun, uri=uri, report=lines.append)
    assert not made.step()
    written = "".join(path.read_text() for path in (tmp_path / "run").iterdir())
    assert len(lines) == 2 and "s3://bucket/a" in written
    assert "s3cret" not in f"{caught.value} {lines} {written}"


@pytest.mark.parametrize(
    ("ending", "status"),
    [(None, "FINISHED"), (ValueError("the real error"), "FAILED"), (KeyboardInterrupt(), "KILLED"),
     (SystemExit(143), "KILLED")])
def test_how_a_run_ended_is_said_and_its_error_stays(
    store: str, tmp_path: Path, ending: BaseException | None, status: str
) -> None:
    folder, lines = tmp_path / "run", list[str]()
    begun = begin(store, folder, lines)
    try:
        with Courier(folder, begun, uri=store, report=lines.append, every=EVERY):
            if ending is not None:
                raise ending
    except BaseException as error:
        assert error is ending
    run = MlflowClient(tracking_uri=store).get_run(begun.run_id)
    assert (run.info.status, lines) == (status, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that root alone may write")
def test_an_end_that_cannot_be_noted_does_not_hide_the_error(store: str, tmp_path: Path) -> None:
    folder, lines = tmp_path / "run", list[str]()
    begun = begin(store, folder, lines)
    with pytest.raises(ValueError, match="the real error"), Courier(folder, begun, uri=store, report=lines.append):
        (folder / "tracking.jsonl").unlink()
        (folder / "tracking.jsonl").mkdir()
        raise ValueError("the real error")
    assert lines and "tracking.jsonl" in lines[0]


def test_a_line_that_mlflow_refuses_does_not_hold_up_the_others(store: str, tmp_path: Path) -> None:
    folder, lines = tmp_path / "run", list[str]()
    begun = begin(store, folder, lines)
    tracker = Tracker(folder)
    write(tracker, range(2))
    tracker.metrics({"no;such name": 1.0}, 2)
    write(tracker, range(3, 5))
    assert Courier(folder, begun, uri=store, report=lines.append).step()
    (told,) = lines
    assert "refuses a line" in told
    (refused,) = (folder / "tracking-refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["clock"] == 2
    history = MlflowClient(tracking_uri=store).get_metric_history(begun.run_id, "loss")
    assert sorted(point.step for point in history) == [0, 1, 3, 4]


def test_a_run_that_is_gone_becomes_a_new_one_with_all_that_was_told(store: str, tmp_path: Path) -> None:
    folder, lines = tmp_path / "run", list[str]()
    begun = begin(store, folder, lines)
    write(Tracker(folder), range(3))
    assert Courier(folder, begun, uri=store, report=lines.append).step()
    client = MlflowClient(tracking_uri=store)
    client.delete_run(begun.run_id)
    write(Tracker(folder), range(3, 4))
    assert not Courier(folder, begun, uri=store, report=lines.append).step()
    assert "no run" in lines[-1] and not (folder / "tracking-refused.jsonl").exists()
    again = begin(store, folder, lines, run_id=begun.run_id)
    assert again.run_id != begun.run_id and "a new run" in lines[-1]
    assert Courier(folder, again, uri=store, report=lines.append).step()
    assert sorted(p.step for p in client.get_metric_history(again.run_id, "loss")) == [0, 1, 2, 3]


def test_a_child_is_nested_under_its_parent_and_in_its_experiment(store: str, tmp_path: Path) -> None:
    parent = begin(store, tmp_path / "parent", [], experiment="sweeps")
    child = begin(store, tmp_path / "child", [], parent=parent.run_id)
    client = MlflowClient(tracking_uri=store)
    above, below = client.get_run(parent.run_id), client.get_run(child.run_id)
    assert below.data.tags["mlflow.parentRunId"] == parent.run_id
    assert below.info.experiment_id == above.info.experiment_id
    with pytest.raises(TrainingError, match="has no run nobody"):
        begin(store, tmp_path / "orphan", [], parent="nobody")


def test_metrics_of_other_nodes_arrive_too(store: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun = begin(store, folder, [])
    (folder / "run.json").write_text(json.dumps({"uri": begun.uri, "run_id": begun.run_id}))
    Tracker(folder, node=1).metrics({"system/1/cpu_utilization_percentage": 50.0}, 4)
    Tracker(folder).event("status", status="FINISHED")
    send_left(folder, uri="", report=print)
    run = MlflowClient(tracking_uri=store).get_run(begun.run_id)
    assert run.data.metrics == {"system/1/cpu_utilization_percentage": 50.0} and run.info.status == "FINISHED"


def test_a_spool_in_a_store_of_objects_is_carried(store: str, tmp_path: Path) -> None:
    folder = f"memory://{tmp_path.name}/run"
    tracker = Tracker(folder)
    begun = begin(store, tmp_path / "begun", [])
    write(tracker, range(3))
    tracker.flush()
    assert Courier(folder, begun, uri=store, report=print).send() == 3 and waiting(folder) == 0
    assert len(MlflowClient(tracking_uri=store).get_metric_history(begun.run_id, "loss")) == 3


@pytest.mark.parametrize("name", ["run #1 50%25 what?", "ünïcode & more=1"])
def test_any_name_of_a_folder_keeps_database_and_pictures_beside_it(tmp_path: Path, name: str) -> None:
    from anchorface.records.addresses import sqlite_address

    folder = tmp_path / name / name
    begun = begin(sqlite_address(folder.parent / "mlflow.db"), folder, [])
    (folder / "samples").mkdir()
    (folder / "samples" / "step #1?.png").write_bytes(b"a picture")
    Tracker(folder).picture(folder / "samples" / "step #1?.png")
    assert Courier(folder, begun, uri=begun.uri, report=print).step()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} == {name, "mlflow.db", "artifacts"}
    assert (tmp_path / name / "artifacts" / begun.run_id / "artifacts" / "samples" / "step #1?.png").exists()
