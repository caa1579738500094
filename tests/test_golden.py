"""Nothing that moves walls moves bits: the numbers of commit b9ca692 come out again (tests/golden/measure.py).

Degraded pictures and digests are the same on every machine. Products of matrices round as the processor and torch
like, so they are compared bit for bit where both are those of the recording, and closely elsewhere.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import measure

pytestmark = pytest.mark.line
ROOT = Path(__file__).resolve().parent.parent
VALUES: dict[str, Any] = json.loads((measure.HERE / "values.json").read_text())
SAME_MACHINE = VALUES["machine"] == measure.machine()
KEY_BIAS = "to_key.bias"
"""It adds the same to all scores of a query, which softmax takes out again: its gradient is nothing but rounding, and
Adam makes whole steps of that, other ones on another processor."""


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the numbers of now, made in a process that did nothing else: what other tests set in torch moves
    the last bits of bfloat16. The micro run goes on from the stored fifth step."""
    folder = tmp_path_factory.mktemp("golden")
    done = subprocess.run([sys.executable, "-m", "tests.golden.measure", str(folder)], cwd=ROOT, capture_output=True,
                          text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def measured(now: Path) -> dict[str, Any]:
    return json.loads((now / "values.json").read_text())


def test_the_feed_gives_the_same_bytes(measured: dict[str, Any]) -> None:
    assert measured["feed"] == VALUES["feed"]


@pytest.mark.parametrize("mode", list(VALUES["forward"]))
def test_the_forward_pass_gives_the_same_bits(measured: dict[str, Any], mode: str) -> None:
    close = {"rel": 5e-2, "abs": 6e-2} if mode == "bfloat16" else {"rel": 1e-4, "abs": 1e-4}
    assert measured["forward_heads"][mode] == pytest.approx(VALUES["forward_heads"][mode], **close)
    if SAME_MACHINE:
        assert measured["forward"][mode] == VALUES["forward"][mode]


@pytest.mark.parametrize("run", ["micro", "tiny"])
def test_ten_steps_give_the_same_losses_and_adapters(measured: dict[str, Any], run: str) -> None:
    """The tiny run from its start; the micro run from a checkpoint after five steps, which the old code wrote."""
    found, stored = measured[run], VALUES[run]
    losses = stored["losses"][-len(found["losses"]):]
    assert len(found["losses"]) == {"micro": 5, "tiny": 10}[run]
    for now, then in zip(found["losses"], losses, strict=True):
        assert now == pytest.approx(then, rel=5e-2, abs=5e-2)
    assert found["norms"].keys() == stored["norms"].keys()
    told = {name: norm for name, norm in stored["norms"].items() if not name.endswith(KEY_BIAS)}
    assert {name: found["norms"][name] for name in told} == pytest.approx(told, rel=0.1, abs=1e-2)
    if SAME_MACHINE:
        assert found["losses"] == losses
        assert (found["adapters"], found["averages"]) == (stored["adapters"], stored["averages"])


def test_a_checkpoint_written_before_gives_the_same_pictures(now: Path) -> None:
    stored, found = np.load(measure.HERE / "samples.npz"), np.load(now / "samples.npz")
    assert set(found.files) == set(stored.files)
    for name, pictures in found.items():
        difference = np.abs(pictures.astype(int) - stored[name])
        # `half` computes in bfloat16, which a processor that has it rounds otherwise: 2.8 levels.
        assert difference.mean() < (4.0 if name == "half" else 0.1), name
        if SAME_MACHINE:
            assert difference.max() == 0, name


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """Another seed gives other bytes, so equal digests say something."""
    assert measure.fed(seed=4) != VALUES["feed"]
