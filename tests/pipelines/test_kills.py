"""Twenty kills, of drivers and of workers: the tables are those of a run that nobody disturbed."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from killed_line import run
from whole_line import run_line

from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.stages.stage import dropped
from anchorface.records import rng
from anchorface.records.storage import list_files, read_table
from tests.forked import Forked


def kill_workers(number: int, killed: list[int], stop: threading.Event) -> None:
    """SIGKILL to Ray workers that do a part, one after the other as they come, until there are so many."""
    while not stop.is_set() and len(killed) < number:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if process.pid not in killed and any("_PartRunner" in word for word in words):
                time.sleep(0.3)
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                break
        time.sleep(0.2)


def rows(out: Path, version: Path) -> dict[str, pa.Table]:
    """Every table that the line leaves behind, in a fixed order of rows."""
    tables = {}
    for folder in ("photos", "faces", "identities"):
        parts = [uri for uri in list_files(str(out / folder), (".parquet",)) if "/part-" in uri]
        table = pa.concat_tables([read_table(uri) for uri in parts])
        tables[folder] = table.sort_by([(table.column_names[0], "ascending")])
    index = IdentityIndex.open(str(out / "index"))
    tables["index"] = index.faces().sort_by("face_id")
    ids = tables["index"]["face_id"].to_pylist()
    crops = index.crops(ids)
    tables["crops"] = pa.table({"face_id": ids, "crop": [crops[face_id] for face_id in ids]})
    tables["dropped"] = dropped(str(out)).sort_by([("uri", "ascending"), ("row", "ascending")])
    tables["dataset"] = read_table(str(version / "faces.parquet"))
    return tables


def assert_undisturbed(line, out: Path) -> None:
    """One more run does what is left; then every table is that of the undisturbed run, row for row."""
    version = run_line(line.source, out, line.embedder, concurrency=0)
    expected, found = rows(line.out, line.version), rows(out, version)
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        assert found[name].equals(table), f"{name}: not the rows of the undisturbed run"
    assert version.name == line.version.name
    assert not list(out.rglob("*.tmp")) and not (out / "building").exists()


def kill_the_driver(line, out: Path, draws) -> bool:
    """One run that is killed, in the middle of a rename or at a random moment; False if it was done before that."""
    log = out.with_suffix(".log")
    if draws.uniform() < 0.5:
        process = Forked(log, run, line.source, out, line.embedder, int(draws.integers(1, 9)))
    else:
        process = Forked(log, run, line.source, out, line.embedder, 0)
        time.sleep(float(draws.uniform(0.0, 1.5)))
        process.kill()
    assert process.wait(300) in (0, -signal.SIGKILL), log.read_text()
    return process.returncode != 0


def disturb(line, folder: Path, number: int) -> list[Path]:
    """Eight killed drivers in a row; the workspaces that they left, one more wherever a run was done too soon."""
    draws, kills, workspaces = rng(7, "kills", number), 0, [folder / f"out-{number}-0"]
    while kills < 8:
        if kill_the_driver(line, workspaces[-1], draws):
            kills += 1
        else:
            workspaces.append(folder / f"out-{number}-{len(workspaces)}")
    return workspaces


@pytest.mark.line
@pytest.mark.timeout(900)
def test_sixteen_killed_drivers_leave_the_tables_of_an_undisturbed_run(line, tmp_path):
    with ThreadPoolExecutor(2) as both:
        left = list(both.map(lambda number: disturb(line, tmp_path, number), (0, 1)))
    for out in (out for workspaces in left for out in workspaces):
        assert_undisturbed(line, out)


@pytest.mark.line
@pytest.mark.timeout(900)
def test_four_killed_ray_workers_leave_the_tables_of_an_undisturbed_run(ray_session, line, tmp_path):
    out, killed, stop = tmp_path / "out", [], threading.Event()
    thread = threading.Thread(target=kill_workers, args=(4, killed, stop))
    thread.start()
    try:
        # A worker's death is Ray's to mend: the run goes on and ends by itself.
        for number in range(4):
            run_line(line.source, tmp_path / f"more-{number}" if len(killed) < 4 and number else out, line.embedder,
                     concurrency=2)
            if len(killed) == 4:
                break
    finally:
        stop.set()
        thread.join()
    assert len(killed) == 4, f"only {len(killed)} workers were there to be killed"
    for folder in sorted(tmp_path.iterdir()):
        assert_undisturbed(line, folder)
