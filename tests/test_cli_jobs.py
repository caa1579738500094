"""Promises of submit, jobs, logs and cancel: what is wrong is said before anything starts, and a verb's words are its
own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where submissions of a test stand."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.mark.parametrize(("words", "said"), [
    (("--on", "lsf", "train", "a", "b"), "it is one of local, ray, slurm, kubernetes"),
    (("erase", "a"), "only curate, train"),
    (("train", "a", "b", "--lerning", "1"), "--lerning"),
    (("train", "a"), "Missing argument"),
    (("--nodes", "2", "train", "a", "b"), "one machine"),
    (("--nodes", "0", "train", "a", "b"), "nodes"),
    (("--queue", "a b", "train", "a", "b"), "queue"),
    (("--each", "x", "train", "a", "b"), "NAME=VALUE"),
    (("--each", "x=1,2", "train", "a", "b", "--set", "feed.seed={x}"), "two tasks would train in b"),
    (("--each", "x=1,2", "train", "a", "b{x}"), "local knows no arrays"),
    (("--env", "NOT_THERE_AT_ALL", "train", "a", "b"), "is not set"),
    (("sweep", "a", "b", "--over", "learning_rate=1e-3,7"), "learning_rate=7"),
    (("--on", "slurm", "--each", "x=1,2", "sweep", "a", "b", "--over", "learning_rate={x}e-3,1e-4"), "--trial {NAME}"),
])
def test_what_is_wrong_is_said_and_nothing_starts(words: tuple[str, ...], said: str, place: Path) -> None:
    status, text = run("submit", *words)
    assert status == 2 and said in text and "Traceback" not in text, text
    assert not place.exists()


def test_a_dry_run_prints_what_would_be_sent_and_a_verbs_options_are_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    words = ("train", "a", "b", "--set", "feed.batch=2", "--gpu", "--workers", "4")
    for on in ("local", "slurm"):
        status, text = run("submit", "--on", on, "--cpus", "1", "--dry-run", *words)
        assert status == 0 and "train a b --set feed.batch=2 --gpu --workers 4" in text, text
        assert "hidden-word" not in text
    assert not place.exists()


def test_an_array_has_a_task_for_each_trial_of_a_sweep(place: Path) -> None:
    over = ("--over", "learning_rate=1e-3,1e-2", "--over", "betas=[[0.9,0.99],[0.8,0.9]]")
    words = ("--each", "n=0,1,2,3", "sweep", "a", "b", *over, "--trial", "{n}")
    status, text = run("submit", "--on", "slurm", "--dry-run", *words)
    assert status == 0 and "--array=0-3" in text, text
    line = "sweep a b --over learning_rate=1e-3,1e-2 --over 'betas=[[0.9,0.99],[0.8,0.9]]' --trial"
    assert all(f"{number}) set -- {line} {number} ;;" in text for number in range(4)), text


def test_a_time_limit_in_which_a_run_makes_no_checkpoint_is_refused(tmp_path: Path, place: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "progress.jsonl").write_text(
        '{"clock": 0, "positions": 1000, "pid": 1, "workers": 1}\n'
        '{"clock": 16, "positions": 1000, "samples_per_second": 0.5, "seconds_left": 9}\n')
    words = ("train", "a", str(tmp_path / "run"), "--set", "checkpoint_every=160")
    status, text = run("submit", "--minutes", "7", "--dry-run", *words)
    assert status == 2 and "--minutes 7" in text and "take 7.3 minutes" in text, text
    assert "checkpoint_every=150" in text
    status, text = run("submit", "--minutes", "8", "--dry-run", *words)
    assert status == 0, text


def test_jobs_lists_none_and_says_which_is_not_there(place: Path) -> None:
    assert "nothing was submitted from here" in run("jobs")[1]
    for words in (("logs", "none"), ("cancel", "../other"), ("logs", "a/b")):
        status, text = run(*words)
        assert status == 2 and "Traceback" not in text, text


def test_a_job_is_submitted_listed_and_read(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = run("submit", "--wait", "curate", "nowhere", "work")
    assert status == 1 and "failed (exit status 2)" in text and "nowhere" in text, text
    (file,) = (place / "anchorface" / "jobs").glob("*.json")
    status, text = run("jobs")
    assert status == 0 and file.stem in text and "failed" in text and "curate nowhere work" in text, text
    assert "nowhere" in run("logs", file.stem)[1]
    assert "failed" in run("cancel", file.stem)[1]
