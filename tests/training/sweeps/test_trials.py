"""What stands in a sweep's folder: points before they begin, ends, one table; and who is stopped at a rung."""

import csv
import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anchorface.records import ConfigurationError, DataError
from anchorface.records.storage import join
from anchorface.training.execution import Execution
from anchorface.training.notes import Notes
from anchorface.training.recipes import Recipe
from anchorface.training.run_folders import look
from anchorface.training.sweeps.run import sweep
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.table import as_csv, as_markdown, picture
from anchorface.training.sweeps.task import Task
from anchorface.training.sweeps.trials import FAILED, FINISHED, STOPPED, Definition, Trials, define, folder_of
from anchorface.training.sweeps.tuning import Process, Rungs, Search, places
from tests.training.sweeps.test_space import swept


def validated(folder: str, number: int, values: dict[int, float]) -> None:
    """A trial's lines of progress, as a run writes them."""
    place = Path(folder_of(folder, number))
    place.mkdir(parents=True, exist_ok=True)
    lines = [{"clock": clock, "positions": 32, "validation/flow": value} for clock, value in values.items()]
    (place / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def four(swept_recipe: Recipe) -> Sweep:
    return swept(swept_recipe, "learning_rate=1e-4,1e-3,1e-2,1e-1")


def test_a_trial_is_noted_before_it_is_given_and_given_once(four: Sweep, tmp_path: Path) -> None:
    trials = Trials(four, str(tmp_path))
    first = trials.next()
    assert first is not None and (first.number, first.point) == (0, {"learning_rate": "1e-4"})
    assert json.loads(Path(folder_of(str(tmp_path), 0), "trial.json").read_text())["point"] == first.point
    trials.settle(0, FAILED, "it burnt")
    given = [trials.next(), trials.next(), trials.next(), trials.next()]
    assert [trial and trial.number for trial in given] == [1, 2, 3, None]
    trials.settle(2, FINISHED)
    resumed = Trials(four, str(tmp_path))
    assert resumed.left() == 2
    assert [trial and trial.number for trial in (resumed.next(), resumed.next(), resumed.next())] == [1, 3, None]
    again = Trials(four, str(tmp_path), again=True).next()
    assert again is not None and again.number == 0, "what failed is tried again where that is asked for"


def test_points_of_tpe_stand_in_the_folder_and_later_ones_are_added(swept_recipe: Recipe, tmp_path: Path) -> None:
    made = swept(swept_recipe, "learning_rate=1e-4..1e-1:log", search="tpe", trials=2)
    trials = Trials(made, str(tmp_path))
    points = [trial.point for trial in (trials.next(), trials.next()) if trial]
    validated(str(tmp_path), 0, {8: 2.0, 16: 1.0})
    trials.settle(0, FINISHED)
    more = Trials(replace(made, trials=3), str(tmp_path))
    assert more.told() == [(points[0], 1.0)]
    left = [trial.point for trial in (more.next(), more.next()) if trial]
    assert left[0] == points[1] and left[1] not in points


def test_files_that_are_not_of_this_sweep_are_refused_and_named(four: Sweep, tmp_path: Path) -> None:
    Trials(four, str(tmp_path)).next()
    place = Path(folder_of(str(tmp_path), 0), "trial.json")
    for text in ('{"number": 0, "point": {"learning_rate": "1e-3"}}', '{"number": 0}', "no JSON",
                 '{"number": 0, "point": {"feed.dataset": "/etc"}}', '{"number": 0, "point": {"learning_rate": [1]}}'):
        place.write_text(text)
        with pytest.raises(DataError, match=r"trial\.json"):
            Trials(four, str(tmp_path))
    known = define(str(tmp_path), Definition(told=four.to_dict(), manifest="m"))
    assert define(str(tmp_path), known) == known
    other = swept(replace(four.recipe, weight_decay=0.1), "learning_rate=1e-4,1e-3")
    with pytest.raises(ConfigurationError, match=r"another sweep.*over.*recipe\.weight_decay 0\.0, now 0\.1"):
        define(str(tmp_path), Definition(told=other.to_dict(), manifest="m"))


def test_the_table_has_every_trial_the_best_first_and_reasons_where_there_are_no_numbers(
    four: Sweep, tmp_path: Path
) -> None:
    folder, trials = str(tmp_path), Trials(four, str(tmp_path))
    while trials.next():
        pass
    validated(folder, 0, {8: 0.9, 16: 0.5, 24: 0.7, 32: 0.6})
    validated(folder, 1, {8: 0.8, 16: 0.4, 32: 0.25})
    validated(folder, 2, {8: 0.95})
    trials.settle(0, FINISHED)
    trials.settle(1, FINISHED)
    trials.settle(2, STOPPED, "at 8 samples, behind others")
    trials.settle(3, FAILED, "ValueError: a | b\n<script>")
    rows = trials.rows()
    assert [row.trial.number for row in rows] == [1, 0, 2, 3]
    told = list(csv.DictReader(io.StringIO(as_csv(four, rows).decode())))
    assert [line["state"] for line in told] == [FINISHED, FINISHED, STOPPED, FAILED]
    assert [(line["learning_rate"], line["flow"], line["at"], line["samples"]) for line in told[:2]] == [
        ("1e-3", "0.25", "32", "32"), ("1e-4", "0.5", "16", "32")]
    assert told[3]["flow"] == "" and told[3]["reason"] == "ValueError: a | b\n<script>"
    page = as_markdown(four, rows).decode().splitlines()
    assert page[2].startswith("| 1 | finished | 1e-3 | 0.25 |")
    assert "a \\| b &lt;script>" in page[5] and not page[6]
    drawn = picture(four, rows)
    assert drawn == picture(four, rows) and struct.unpack(">2I", drawn[16:24]) > (400, 200)


def test_a_trial_behind_the_others_at_its_rung_is_stopped_also_after_a_resume(four: Sweep, tmp_path: Path) -> None:
    """What trials of an earlier start said at their rungs is known in the next one; nobody is stopped twice or at
    other times than at rungs."""
    halving, folder = replace(four, asha=True, first_rung=8, reduction=2.0), str(tmp_path)
    trials = Trials(halving, folder)
    for number, values in ((0, {8: 0.5, 16: 0.3, 32: 0.2}), (1, {8: 0.6})):
        trials.begin(number)
        validated(folder, number, values)
    trials.settle(0, FINISHED)
    trials.settle(1, STOPPED, "at 8 samples, behind others")
    for again in range(2):
        trials = Trials(halving, folder)
        search = Search(trials, lambda line: None)
        rungs, given = Rungs(trials, search), {}
        for name in ("a", "b"):
            search.suggest(name)
            given[name] = SimpleNamespace(trial_id=name)
            rungs.on_trial_add(None, given[name])
        said = [(name, clock, value) for name, clock, value in (("a", 8, 0.58), ("b", 4, 9.0), ("b", 8, 0.45),
                                                                ("a", 12, 0.58), ("b", 16, 0.25))]
        for name, clock, value in said:
            assert rungs.on_trial_result(None, given[name], {"clock": clock, "value": value}) == "CONTINUE"
        first, second = trials.known[2], trials.known[3]
        assert (first.state, first.reason) == (STOPPED, "at 8 samples, behind others"), again
        assert second.state == ""
        Path(join(folder_of(folder, 2), "trial.json")).unlink()  # a sweep that was killed before it noted anything


def test_so_many_trials_at_once_as_fit(swept_recipe: Recipe) -> None:
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 16.0}]
    assert places(Execution(workers=0, cpus=1.0), nodes) == 24
    assert places(Execution(workers=0, cpus=3.0), nodes) == 7
    assert places(Execution(workers=0, cpus=1.0, gpus=1), nodes) == 4
    assert places(Execution(workers=2, cpus=1.0, feed_cpus=1.0, gpus=1), nodes) == 2
    assert places(Execution(workers=0, cpus=32.0), nodes) == 0


def test_a_task_of_an_array_that_cannot_be_is_refused_before_anything_is_written(four: Sweep, tmp_path: Path) -> None:
    chosen = swept(four.recipe, "learning_rate=1e-4..1e-1", search="tpe", trials=4)
    for wanted, number, said in ((four, 4, "trials 0 to 3"), (four, -1, "trials 0 to 3"), (chosen, 0, "--trial"),
                                 (replace(four, asha=True), 0, "--trial")):
        with pytest.raises(ConfigurationError, match=said):
            sweep(wanted, str(tmp_path / "dataset"), tmp_path / "sweep", only=number)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("one_thread")
def test_a_trials_process_says_each_validation_ends_with_a_checkpoint_when_it_is_stopped_and_goes_on(
    swept_recipe: Recipe, tiny_dataset: str, tmp_path: Path
) -> None:
    wanted = swept(replace(swept_recipe, positions=4000, checkpoint_every=4000), "learning_rate=1e-3,1e-2")
    task = Task(sweep=wanted, dataset=tiny_dataset, folder=str(tmp_path), execution=Execution(workers=0, threads=1))

    class Here(Process):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, task)

    def ended(process: Process) -> dict[str, Any]:
        said: dict[str, Any] = {}
        while not said.get("done"):
            said = process.step()
        return said

    folder, trials = folder_of(str(tmp_path), 1), Trials(wanted, str(tmp_path))
    trial = trials.begin(1)
    process = Here({"number": 1, "point": trial.point})
    said = process.step()
    assert said["clock"] == 8 and said["value"] > 0 and not look(folder).checkpoints
    trials.settle(1, STOPPED, "at 8 samples, behind others")
    last = ended(process)
    assert last["state"] == "", "how it ended stands in the sweep's note already"
    (row,) = Trials(wanted, str(tmp_path)).rows()
    assert row.state == STOPPED and 0 < row.clock < 4000 and row.value == last["value"]
    assert look(folder).checkpoints[-1].clock == row.clock

    trials.settle(1, "")
    goes_on = Here({"number": 1, "point": trial.point})
    again = goes_on.step()
    assert (again["clock"], again["value"]) == (said["clock"], said["value"])
    Notes(str(tmp_path)).ask_to_stop("SIGTERM")
    assert ended(goes_on)["state"] == "" and look(folder).starts == (0, row.clock)
    assert Here({"number": 1, "point": trial.point}).step() == {"done": True, "state": ""}, "nobody begins any more"
