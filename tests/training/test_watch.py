"""A rank that stands still ends the attempt, and is named with what it was doing."""

import re
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from anchorface.training.notes import Notes
from anchorface.training.recipes import Recipe
from anchorface.training.watch import EXIT_STATUS, Word, report
from tests.training.ranks import job_of, start_ranks

pytestmark = pytest.mark.line


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_process_is_named_by_the_others(micro_recipe: Recipe, tiny_dataset: str, tmp_path: Path,
                                                  stopped: int) -> None:
    """Rank 0 keeps the store through which ranks speak, so there nobody can be heard but oneself."""
    endless = replace(micro_recipe, positions=400_000, checkpoint_every=400_000, log_every=4)
    job = job_of(endless, tiny_dataset, tmp_path / "run", 2, hang=4.0)
    processes = start_ranks([job], 2, tmp_path / "ranks", f"tcp://127.0.0.1:{free_port()}")
    try:
        progress, deadline = tmp_path / "run" / "progress.jsonl", time.monotonic() + 300
        while not (progress.exists() and "loss" in progress.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        processes[stopped].send_signal(signal.SIGSTOP)
        assert processes[1 - stopped].wait(timeout=60) == EXIT_STATUS
        told = [text for text in Notes(str(tmp_path / "run")).told() if "nothing moved" in text]
        assert len(told) == 1
        expected = [r"rank 0, which keeps the ranks' words, does not answer; rank 1 has been at step \d+, [a-z]",
                    r"--hang 4\): rank 1 does not answer; it was at step \d+, [a-z]"][stopped]
        assert re.search(expected, told[0]), told
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_who_hangs_is_who_stands_outside_of_a_collective() -> None:
    waits = "distributed_c10d.py, all_reduce"
    before: dict[int, Word] = dict.fromkeys(range(3), (7, 3, "waiting for the other ranks", 9.0, waits))
    before[1] = (7, 3, "waiting for the feed", 9.0, "x.py, line 3")
    after: dict[int, Word] = {rank: (word[0] + 2, *word[1:]) for rank, word in before.items()}  # type: ignore[misc]
    told = report(before, after, 9.0, 8.0)
    assert "rank 1 has been at step 3, waiting for the feed, for 9 s (x.py, line 3)" in told
    assert "rank 0" not in told
    assert "rank 2" not in told


def test_who_does_not_answer_hangs_wherever_he_stands() -> None:
    waits = "distributed_c10d.py, all_reduce"
    before: dict[int, Word] = dict.fromkeys(range(3), (7, 3, "forward and backward", 9.0, waits))
    after: dict[int, Word] = {rank: (9, *before[rank][1:]) for rank in (0, 1)} | {2: before[2]}  # type: ignore[misc]
    told = report(before, after, 9.0, 8.0)
    assert "rank 2 does not answer; it was at step 3, forward and backward" in told
    assert "rank 0" not in told
    assert "rank 1" not in told
