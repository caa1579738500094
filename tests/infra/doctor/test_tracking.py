"""A real MLflow server is asked, and nothing of the question is left there; one that is not there is named."""

import shutil

import pytest

from anchorface.infra.doctor import tracking
from anchorface.records import ConfigurationError
from anchorface.training.tracking import connect
from tests.training.mlflow_server import Server


def test_a_run_is_written_and_deleted_and_a_server_that_is_away_is_a_fault(server: Server) -> None:
    assert tracking.tried(server.uri).state == "ok"
    client = connect(server.uri)
    assert [each.name for each in client.search_experiments()] == ["Default"]
    artifacts = server.folder / "artifacts"
    assert [path for path in artifacts.rglob("*") if path.is_file()] == []
    shutil.rmtree(artifacts)
    artifacts.write_text("no folder")
    found = tracking.tried(server.uri)
    assert found.state == "fault" and "mlflow-artifacts" in found.detail, found
    assert [each.name for each in client.search_experiments()] == ["Default"]
    server.kill()
    found = tracking.tried(server.uri)
    assert found.state == "fault" and str(server.port) in found.detail and "servers up" in found.remedy


def test_a_store_that_is_no_server_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="address of MLflow's server"):
        tracking.require_server("sqlite:///mlflow.db")


@pytest.mark.parametrize(("said", "remedy"), [
    ("API request failed with error code 401", "MLFLOW_TRACKING_PASSWORD"), ("PERMISSION_DENIED", "may write"),
    ("403: Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts"),
    ("PUT http://mlflow/api/2.0/mlflow-artifacts/artifacts/1/doctor.txt: 500", "--artifacts-destination"),
    ("Connection refused at 127.0.0.1:40133", "let every node reach its port"),
])
def test_the_remedy_is_that_of_the_fault(said: str, remedy: str) -> None:
    assert remedy in tracking._fault("http://mlflow:5000", said).remedy
