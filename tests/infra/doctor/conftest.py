"""MLflow's server, which the doctor asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.mlflow_server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that runs, in a folder of its own."""
    made = Server(tmp_path / "mlflow")
    made.start()
    yield made
    made.kill()
