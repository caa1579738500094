"""Evaluation holds the pictures of one batch, however many rows a protocol has."""

import dataclasses
import gc
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from anchorface.evaluation import CONDITIONS, Protocol, evaluate, freeze
from anchorface.evaluation.cases import Case, FacePicture
from anchorface.records import DataError, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.records.table_stream import write_stream
from anchorface.restoration import Restorer, SamplerSettings
from tests.restoration.micro import micro_checkpoint

BATCH, REFERENCES = 2, 3
QUICK = SamplerSettings(steps=1, mean_draws=1)
SHOWN = [c for c in CONDITIONS if c.slug in ("degraded", "stranger")]


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    checkpoint, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    return Restorer(checkpoint, weight_finder=finder, batch=BATCH)


def protocol_of(dataset: DatasetVersion, count: int) -> Protocol:
    """So many rows, the dataset's few pictures over and over."""
    frozen = freeze(dataset, judge="judge_small", size=64, count=4, references=REFERENCES)
    rows = (dataclasses.replace(frozen.rows[n % 4], number=n) for n in range(count))
    return dataclasses.replace(frozen, rows=tuple(rows))


def test_memory_does_not_grow_with_the_rows_of_a_protocol(dataset: DatasetVersion, restorer: Restorer, tmp_path: Path
                                                          ) -> None:
    alive: list[tuple[int, int]] = []
    used: list[int] = []

    def look(*_: object) -> None:
        """While the network restores a batch: which of our pictures exist, and bytes in use, numpy's included."""
        found = [type(thing) for thing in gc.get_objects()]
        alive.append((found.count(Case), found.count(FacePicture)))
        used.append(tracemalloc.get_traced_memory()[0])

    def most_used(name: str, count: int) -> int:
        used.clear()
        evaluate(restorer.folder, dataset.uri, str(tmp_path / name), restorer=restorer, settings=QUICK,
                 protocol=protocol_of(dataset, count), conditions=SHOWN)
        return max(used)

    hook = restorer.network.register_forward_hook(look)
    tracemalloc.start()
    try:
        most_used("warm", 2)
        few, many = most_used("few", 4), most_used("many", 16)
    finally:
        tracemalloc.stop()
        hook.remove()
    pictures_of_the_rest = 12 * (2 + REFERENCES) * 64 * 64 * 3
    assert many - few < pictures_of_the_rest / 3
    assert max(cases for cases, _ in alive) == BATCH
    assert max(pictures for _, pictures in alive) <= BATCH * (1 + REFERENCES)
    table = storage.read_table(str(tmp_path / "many" / "conditions" / "stranger.parquet"))
    assert table["number"].to_pylist() == list(range(16))


def test_a_stranger_follows_from_the_protocol_alone(dataset: DatasetVersion) -> None:
    protocol = protocol_of(dataset, 6)
    for row, other in zip(protocol.rows, protocol.strangers, strict=True):
        assert other is not None and protocol.rows[other].identity != row.identity
    alone = dataclasses.replace(protocol, rows=protocol.rows[:1])
    assert alone.strangers == (None,)


def test_a_condition_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def tables():
        yield pa.table({"x": [1]})
        raise DataError("the second batch cannot be read")

    with pytest.raises(DataError, match="second batch"):
        write_stream(str(tmp_path / "t.parquet"), pa.schema([("x", pa.int64())]), tables())
    assert not list(tmp_path.iterdir())
