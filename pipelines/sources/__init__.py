"""Which photographs there are, where they stand, what is said of them, and how to read one.

    Listing(source)             what a source holds, in parts (pipelines.sources.listing)
    find_sources(source)        the same as a list, for sources that fit the memory
    PhotoReader().read(uri)     the pixels of any photograph's uri (pipelines.sources.address)
    published_splits(source)    the sides that a known data set publishes (pipelines.sources.layouts)

Sources are folders, globs, files and URIs that pyarrow or fsspec knows, with pictures, uncompressed tars (WebDataset),
Parquet tables, films, sidecars, and known layouts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anchorface.pipelines.sources.layouts import LAYOUTS, Layout, find_layout, published_splits
from anchorface.pipelines.sources.listing import Listing
from anchorface.pipelines.sources.reader import PhotoReader
from anchorface.pipelines.sources.sidecars import parse_date
from anchorface.records.nouns import Dropped

__all__ = [
    "LAYOUTS", "Layout", "Listing", "PhotoReader", "SourceFile", "find_layout", "find_sources", "parse_date",
    "published_splits",
]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One photograph or film.

    uri: absolute (see pipelines.sources.address). place: the path under the source, `/` between folders. modified:
    nanoseconds since 1970. metadata: JSON-like: subject, birth_date, taken (ISO), licence, consent, source, faces; only
    what is known.
    """

    uri: str
    place: str
    byte_size: int
    modified: int
    metadata: Mapping[str, Any]


def find_sources(source: str, labels: bool = True, layout: str = "auto") -> tuple[list[SourceFile], list[Dropped]]:
    """All photographs of a source, with what the sidecars say.

    Args:
        source, labels, layout: as for `Listing`.

    Returns:
        Files in order of their place, and what cannot be used.

    Raises:
        StorageError: there is no such folder.
        ConfigurationError: an unknown layout.
        DataError: there is no photograph in it.
    """
    listing = Listing(source, labels=labels, layout=layout)
    rows = [row for _, table in listing.parts(2**20) for row in table.to_pylist()]
    files = [
        SourceFile(
            uri=row["uri"], place=row["place"], byte_size=row["byte_size"], modified=row["modified"],
            metadata=json.loads(row["metadata"]),
        )
        for row in sorted(rows, key=lambda row: row["place"])
    ]
    return files, [Dropped.from_row(row) for row in listing.complaints.table().to_pylist()]
