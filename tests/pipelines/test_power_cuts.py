"""A power cut while the line runs: no marker without its data, and a rerun comes to the undisturbed tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[2] / "benchmarks" / "power_cuts.py"
SKIPPED = 77


def campaign(*words: str) -> str:
    done = subprocess.run([sys.executable, str(CAMPAIGN), *words], capture_output=True, text=True, timeout=800)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.line
@pytest.mark.timeout(900)
def test_a_power_cut_leaves_no_marker_without_its_data() -> None:
    text = campaign("--cuts", "2", "--checkpoints", "3")
    assert re.search(r"line: 2 power cuts, [12] disks held something, 0 held damage, 0 came to other", text), text
    assert re.search(r"checkpoints: 3 power cuts, [23] disks held something, 0 held damage", text), text


@pytest.mark.timeout(600)
def test_the_campaign_sees_data_that_was_not_synced() -> None:
    assert re.search(r"checkpoints: 3 power cuts, [1-3] disks held something, [1-3] held damage",
                     campaign("--cuts", "0", "--checkpoints", "3", "--control"))
