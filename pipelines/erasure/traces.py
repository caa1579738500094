"""What runs, evaluations, restorations and MLflow keep of people, found first and then taken away.

In: folders, the runs there that saw the person (erasure.runs), and what is erased. Out: Traces, values of JSON:

    delete      *.html below a folder with such a run, and every picture of such a run: they can be made again, and
                nothing says whom they show; pictures that `restore` made of the person's photographs, or that show the
                person (erasure.likeness); cached latents of a version that held the person
    numbers     rows of an evaluation whose target or reference is an erased face (conditions/*.parquet)
    photos      rows of restored pictures that go (restored.parquet)
    rewrite     ids of erased faces and photographs in protocols, reports and tables become salted marks, their files
                and labels `erased`
    artifact    pictures and pages of an MLflow run, wherever its artifacts stand

Doing one twice changes nothing.
"""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.pipelines.erasure.erased import Erased
from anchorface.pipelines.erasure.rows import column_names
from anchorface.pipelines.erasure.runs import PROTOCOL, files_of
from anchorface.records.addresses import local_path
from anchorface.records.storage import delete, exists, join, name_in, read_bytes, read_table, write_atomic, write_table

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
PAGES = (".html",)
TEXTS = (".json", ".jsonl", ".csv", ".txt", ".md", ".yaml", ".yml", ".log")
RESTORED = "restored.parquet"
RESULTS = (".png", ".mp4", ".mkv")
"""Of restored photographs and films."""
SPILLED = "ray_spilled_objects*"
MOST = 64 * 2**20
"""Bytes of the largest text that is searched (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """root: the folder asked about; do: see above; path; what: numbers, names or the artifact's place."""

    root: str
    do: str
    path: str
    what: tuple[Any, ...] = ()


def traces(
    folders: Sequence[str], runs: Sequence[dict[str, Any]], erased: Erased, shows: Callable[[str], bool]
) -> list[Trace]:
    """What there is of the person.

    Args:
        folders: of runs and restored pictures. shows: whether the picture of a file shows the person.
    """
    found: list[Trace] = []
    for folder in folders:
        files = files_of(folder)
        saw = [run["folder"] for run in runs if "folder" in run and _below(run["folder"], files)]
        restored = [uri.rpartition("/")[0] for uri in files if uri.endswith(f"/{RESTORED}")]
        gone: dict[str, list[str]] = {}
        for uri in files:
            home = next((place for place in restored if uri.startswith(f"{place}/")), None)
            kind = uri.lower()
            if home is not None and kind.endswith(RESULTS):
                name = name_in(home, uri).rpartition(".")[0]
                if erased.has_file(name) or shows(uri):
                    gone.setdefault(home, []).append(name)
                    found += [Trace(root=folder, do="delete", path=path) for path in (uri, join(home, f"{name}.json"))]
            elif (kind.endswith(PAGES) and saw) or (kind.endswith(PICTURES) and _inside(uri, saw)):
                found.append(Trace(root=folder, do="delete", path=uri))
            elif kind.endswith((*TEXTS, ".parquet")) and _tells(uri, erased):
                found.append(Trace(root=folder, do="rewrite", path=uri))
        found += [Trace(root=folder, do="photos", path=join(home, RESTORED), what=tuple(names))
                  for home, names in gone.items()]
        for run in runs:
            if run["kind"] == "evaluation" and run["folder"] in saw:
                found += _judged(folder, run["folder"], files, erased.face_ids)
    for run in runs:
        found += [Trace(root=run["folder"], do="delete", path=join(place, run["manifest"]))
                  for place in run.get("latents", ())]
        found += _artifacts(run, erased) if "artifacts" in run else []
    return sorted(set(found), key=lambda trace: (trace.do == "rewrite", trace.path, trace.do))


def clean(trace: Trace, erased: Erased) -> None:
    """Take one away."""
    if trace.do == "artifact":
        _delete_artifact(*trace.what)
    elif not exists(trace.path):
        return
    elif trace.do == "delete":
        delete(trace.path)
    elif trace.do == "rewrite" and trace.path.endswith(".parquet"):
        write_table(trace.path, _untold(read_table(trace.path), erased))
    elif trace.do == "rewrite":
        write_atomic(trace.path, erased.marked(read_bytes(trace.path).decode(errors="surrogateescape")).encode(
            errors="surrogateescape"))
    else:
        table, column = read_table(trace.path), "number" if trace.do == "numbers" else "photo"
        rows = pc.is_in(table[column], value_set=pa.array(trace.what, table.schema.field(column).type))
        if pc.any(rows).as_py():
            write_table(trace.path, table.filter(pc.invert(rows)))


def left_by_ray(erased: Erased) -> tuple[list[Trace], list[str]]:
    """What Ray left on this machine: spilled objects of finished sessions, and their logs that name something erased;
    and the sessions that run, which nobody touches. Only this user's own are looked at."""
    found, running = [], []
    root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    for session in sorted(root.glob("session_*_*")):
        if session.is_symlink() or not session.is_dir() or session.stat().st_uid != os.geteuid():
            continue
        if _runs(session):
            running.append(str(session))
            continue
        found += [Trace(root=str(root), do="delete", path=str(each)) for each in sorted(session.rglob(SPILLED))]
        found += [Trace(root=str(root), do="delete", path=str(log)) for log in sorted(session.glob("logs/**/*"))
                  if log.is_file() and not log.is_symlink() and _names(log, erased)]
    return found, running


def _runs(session: Path) -> bool:
    """Whether the process that began a session lives (its number ends the name), or somebody answers at its socket."""
    number = session.name.rpartition("_")[2]
    if number.isdigit() and psutil.pid_exists(int(number)):
        return True
    for place in session.glob("sockets/raylet*"):
        with socket.socket(socket.AF_UNIX) as asked:
            try:
                asked.connect(str(place))
            except ConnectionRefusedError:
                continue
            except OSError:
                return True  # not to be told from here
            return True
    return False


def _names(log: Path, erased: Erased) -> bool:
    if log.stat().st_size > MOST:
        return True  # too long to be looked through, and of no use any more
    text = log.read_bytes().decode(errors="replace")
    return erased.marked(text) != text


def _below(place: str, files: Sequence[str]) -> bool:
    return any(uri.startswith(f"{place}/") for uri in files)


def _inside(uri: str, places: Sequence[str]) -> bool:
    return any(uri.startswith(f"{place}/") for place in places)


def _tells(uri: str, erased: Erased) -> bool:
    """Whether a text or table names something erased."""
    if uri.endswith(".parquet"):
        words = column_names(uri, _is_words)
        table = read_table(uri, words) if words else None
        return table is not None and _untold(table, erased) is not table
    content = read_bytes(uri)
    text = content.decode(errors="surrogateescape") if len(content) <= MOST else ""
    return erased.marked(text) != text


def _is_words(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def _untold(table: pa.Table, erased: Erased) -> pa.Table:
    """The table with marks for ids; the same object where it names nothing erased."""
    for number, each in enumerate(table.schema):
        if _is_words(each.type):
            values = table[each.name].to_pylist()
            told = [[erased.marked(word) for word in value] if isinstance(value, list) else
                    value and erased.marked(value) for value in values]
            if told != values:
                table = table.set_column(number, each, pa.array(told, each.type))
    return table


def _judged(root: str, folder: str, files: Sequence[str], face_ids: frozenset[str]) -> list[Trace]:
    """The tables of an evaluation whose pictures show erased faces, and which numbers those are."""
    rows = json.loads(read_bytes(join(folder, PROTOCOL)))["rows"]
    numbers = tuple(row["number"] for row in rows if {row["target"], *row["references"]} & face_ids)
    tables = [uri for uri in files if uri.startswith(f"{folder}/conditions/") and uri.endswith(".parquet")]
    return [Trace(root=root, do="numbers", path=uri, what=numbers) for uri in tables] if numbers else []


def _artifacts(run: dict[str, Any], erased: Erased) -> list[Trace]:
    """The pictures and pages of an MLflow run, and its texts that name something erased."""
    place, root = local_path(run["artifacts"]), run["store"]
    if place is not None:
        files = files_of(str(place)) if place.is_dir() else []
        shown = [uri for uri in files if uri.lower().endswith((*PICTURES, *PAGES))]
        told = [uri for uri in files if uri.lower().endswith(TEXTS) and _tells(uri, erased)]
        return [Trace(root=root, do="delete", path=uri) for uri in shown] + [
            Trace(root=root, do="rewrite", path=uri) for uri in told]
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(run["artifacts"], tracking_uri=root)
    waiting, found = [""], list[Trace]()
    for folder in waiting:
        for each in repository.list_artifacts(folder or None):
            if each.is_dir:
                waiting.append(each.path)
            elif each.path.lower().endswith((*PICTURES, *PAGES)):
                what = (run["artifacts"], each.path, root)
                found.append(Trace(root=root, do="artifact", path=f"{run['artifacts']}/{each.path}", what=what))
    return found


def _delete_artifact(artifacts: str, path: str, store: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(artifacts, tracking_uri=store).delete_artifacts(path)
