"""The feed on Ray Data: workers make batches ahead of the reader, in the reader's order.

In: an opened Dataset and FeedSettings. Out: the same batches as the inline engine. A row of the Ray Dataset is one
step's batch as bytes (a JSON line that names dtypes and shapes, then the arrays), because the number of references
changes from step to step.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, ExecutionOptions

from anchorface.pipelines.feed.dataset import Dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.pipelines.stages.cluster import connect, quiet_data
from anchorface.records import errors
from anchorface.records.errors import AnchorfaceError

TASKS_PER_WINDOW = 4096


def stream(
    dataset: Dataset, settings: FeedSettings, start_step: int, stop_step: int, *, rank: int, world: int,
    concurrency: int, num_cpus: float, steps_per_task: int,
) -> Iterator[Batch]:
    """Batches in order; see `pipelines.feed.batches`.

    A long run goes through Ray Data in windows of TASKS_PER_WINDOW tasks, so that planning takes no time and no
    memory whatever its length.
    """
    connect()
    quiet_data()
    shared = ray.put(dataset)
    window = TASKS_PER_WINDOW * steps_per_task
    for first in range(start_step, stop_step, window):
        last = min(first + window, stop_step)
        tasks = [
            {"first": step, "last": min(step + steps_per_task, last)} for step in range(first, last, steps_per_task)
        ]
        made = ray.data.from_items(tasks, override_num_blocks=len(tasks))
        made.context.execution_options = _ordered(made.context.execution_options)
        made = made.map_batches(
            _BatchMaker, fn_constructor_args=(shared, settings, rank, world), batch_size=None, num_cpus=num_cpus,
            compute=ActorPoolStrategy(min_size=1, max_size=max(1, min(concurrency, len(tasks)))),
        )
        for row in made.iter_rows():
            if row["error"]:
                name, message = json.loads(row["error"])
                raise getattr(errors, name)(message)
            yield unpack(row["batch"])


def _ordered(options: ExecutionOptions) -> ExecutionOptions:
    options.preserve_order = True
    return options


class _BatchMaker:
    """One Ray worker: a Feed over the shared dataset."""

    def __init__(self, shared: Any, settings: FeedSettings, rank: int, world: int) -> None:
        self._feed = Feed(ray.get(shared) if isinstance(shared, ray.ObjectRef) else shared, settings)
        self._rank, self._world = rank, world

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[Any]]:
        made: list[bytes] = []
        error = ""
        try:
            for first, last in zip(block["first"].tolist(), block["last"].tolist(), strict=True):
                made += [pack(self._feed.batch(step, self._rank, self._world)) for step in range(first, last)]
        except AnchorfaceError as problem:
            error = json.dumps([type(problem).__name__, str(problem)])
            made.append(b"")
        return {"batch": made, "error": [""] * (len(made) - bool(error)) + [error] * bool(error)}


def pack(batch: Batch) -> bytes:
    """A dictionary of arrays as bytes: no pickle."""
    arrays = {name: np.ascontiguousarray(array) for name, array in batch.items()}
    head = json.dumps([[name, array.dtype.str, array.shape] for name, array in arrays.items()]).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *(array.tobytes() for array in arrays.values())])


def unpack(content: bytes | bytearray) -> Batch:
    """The dictionary of arrays from `pack`'s bytes; the arrays share one copy of them and can be written."""
    content = bytearray(content)
    place = 8 + int.from_bytes(content[:8], "little")
    batch: Batch = {}
    for name, kind, shape in json.loads(content[8:place]):
        count = int(np.prod(shape))
        batch[name] = np.frombuffer(content, dtype=kind, count=count, offset=place).reshape(shape)
        place += count * np.dtype(kind).itemsize
    return batch
