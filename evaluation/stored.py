"""A condition's file of rows: what an earlier run finished is not done again."""

import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.evaluation.measured import FEATURES, IMAGE
from anchorface.records import storage

STRIP = "strip"
BULKY = (IMAGE, FEATURES, STRIP)
"""Columns that only the page or measures of sets read."""


def done(uri: str, made_from: str) -> pa.Table | None:
    """A finished condition's rows without their bulky columns; None where it is to be run.

    Args:
        made_from: a hash of everything that the rows follow from; the file's metadata names the one it was made from.
    """
    if not storage.exists(uri):
        return None
    rows = measures_of(uri)
    same = (rows.schema.metadata or {}).get(b"made_from") == made_from.encode()
    return rows.replace_schema_metadata(None) if same else None


def measures_of(uri: str) -> pa.Table:
    """A condition's file without pictures and features."""
    system, path = storage.filesystem(uri)
    with system.open_input_file(path) as file:
        names = pq.read_schema(file).names
    return storage.read_table(uri, [name for name in names if name not in BULKY])
