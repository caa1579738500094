"""What is installed without the repository: all that the rooms hold, and what the code opens beside them."""

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from anchorface.infra import supply
from anchorface.infra.launch import ray
from anchorface.infra.launch.work import ROOMS
from anchorface.records.lineage import code_hash
from tests.conftest import ROOT

LICENCES = ("LICENSE", "docs/licences.md")
ISSUED = {"insightface", "video", "serve", "cluster", "dlib", "noncommercial"}
ASKED = """
import json, sys
import anchorface
from anchorface.faces.weights import survey
from anchorface.infra import registry, supply
from anchorface.infra.launch import ray, work
from anchorface.infra.servers import grafana
from anchorface.records.lineage import code_hash

print(json.dumps({
    "place": list(anchorface.__path__), "tree": code_hash(work.ROOMS), "commit": work.code().commit,
    "locked": supply.locked(), "sent": ray.files(), "script": registry.SCRIPT.read_text(),
    "boards": sorted(path.name for path in grafana.DASHBOARDS.glob("*.json")),
    "carried": {found.weight.name: found.state for found in survey() if found.weight.url_hint.startswith("carried")},
}))
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    """tracked: the files that git knows, as they stand here. source: the archive. wheel: what was made of that."""

    tracked: frozenset[str]
    source: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of the files")
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tracked = frozenset(name for name in listed.split("\0") if name and (ROOT / name).exists())
    for name in tracked:
        place = folder / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir",
                    folder / "out", folder / "tree"], check=True, timeout=300, capture_output=True)
    (source,), (wheel,) = ((folder / "out").glob(ending) for ending in ("*.tar.gz", "*.whl"))
    yield Built(tracked=tracked, source=source, wheel=wheel)
    shutil.rmtree(folder)


def test_a_wheel_holds_what_the_rooms_hold_and_what_is_read_beside_them(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tops = {"weights", *ROOMS}
    expected = {name for name in built.tracked if name.partition("/")[0] in tops}
    expected |= {path.name for path in ROOT.glob("*.py")} | {name for name in ray.BESIDE if (ROOT / name).is_file()}
    assert names == {f"anchorface/{name}" for name in expected}
    assert {"requirements.lock", "cluster.lock", "weights/SHA256SUMS", "infra/servers/compose.yaml"} < expected


def test_a_source_archive_holds_what_make_test_needs(built: Built) -> None:
    with tarfile.open(built.source) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert built.tracked - names <= {".gitignore", ".ci/run"}


def test_its_metadata_name_licences_extras_and_the_command(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (about,) = (name.partition("/")[0] for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(f"{about}/METADATA"))
        command = archive.read(f"{about}/entry_points.txt").decode()
        for name in LICENCES:
            assert archive.read(f"{about}/licenses/{name}") == (ROOT / name).read_bytes()
    assert said["License-Expression"] == "Apache-2.0" and said.get_all("License-File") == list(LICENCES)
    assert set(said.get_all("Provides-Extra") or ()) == ISSUED
    assert set(said["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert "anchorface = anchorface.cli:app" in command


def test_an_extra_asks_for_no_other_version_than_the_rest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"].keys() == ISSUED
    pinned = {name: version for name, version, _ in supply.pins(supply.locked())}
    named = [requirement.partition("==") for requirement in project["dependencies"]]
    named += [requirement.partition("==") for each in project["optional-dependencies"].values() for requirement in each]
    for name, _, version in named:
        bare = name.partition("[")[0].lower()
        if version and bare in pinned:
            assert pinned[bare] == version, name
    assert set(project["optional-dependencies"]["video"]) <= set(project["dependencies"])


def test_it_works_where_nothing_of_the_repository_is(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)}
    environment.pop("ANCHORFACE_WEIGHTS", None)
    done = subprocess.run([sys.executable, "-c", ASKED], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["place"] == [str(tmp_path / "installed" / "anchorface")]
    assert told["tree"] == code_hash(ROOMS), "a job that is submitted from it finds the same code in the image"
    assert told["commit"] == "unknown"
    assert told["locked"] == supply.locked() and told["sent"] == ray.files()
    assert told["script"] and len(told["boards"]) == 3
    assert len(told["carried"]) == 6 and set(told["carried"].values()) == {"verified"}
