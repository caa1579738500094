"""Promises of work before anybody has it: what is refused is refused here, and what is written shows no secret."""

import subprocess
from pathlib import Path

import pytest

from anchorface.infra.launch import submission as submissions_of
from anchorface.infra.launch import work as work_of
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.submission import Submission, find, keep, kept
from anchorface.infra.launch.work import tasks, work
from anchorface.records import ConfigurationError, DataError
from anchorface.records.git import checkout


@pytest.mark.parametrize(("given", "said"), [
    ({"nodes": 0}, "nodes"), ({"gpus": -1}, "gpus"), ({"cpus": 1.5}, "cpus"), ({"minutes": 2}, "120 seconds"),
    ({"queue": "a b"}, "queue"), ({"image": "--privileged"}, "image"), ({"account": "a\nb"}, "account"),
])
def test_resources_that_make_no_sense_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Resources(**given)  # type: ignore[arg-type]


def test_what_a_launcher_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="local knows no queue and no image"):
        Resources(queue="a", image="b").none_of("local", "queue", "account", "image")


def test_only_verbs_that_go_on_where_they_stopped_are_submitted() -> None:
    with pytest.raises(ConfigurationError, match="only curate, train"):
        work("erase", ["work"])


def test_variables_go_by_name_and_those_of_stores_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    monkeypatch.setenv("MINE", "hidden-word")
    made = work("train", ["a", "b"], environment=["MINE"])
    assert {"AWS_SECRET_ACCESS_KEY", "MINE"} <= set(made.environment) and "hidden-word" not in repr(made)
    assert "MINE" not in work("train", ["a", "b"]).environment
    monkeypatch.delenv("MINE")
    for name, said in (("MINE", "is not set"), ("MINE=word", "name of a variable")):
        with pytest.raises(ConfigurationError, match=said):
            work("train", ["a", "b"], environment=[name])


def test_a_task_for_each_combination_of_values() -> None:
    command = ("train", "{data}", "runs/{rate}-{seed}", "--set", "learning_rate={rate}", "{kept}")
    made = tasks(command, {"rate": ["1e-3", "1e-2"], "seed": ["1", "2"], "data": ["it's"]})
    assert [words[2] for words in made] == ["runs/1e-3-1", "runs/1e-3-2", "runs/1e-2-1", "runs/1e-2-2"]
    assert made[-1] == ("train", "it's", "runs/1e-2-2", "--set", "learning_rate=1e-2", "{kept}")
    for each, said in (({"unused": ["1"]}, "no word has"), ({"rate": ["1", "1"]}, "stands twice")):
        with pytest.raises(ConfigurationError, match=said):
            tasks(("train", "{rate}"), each)


def test_changes_that_are_not_committed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True,
                       capture_output=True)

    assert checkout(tmp_path) is None
    monkeypatch.setattr(work_of, "ROOT", tmp_path)
    with pytest.raises(ConfigurationError, match="no git repository"):
        work("train", [], clean=True)
    git("init", "--quiet")
    (tmp_path / "a file").write_text("a")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a")
    assert work("train", [], clean=True).code.changed == ()
    (tmp_path / "a file").write_text("b")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "new").write_text("c")
    found = work("train", []).code
    assert found.changed == ("a file", "folder/new") and len(found.commit) == 40
    with pytest.raises(ConfigurationError, match="not committed: a file, folder/new"):
        work("train", [], clean=True)


def test_a_submission_is_kept_for_its_owner_alone_and_without_secrets(submissions: Path) -> None:
    made = Submission(launcher="slurm", id="7", name="train-0a1b2c", command=("train", "s3://key:hidden-word@bucket/a"),
                      submitted=submissions_of.now())
    keep(made)
    file = submissions / "train-0a1b2c.json"
    assert file.stat().st_mode & 0o777 == 0o600 and submissions.stat().st_mode & 0o777 == 0o700
    assert "hidden-word" not in file.read_text()
    assert find("train-0a1b2c").id == "7"
    (submissions / "other.json").write_text('{"launcher": 3}')
    found, damaged = kept()
    assert [each.name for each in found] == ["train-0a1b2c"] and len(damaged) == 1
    with pytest.raises(DataError):
        find("other")
    for name in ("none", "../jobs/other", "a/b"):
        with pytest.raises((ConfigurationError, DataError)):
            find(name)
