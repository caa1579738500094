"""SIGTERM to the command: a checkpoint, an exit status that says so, nothing left behind, and the same run
afterwards.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist

from anchorface.cli.app import INTERRUPTED
from anchorface.models.checkpoint import read_description
from anchorface.training.checkpoints.layout import complete, latest
from anchorface.training.checkpoints.resume import heard
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe
from tests.forked import Forked, finished
from tests.processes import marked
from tests.training.ranks import begin

pytestmark = pytest.mark.line
ROOT = Path(__file__).resolve().parents[2]


def drive(arguments: Path, mark: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("driver.py")), str(arguments)], cwd=ROOT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MARK": mark}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_run_ends_in_good_order_and_goes_on(micro_recipe: Recipe, tiny_dataset: str, tmp_path: Path) -> None:
    recipe, run = replace(micro_recipe, positions=400, checkpoint_every=4000, log_every=4), tmp_path / "run"
    (tmp_path / "arguments").write_bytes(pickle.dumps({
        "recipe": recipe, "dataset_uri": tiny_dataset, "run_folder": str(run), "track": False,
        "execution": Execution(workers=2, threads=1)}))
    mark, deadline = uuid.uuid4().hex, time.monotonic() + 300
    first = drive(tmp_path / "arguments", mark)
    while not ((run / "progress.jsonl").exists() and "loss" in (run / "progress.jsonl").read_text()):
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=120)[0]
    assert first.returncode == INTERRUPTED, said
    assert "SIGTERM: the run ended in good order at" in said and "the same command goes on" in said
    (stopped,) = complete(str(run))
    assert 0 < read_description(stopped).clock < 400
    while left := marked("MARK", mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    second = drive(tmp_path / "arguments", mark)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said
    expected = train(recipe, tiny_dataset, tmp_path / "calm", Execution(workers=0, threads=1), track=False,
                     report=lambda line: None)
    newest = latest(str(run))
    assert newest is not None
    assert read_description(newest).digest == read_description(expected).digest


def hear(rank: int, meeting: str) -> None:
    begin(rank, 2, meeting)
    assert heard(None) is None
    assert heard("SIGTERM" if rank == 1 else None) == "SIGTERM"
    assert heard(f"rank {rank}") == "rank 0"
    dist.destroy_process_group()


def test_a_wish_that_one_rank_alone_has_seen_is_every_ranks(tmp_path: Path) -> None:
    """Ranks look for it at their own times; a run that ended by it must not seem to have ended by itself."""
    finished([Forked(tmp_path / f"rank-{rank}.log", hear, rank, f"file://{tmp_path / 'meeting'}") for rank in (0, 1)],
             120)
