"""A home that is missing or cannot be written, as in a container: /proc can be written by nobody, root included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchorface.faces import weights
from anchorface.faces.fetch import fetch
from anchorface.records.errors import StorageError, WeightsError
from anchorface.records.homes import cache_home, state_folder, state_home

PROGRAM = """
import os
os.setgroups([])
os.setuid(54321)  # whom the system's list of users does not name
del os.environ["HOME"]
from anchorface.faces import weights
from anchorface.records import metrics_targets
from anchorface.records.errors import ConfigurationError, WeightsError
from anchorface.records.homes import state_home
assert weights.weight("adaface_small").name and len(weights.folders()) == 2, weights.folders()
metrics_targets.announce(["127.0.0.1:1"])
metrics_targets.withdraw()
for verb, named in ((state_home, "$XDG_STATE_HOME"), (weights.cache, "$ANCHORFACE_WEIGHTS"),
                    (lambda: weights.find("flux2_klein_prompt"), "no file flux2_klein_prompt")):
    try:
        verb()
    except (ConfigurationError, WeightsError) as error:
        assert named in str(error), error
    else:
        raise AssertionError(named)
"""


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "ANCHORFACE_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def test_what_must_be_written_says_which_variable_to_set(nowhere: None) -> None:
    with pytest.raises(StorageError, match=r"/proc/nowhere.*\$XDG_STATE_HOME"):
        state_folder("jobs")
    entry = weights.weight("alexnet_imagenet")
    if weights.locate(entry) is None:
        with pytest.raises(WeightsError, match=r"/proc/nowhere[\s\S]*\$ANCHORFACE_WEIGHTS"):
            fetch(entry)


def test_what_only_looks_there_goes_on(nowhere: None) -> None:
    assert weights.present("adaface_small") and not weights.in_part(weights.weight("alexnet_imagenet"))
    assert len(weights.survey()) == len(weights.WEIGHTS)


def test_the_variables_name_other_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ANCHORFACE_WEIGHTS", raising=False)
    assert state_folder("jobs") == state_home("jobs") == tmp_path / "state" / "anchorface" / "jobs"
    assert state_folder("jobs").is_dir()
    assert weights.cache() == cache_home() == weights.folders()[-1] == tmp_path / "cache" / "anchorface"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes a user whom the system does not know")
def test_a_user_without_a_home_is_told_which_variable_to_set() -> None:
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("XDG_", "ANCHORFACE_"))}
    before = "import anchorface.faces.weights, anchorface.records.metrics_targets, anchorface.records.homes\n"
    done = subprocess.run([sys.executable, "-c", before + PROGRAM], env=environment, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
