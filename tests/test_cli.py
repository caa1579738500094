"""The command: every verb is listed, and what a user gets wrong is told in a sentence, never in a traceback."""

import pickle
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app

VERBS = {
    "demo", "doctor", "corpus", "curate", "dropped", "recipes", "train", "restore", "evaluate", "degrade",
    "audit", "merge", "split", "reject", "label", "decisions", "references", "who", "versions", "diff", "erase", "norm",
    "fetch", "prompt", "export", "plan", "shards", "verify", "sweep", "submit", "jobs", "logs", "cancel",
    "ray-cluster",
}


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


def test_the_verbs_are_these() -> None:
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == VERBS
    status, text = run("--help")
    assert status == 0
    assert all(verb in text for verb in VERBS)


def test_the_version_names_the_package_and_the_code() -> None:
    status, text = run("--version")
    assert status == 0
    assert re.fullmatch(r"anchorface \d+\.\d+\.\d+ [0-9a-f]{16}\n", text)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    status, text = run("curate", str(tmp_path / "nowhere"), str(tmp_path / "work"))
    assert status == 2
    assert "nowhere" in text and "Traceback" not in text


def test_an_unwritable_workspace_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"not a picture")
    status, text = run("curate", str(tmp_path / "photos"), str(tmp_path / "file" / "work"))
    assert status == 2
    assert "file" in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--recipe", "iconface_tinny"), "iconface_tiny"),
        (("--set", "lerning_rate=1"), "learning_rate"),
        (("--set", "positions"), "key=value"),
        (("--zero-stage", "7"), "zero_stage"),
    ],
)
def test_an_unknown_recipe_or_key_names_the_nearest(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    status, text = run("train", str(tmp_path / "dataset"), str(tmp_path / "run"), "--workers", "0", *words)
    assert status == 2
    assert said in text and "Traceback" not in text


def test_a_pickle_posing_as_a_checkpoint_is_refused_and_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    trap = tmp_path / "it ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (trap,)  # type: ignore[return-value]

    for name in ("checkpoint.json", "adapter.safetensors", "ema.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    (tmp_path / "photos").mkdir()
    status, text = run("restore", str(folder), str(tmp_path / "photos"), str(tmp_path / "out"))
    assert status == 2
    assert "checkpoint" in text and "Traceback" not in text
    assert not trap.exists()


def test_a_dataset_that_is_none_is_named(tmp_path: Path) -> None:
    status, text = run("train", str(tmp_path), str(tmp_path / "run"), "--workers", "0")
    assert status == 2
    assert str(tmp_path) in text.replace("\n", "")


def test_degrade_writes_pictures_plans_and_a_sheet_and_replays_its_plans(tmp_path: Path) -> None:
    from anchorface.synthetic import write_corpus

    write_corpus(tmp_path / "people", identities=1, photos_each=2, seed=1, size=96, workers=1)
    first, second = tmp_path / "first", tmp_path / "second"
    status, text = run("degrade", str(tmp_path / "people"), "--out", str(first), "--profile", "refldm-severe",
                       "--seed", "5", "--count", "2", "--size", "64", "--overrides", "jpeg.quality=[40,50]")
    assert status == 0 and "4 made" in text and "1 dropped" in text, text  # metadata.jsonl is no picture
    assert (first / "sheet.jpg").exists() and "metadata.jsonl" in (first / "dropped.jsonl").read_text()
    made = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(made) == 4
    status, text = run("degrade", str(tmp_path / "people"), "--out", str(second), "--size", "64",
                       "--plans-in", str(first / "plans.jsonl"))
    assert status == 0 and "4 made" in text, text
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in made)
    pipeline, third, fourth = tmp_path / "looks.yaml", tmp_path / "third", tmp_path / "fourth"
    pipeline.write_text("__version__: 2.0.8\ntransform: {__class_fullname__: CoarseDropout, p: 1.0}\n")
    words = ("degrade", str(tmp_path / "people"), "--profile", "refldm-severe", "--size", "64")
    status, text = run(*words, "--out", str(third), "--albumentations", str(pipeline))
    assert status == 0 and "2 made" in text and "CoarseDropout" in (third / "plans.jsonl").read_text(), text
    status, text = run(*words, "--out", str(fourth), "--plans-in", str(third / "plans.jsonl"))
    made = sorted(path.relative_to(third) for path in third.rglob("*.png"))
    assert status == 0 and all((third / path).read_bytes() == (fourth / path).read_bytes() for path in made)
    pipeline.write_text("__version__: 2.0.8\ntransform: {__class_fullname__: CoarseDropout, p: 0.5}\n")
    status, text = run(*words, "--out", str(third), "--albumentations", str(pipeline))
    assert status == 2 and "was made with appearance" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the pictures"),
        (("{folder}", "--profile", "gfpgam"), "did you mean gfpgan"),
        (("{folder}", "--overrides", "jpeg.qualty=[1,2]"), "jpeg.quality"),
        (("{folder}", "--overrides", "jpeg.quality"), "range=numbers"),
        (("{folder}", "--overrides", "jpeg.quality=90 to 30"), "range=numbers"),
        (("{folder}/nowhere",), "nowhere"),
        (("{folder}", "--albumentations", "{folder}/none.json"), "none.json"),
        (("{folder}", "--plans-in", "{folder}/none.jsonl"), "none.jsonl"),
    ],
)
def test_what_degrade_cannot_do_is_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    status, text = run("degrade", *(word.format(folder=tmp_path) for word in words), "--out", str(tmp_path / "out"))
    assert status == 2
    assert said in text.replace("\n", "") and "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--over", "learning_rate=1e-4,1e-3", "--over", "anchor_alone=0,0.5"), 0, ("4 trials", "1e-3", "0.5")),
        (("--over", "learning_rate=1e-4..1e-3:log", "--search", "random", "--trials", "3"), 0, ("3 trials",)),
        (("--over", "learning_rate=1e-4..1e-3", "--search", "tpe", "--trials", "9"), 0, ("9 trials", "earlier ones")),
        (("--over", "learning_rate=1e-4,7"), 2, ("learning_rate=7", "to 1")),
        (("--over", "lr=1,2"), 2, ("unknown key",)),
        (("--over", "learning_rate=1e-4,1e-3", "--set", "validation.every=0"), 2, ("validation.every",)),
        (("--over", "feed.batch=8,16", "--workers", "12"), 2, ("12 workers",)),
    ],
)
def test_a_sweep_lists_its_trials_and_starts_nothing(
    tmp_path: Path, words: tuple[str, ...], status: int, said: tuple[str, ...]
) -> None:
    found, text = run("sweep", str(tmp_path / "dataset"), str(tmp_path / "sweep"), "--dry-run", *words)
    assert found == status and all(word in text for word in said), text
    assert not list(tmp_path.iterdir())
