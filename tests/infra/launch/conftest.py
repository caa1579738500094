"""A private place for submissions, and a Slurm for the tests that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.launch import slurm_cluster
from tests.training.conftest import tiny_dataset  # noqa: F401 (a fixture)


@pytest.fixture(autouse=True)
def submissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where submissions of a test stand."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "anchorface" / "jobs"


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Slurm of three nodes; the folder with its slurm.conf."""
    if not slurm_cluster.is_here():
        pytest.skip("needs slurmctld, slurmd and munged (Debian: slurm-wlm, munge), and root")
    with slurm_cluster.slurm(tmp_path_factory.mktemp("slurm")) as folder:
        yield folder
