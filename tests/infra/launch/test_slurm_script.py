"""Promises of the batch script: a function of the work, whole and without a secret; words arrive as they are."""

import subprocess
from pathlib import Path

import pytest

from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.slurm import Slurm
from anchorface.infra.launch.work import Code, Work
from anchorface.records import ConfigurationError, LauncherError

HOSTILE = ("it's", "$(touch trap)", "`touch trap`", "two\nlines", "-x", "", "*", "\\", '"', "#SBATCH -N9", "ä {a}")


def work(resources: Resources | None = None, command: tuple[str, ...] = ("train", "a", "b"), **given: object) -> Work:
    return Work(name="train-0a1b2c", command=command, resources=resources or Resources(), folder="/shared/it's here",
                code=Code(commit="0" * 40, tree="0.1.0 abc", changed=("a\n#SBATCH --nodes=9",)),
                **given)  # type: ignore[arg-type]


def script(made: Work) -> str:
    (text,) = Slurm().render(made).values()
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    return text


def options(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize("given", [
    Resources(), Resources(nodes=3, cpus=4, gpus=2, memory_gib=8, queue="low", minutes=30, account="us"),
    Resources(feed_nodes=2, feed_cpus=8, gpus=1), Resources(image="docker://a/b:1", nodes=2), Resources(image="a.sif")])
def test_the_same_work_gives_the_same_script_which_bash_reads(given: Resources) -> None:
    assert script(work(given)) == script(work(given))


def test_what_is_needed_is_asked_for() -> None:
    text = script(work(Resources(nodes=3, cpus=4, gpus=2, memory_gib=8, queue="low", minutes=30, account="us")))
    assert {"--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=4", "--gpus-per-node=2", "--mem=8G", "--partition=low",
            "--time=30", "--signal=B:USR1@120", "--account=us", "--requeue", "--open-mode=append"} <= set(options(text))
    assert "ANCHORFACE_RAY_NODES=3" in text and "--nodes=2 --ntasks=2 --relative=1" in text


def test_nodes_for_the_feed_are_a_part_of_their_own_without_gpus() -> None:
    text = script(work(Resources(nodes=2, gpus=1, feed_nodes=4, feed_cpus=16, queue="low")))
    first, second = text.split("#SBATCH hetjob")
    assert "--gpus-per-node=1" in first and "--gpus-per-node" not in "\n".join(options(second))
    assert {"--nodes=4", "--cpus-per-task=16", "--partition=low"} <= set(options(second))
    assert "--het-group=1 --nodes=4" in text and "ANCHORFACE_RAY_NODES=6" in text


@pytest.mark.parametrize("array", [False, True])
def test_words_arrive_as_they_are(array: bool, tmp_path: Path) -> None:
    made = work(command=HOSTILE, array=(("no",), HOSTILE) if array else ())
    text = script(made)
    assert [line for line in options(text) if line.startswith("--nodes")] == ["--nodes=1"]
    start, end = text.index("set -u"), text.index("export RAY_AUTH_MODE")
    shown = f"{text[start:end]}printf '%s\\0' \"$@\""
    done = subprocess.run(["bash", "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env={"SLURM_ARRAY_TASK_ID": "1"})
    assert ('id="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' in text) == array  # all tasks hear of the bare number
    assert tuple(done.stdout.split("\0")[:-1]) == HOSTILE
    assert not list(tmp_path.iterdir())


def test_no_value_of_a_variable_stands_in_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    text = script(work(environment=("AWS_SECRET_ACCESS_KEY",)))
    assert "hidden-word" not in text and "AWS_SECRET_ACCESS_KEY" in text


@pytest.mark.parametrize(("given", "said"), [
    ({"array": (("a",), ("b",)), "resources": Resources(feed_nodes=1, feed_cpus=1)}, "not both"),
    ({"resources": Resources(feed_cpus=1)}, "of --feed-nodes"),
])
def test_what_slurm_does_not_have_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Slurm().render(work(**given))  # type: ignore[arg-type]


def test_without_slurm_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="scontrol is not installed here: submit from a login node"):
        Slurm().ready(work())
