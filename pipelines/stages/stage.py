"""A stage that can be stopped anywhere: parts planned ahead, each written whole, each done once.

In: parts (a name, a key, a payload in JSON form) and a worker that turns a payload into tables.
Out, under the workspace `out/`:

    <folder>/part-00003.parquet       a part's rows, written under a temporary name, then renamed
    dropped/<stage>/part-00003.parquet    its rows that did not go on, with their cause
    done/<stage>/part-00003.json      done-marker: the part's key, its outputs' hashes, its counts
    done/<stage>/complete.json        written last, when every part of the plan is done

A part's key is the hash of its inputs, the stage's settings and the stage's VERSION. A rerun does the parts
whose marker is missing, has another key, or names an output that is gone; so a rerun is the resume.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NotRequired, TypedDict, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from pyarrow import fs

from anchorface.pipelines.stages.cluster import connect, is_there
from anchorface.pipelines.stages.metrics import Metrics
from anchorface.pipelines.stages.progress import Progress, StageProgress
from anchorface.records import errors
from anchorface.records.errors import AnchorfaceError, DataError, StorageError
from anchorface.records.nouns import DROPPED_SCHEMA, Dropped
from anchorface.records.state import RelativePath, parsed
from anchorface.records.storage import (
    delete,
    exists,
    filesystem,
    join,
    list_files,
    make_folder,
    read_bytes,
    read_if_there,
    read_table,
    write_atomic,
)

T = TypeVar("T")
Counts = dict[str, int]
Outputs = dict[str, bytes]
Worker = Callable[[str, dict[str, Any]], tuple[Outputs, Counts]]
TOMBSTONES = "tombstones"
"""The folder of the workspace that says who must not come back (identity_index.tombstones)."""
ANSWER_SCHEMA = pa.schema([
    ("rows", pa.int64()), ("counts", pa.map_(pa.string(), pa.int64())),
    ("error", pa.string()), ("message", pa.string()),
])
"""What a Ray worker says of a part: what it did, or the error that it met."""
RAY_SECONDS = 10.0
"""What Ray and its workers need to start, about: our choice."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One unit of work.

    rows: for the progress report. inputs: hash of what it reads. payload: JSON for the worker.
    """

    name: str
    rows: int
    inputs: str
    payload: str


class Output(TypedDict):
    """A file that a part wrote, as it was computed. rewritten: the hash of what stands there since an erasure."""

    sha256: str
    byte_size: int
    rewritten: NotRequired[str]


class Marker(TypedDict):
    """What a part's done-marker says. outputs: path in the workspace -> what stands there."""

    key: str
    outputs: dict[RelativePath, Output]
    counts: Counts


class Complete(TypedDict):
    """What `complete.json` says of a finished stage: the hash of its plan, its settings, all parts' outputs and counts.
    """

    plan: str
    settings: dict[str, Any]
    outputs: dict[RelativePath, Output]
    counts: Counts


def fingerprint(*values: Any) -> str:
    """SHA-256 of the values' canonical JSON, 32 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


def payload(values: Any) -> str:
    """A part's payload as JSON."""
    return json.dumps(values, default=str)


def part_name(number: int) -> str:
    """`part-00003`."""
    return f"part-{number:05d}"


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as Parquet: equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    # A dictionary or statistics of JPEG bytes would cost time and help nobody.
    plain = [field.name for field in table.schema if field.type != pa.binary()]
    pq.write_table(table, sink, compression="zstd", use_dictionary=plain, write_statistics=plain)
    return sink.getvalue().to_pybytes()


def write_changed(uri: str, content: bytes) -> str:
    """Write a part's input unless it stands there already.

    Returns:
        Its SHA-256.

    Raises:
        StorageError: it cannot be written.
    """
    if not exists(uri) or read_bytes(uri) != content:
        write_atomic(uri, content)
    return hashlib.sha256(content).hexdigest()


def dropped_output(stage: str, part: str, rows: Sequence[Dropped]) -> Outputs:
    """The `dropped` file of one part."""
    table = pa.Table.from_pylist([row.to_row() for row in rows], schema=DROPPED_SCHEMA)
    return {f"dropped/{stage}/{part}.parquet": parquet_bytes(table)}


def run(
    out: str, stage: str, parts: Sequence[Part], worker: Callable[[], Worker], *,
    settings: Mapping[str, Any], unit: str = "photos", progress: Progress | None = None,
    concurrency: int | None = None, num_cpus: float = 0.5, num_gpus: float = 0.0,
) -> Counts:
    """Do the parts that are not done yet, with Ray Data.

    Args:
        out: the workspace.
        stage: its name, for markers and the report.
        parts: the whole plan; what an earlier plan left over is deleted.
        worker: makes the function that does one part: called once in each Ray worker, so it may load networks.
            The function takes the part's name and payload, and returns its outputs (path in the workspace ->
            bytes) and counts.
        settings: what else the outputs depend on, the stage's `version` among it; another value redoes all parts.
        unit: what `Part.rows` counts.
        progress: where to report; silent if None.
        concurrency: Ray workers. 0 does the parts in this process, without Ray. By default the first parts are done
            here, and Ray does the others, as many at once as there are CPUs, if they would take longer than its start.
        num_cpus, num_gpus: what Ray books for each worker.

    Returns:
        The counts of all parts, those done before included.

    Raises:
        StorageError: the workspace cannot be written.
        AnchorfaceError: what the worker raised.
    """
    markers_folder = join(out, "done", stage)
    make_folder(markers_folder)
    keys = {part.name: fingerprint(stage, settings, part.inputs) for part in parts}
    plan_key = fingerprint(keys)
    complete = _complete(out, stage)
    markers = {part.name: _marker(out, stage, part.name) for part in parts}
    pending = [part for part in parts if not _is_done(out, keys[part.name], markers[part.name])]
    if pending or complete is None or complete["plan"] != plan_key:
        complete = None
        delete(join(markers_folder, "complete.json"))
        _delete_others(out, stage, parts)
    waiting = {part.name for part in pending}
    with (progress or Progress(quiet=True)).stage(stage, sum(part.rows for part in parts), unit) as report:
        report.watch = partial(_show, Metrics("curation", stage=stage))
        for part in parts:
            if part.name not in waiting:
                report.skip(part.rows, {} if (marker := markers[part.name]) is None else marker["counts"])
        if pending:
            if concurrency is None and not num_gpus and not is_there():
                pending = _inline(out, stage, pending, keys, worker, report, RAY_SECONDS)
            if concurrency == 0:
                _inline(out, stage, pending, keys, worker, report)
            elif pending:
                _with_ray(out, stage, pending, keys, worker, report, concurrency, num_cpus, num_gpus)
    if complete is None:
        done = [marker for part in parts if (marker := _marker(out, stage, part.name)) is not None]
        outputs = {path: value for marker in done for path, value in marker["outputs"].items()}
        counts = _sum(marker["counts"] for marker in done)
        content = {"plan": plan_key, "settings": dict(settings), "outputs": outputs, "counts": counts}
        write_atomic(join(markers_folder, "complete.json"), json.dumps(content, sort_keys=True, indent=1).encode())
        return counts
    return complete["counts"]


def outputs(out: str, stage: str, folder: str) -> dict[str, str]:
    """The files that a finished stage wrote into one folder of the workspace.

    Returns:
        Path in the workspace -> SHA-256, in order of name.

    Raises:
        DataError: the stage has not finished.
    """
    complete = _complete(out, stage)
    if complete is None:
        raise DataError(f"{out}: the stage {stage!r} has not finished here; run it (again), it does what is left")
    found = complete["outputs"].items()
    return {path: value["sha256"] for path, value in sorted(found) if path.startswith(f"{folder}/")}


def counts(out: str, stage: str) -> Counts:
    """What a finished stage counted, all parts together; empty if it has not finished."""
    return {} if (complete := _complete(out, stage)) is None else complete["counts"]


def settings(out: str, stage: str) -> dict[str, Any]:
    """The settings that a finished stage ran with; empty if it has not finished."""
    return (_complete(out, stage) or {"settings": {}})["settings"]


def _show(metrics: Metrics, report: StageProgress) -> None:
    metrics.set({"rows": report.done, "rows_planned": report.total})
    for what, number in report.counts.items():
        metrics.set({"counted": number}, counted=what)


def _with_ray(
    out: str, stage: str, parts: Sequence[Part], keys: Mapping[str, str], worker: Callable[[], Worker],
    report: StageProgress, concurrency: int | None, num_cpus: float, num_gpus: float,
) -> None:
    connect()
    size = concurrency or max(1, min(len(parts), int(ray.cluster_resources().get("CPU", 1))))
    rows = [{"name": p.name, "rows": p.rows, "key": keys[p.name], "payload": p.payload} for p in parts]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _PartRunner, fn_constructor_args=(out, stage, worker), batch_size=1, batch_format="pyarrow", num_cpus=num_cpus,
        num_gpus=num_gpus, compute=ray.data.ActorPoolStrategy(size=min(size, len(parts))),
    )
    for row in dataset.iter_rows():
        if row["error"] is not None:
            raise errors.from_value(row["error"], row["message"])
        report.advance(row["rows"], **dict(row["counts"]))


class _PartRunner:
    """What Ray Data calls with one part. Our own errors travel back as values, so that they keep their class."""

    def __init__(self, out: str, stage: str, worker: Callable[[], Worker]) -> None:
        self._out, self._stage, self._make = out, stage, worker
        self._worker: _Worker | None = None

    def __call__(self, parts: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._answer(**part) for part in parts.to_pylist()], schema=ANSWER_SCHEMA)

    def _answer(self, name: str, rows: int, key: str, payload: str) -> dict[str, Any]:
        try:
            self._worker = self._worker or _Worker(self._out, self._make)
            counts = _do(self._out, self._stage, name, key, payload, self._worker)
        except AnchorfaceError as error:
            return dict(zip(("error", "message"), errors.to_value(error), strict=True))
        return {"rows": rows, "counts": list(counts.items())}


def _inline(
    out: str, stage: str, parts: Sequence[Part], keys: Mapping[str, str], worker: Callable[[], Worker],
    report: StageProgress, seconds: float = math.inf,
) -> list[Part]:
    """Do parts in this process until what is left would take longer than so many seconds; what is left."""
    function, began = _Worker(out, worker), time.monotonic()
    for done, part in enumerate(parts, 1):
        report.advance(part.rows, **_do(out, stage, part.name, keys[part.name], part.payload, function))
        if (time.monotonic() - began) / done * (len(parts) - done) > seconds:
            return list(parts[done:])
    return []


class _Worker:
    """The function that does parts; made anew when somebody was erased since, so that nobody comes back."""

    def __init__(self, out: str, make: Callable[[], Worker]) -> None:
        self._out, self._make = out, make
        self._erased, self._function = self._tombstones(), make()

    def __call__(self, name: str, payload: dict[str, Any]) -> tuple[Outputs, Counts]:
        if not self.current():
            self._erased, self._function = self._tombstones(), self._make()
        return self._function(name, payload)

    def current(self) -> bool:
        """Whether nobody was erased since the function was made."""
        return self._erased == self._tombstones()

    def _tombstones(self) -> list[str]:
        folder = join(self._out, TOMBSTONES)
        return list_files(folder, (".json",), missing_ok=True)


def _do(out: str, stage: str, name: str, key: str, text: str, worker: _Worker) -> Counts:
    """Do one part: outputs first, its marker last, and all of it again if somebody was erased meanwhile."""
    while True:
        files, counts = worker(name, json.loads(text))
        described = {}
        for path, content in files.items():
            write_atomic(join(out, path), content)
            described[path] = {"sha256": hashlib.sha256(content).hexdigest(), "byte_size": len(content)}
        if worker.current():
            break
    marker = {"key": key, "outputs": described, "counts": counts}
    write_atomic(join(out, "done", stage, f"{name}.json"), json.dumps(marker, sort_keys=True).encode())
    return counts


def _is_done(out: str, key: str, marker: Marker | None) -> bool:
    if marker is None or marker["key"] != key:
        return False
    for path, described in marker["outputs"].items():
        system, place = filesystem(join(out, path))
        info = system.get_file_info(place)
        if info.type != fs.FileType.File or info.size != described["byte_size"]:
            return False
    return True


def _marker(out: str, stage: str, name: str) -> Marker | None:
    uri = join(out, "done", stage, f"{name}.json")
    return _trusted(uri, Marker)


def _complete(out: str, stage: str) -> Complete | None:
    uri = join(out, "done", stage, "complete.json")
    return _trusted(uri, Complete)


def _trusted(uri: str, kind: type[T]) -> T | None:
    content = read_if_there(uri)
    if content is None:
        return None
    try:
        return parsed(content, kind, uri)
    except DataError as error:
        raise DataError(f"{error}; delete this file, and what it marks is done again") from error


def _delete_others(out: str, stage: str, parts: Sequence[Part]) -> None:
    """Delete what another plan left behind: parts that are no more."""
    planned = {part.name for part in parts}
    for uri in list_files(join(out, "done", stage), (".json",)):
        name = uri.rsplit("/", 1)[-1].removesuffix(".json")
        if name not in planned:
            marker = _marker(out, stage, name)
            for path in () if marker is None else marker["outputs"]:
                delete(join(out, path))
            delete(uri)


def _sum(counts: Any) -> Counts:
    total: Counts = {}
    for each in counts:
        for key, number in each.items():
            total[key] = total.get(key, 0) + number
    return total


def dropped(out: str) -> pa.Table:
    """All rows that did not go on, of all stages (schema: records.DROPPED_SCHEMA).

    Raises:
        StorageError: there is no such workspace.
    """
    if not exists(out):
        raise StorageError(f"{out}: there is no such workspace; `ingest` makes one")
    folder = join(out, "dropped")
    files = list_files(folder, (".parquet",), missing_ok=True)
    tables = [read_table(uri, DROPPED_SCHEMA.names).cast(DROPPED_SCHEMA) for uri in files]
    return pa.concat_tables([DROPPED_SCHEMA.empty_table(), *tables])
