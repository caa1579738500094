"""What several rooms' tests share: the shared photographs (skipped with a reason where absent) and one local Ray."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anchorface.pipelines.feed.table import FOLDER
from tests.object_store import ObjectStore, object_store

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs, clips and small models for tests."""
    if not SHARED.exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have the shared photographs beside the checkout")
        pytest.skip("needs the shared photographs and models beside the checkout")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def tables_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Face tables that datasets are mapped from stand among the session's temporary files."""
    before = os.environ.get(FOLDER)
    folder = tmp_path_factory.mktemp("tables")
    folder.chmod(0o700)
    os.environ[FOLDER] = str(folder)
    yield
    os.environ.pop(FOLDER)
    if before is not None:
        os.environ[FOLDER] = before


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray of two CPUs for all tests that need one."""
    import ray

    from anchorface.pipelines.stages.cluster import connect

    connect(num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def buckets() -> Iterator[ObjectStore]:
    """One S3-compatible server for all tests that need one, in memory where that can hold what it writes."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder, object_store(Path(folder)) as store:
        yield store


@pytest.fixture
def bucket(buckets: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket, to which the environment leads."""
    for name, value in buckets.environment().items():
        monkeypatch.setenv(name, value)
    return buckets.bucket()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in which nothing can be written, not even by root."""
    yield from _mounted(tmp_path / "read only", "ro")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 16 MB, which may be filled."""
    yield from _mounted(tmp_path / "small disk", "size=16m")


def _mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a tmpfs may not be mounted here ({error})")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
