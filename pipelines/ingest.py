"""Photographs in: every file opened once, checked, hashed, with what its sidecar and its EXIF block say.

In: a folder, glob, file or URI (see pipelines.sources).
Out, in the workspace: `photos/part-*.parquet` (records.PHOTO_SCHEMA), `dropped/ingest/`, `dropped/duplicates/`.

Two steps: files in parts of about PART_ROWS, by a hash of their place, so that a new photograph redoes one part and
not all (`scanned/`); then copies of the same bytes are dropped.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from faces.images import read_photo
from pipelines import stage
from pipelines.progress import Progress
from pipelines.sources import SourceFile, find_sources, parse_date
from pipelines.stage import Counts, Outputs, Part
from records.errors import PhotoError
from records.nouns import PHOTO_SCHEMA, Dropped, GivenFace, Photo
from records.storage import join, read_table

VERSION = 1
PART_ROWS = 128


def ingest(
    source: str, out: str, *, labels: bool = True, max_pixels: int = 100_000_000, part_rows: int = PART_ROWS,
    progress: Progress | None = None, concurrency: int | None = None,
) -> Counts:
    """Read all photographs of a source into the workspace.

    Args:
        source: folder, glob, file or URI of photographs.
        out: the workspace; made if it is not there.
        labels: read subjects and landmarks from sidecars; without, the photographs are an unsorted heap.
        max_pixels: larger pictures are dropped before they are decoded.
        part_rows: photographs per part, about.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        `photos`, `dropped`, `duplicates` (the last are in the table of dropped rows too).

    Raises:
        StorageError: there is no such folder, or the workspace cannot be written.
        DataError: the source holds nothing that is named like a photograph.
    """
    files, complaints = find_sources(source, labels)
    settings = {"version": VERSION, "max_pixels": max_pixels}
    parts = _parts(files, part_rows)
    if complaints:
        rows = [asdict(row) for row in complaints]
        payload = stage.payload({"complaints": rows})
        parts.append(Part(name="sidecars", rows=0, inputs=stage.fingerprint(rows), payload=payload))
    worker = partial(_Reader, max_pixels)
    stage.run(
        out, "ingest", "scanned", parts, worker, settings=settings, progress=progress, concurrency=concurrency
    )
    return _drop_duplicates(out, progress)


def _parts(files: Sequence[SourceFile], part_rows: int) -> list[Part]:
    """Files by a hash of their place, in a number of parts that only changes when the source doubles."""
    count = 1
    while count * part_rows < len(files):
        count *= 2
    buckets: list[list[SourceFile]] = [[] for _ in range(count)]
    for file in files:
        buckets[int.from_bytes(hashlib.blake2b(file.place.encode(), digest_size=4).digest()) % count].append(file)
    return [
        Part(
            name=stage.part_name(number), rows=len(bucket),
            inputs=stage.fingerprint([asdict(file) for file in bucket]),
            payload=stage.payload({"files": [{"uri": f.uri, "metadata": dict(f.metadata)} for f in bucket]}),
        )
        for number, bucket in enumerate(buckets) if bucket
    ]


class _Reader:
    """Opens the files of one part."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

    def __call__(self, name: str, payload: dict[str, Any]) -> tuple[Outputs, Counts]:
        photos: list[Photo] = []
        dropped = [Dropped(**row) for row in payload.get("complaints", ())]
        for file in payload.get("files", ()):
            try:
                photos.append(self._photo(file["uri"], file["metadata"]))
            except PhotoError as error:
                row = Dropped(stage="ingest", uri=error.uri, row=-1, cause=error.cause, detail=error.detail)
                dropped.append(row)
        photos.sort(key=lambda photo: photo.uri)
        table = pa.Table.from_pylist([photo.to_row() for photo in photos], schema=PHOTO_SCHEMA)
        outputs = {f"scanned/{name}.parquet": stage.parquet_bytes(table)}
        return outputs | stage.dropped_output("ingest", name, dropped), {"photos": len(photos), "dropped": len(dropped)}

    def _photo(self, uri: str, metadata: Mapping[str, Any]) -> Photo:
        _, info = read_photo(uri, max_pixels=self._max_pixels)
        faces = tuple(
            GivenFace(**{**face, "landmarks": tuple(face.get("landmarks", ()))}) for face in metadata.get("faces", ())
        )
        return Photo(
            photo_id=info.sha256[:24], uri=uri, width=info.width, height=info.height, format=info.format,
            byte_size=info.byte_size, subject=metadata.get("subject"),
            birth_date=parse_date(metadata.get("birth_date")), taken=parse_date(metadata.get("taken")) or info.taken,
            licence=metadata.get("licence", "unknown"), consent=metadata.get("consent", "unknown"),
            source=metadata.get("source", "unknown"), given_faces=faces,
        )


def _drop_duplicates(out: str, progress: Progress | None) -> Counts:
    """Of all files with the same bytes keep the one of which the sidecars say most, then the first URI."""
    scanned = stage.outputs(out, "ingest", "scanned")
    columns = ("photo_id", "uri", "subject", "birth_date", "licence", "consent", "given_faces")
    tables = {path: read_table(join(out, path), columns).to_pylist() for path in scanned}
    first: dict[str, dict[str, Any]] = {}
    everything = (row for rows in tables.values() for row in rows)
    for row in sorted(everything, key=lambda row: (-_known(row), row["uri"])):
        first.setdefault(row["photo_id"], row)
    parts = []
    for path, rows in tables.items():
        pairs = [(row, first[row["photo_id"]]) for row in rows]
        copies = [
            {"uri": row["uri"], "of": kept["uri"], "detail": _disagreement(row, kept)}
            for row, kept in pairs if row["uri"] != kept["uri"]
        ]
        name = path.rpartition("/")[2].removesuffix(".parquet")
        inputs, payload = stage.fingerprint(scanned[path], copies), stage.payload({"path": path, "copies": copies})
        parts.append(Part(name=name, rows=len(rows), inputs=inputs, payload=payload))
    counts = stage.run(
        out, "duplicates", "photos", parts, partial(_Chooser, out), settings={"version": VERSION}, progress=progress,
        concurrency=0,
    )
    bad = stage.counts(out, "ingest").get("dropped", 0)
    return {"photos": counts["photos"], "dropped": bad + counts["dropped"], "duplicates": counts["dropped"]}


def _known(row: Mapping[str, Any]) -> int:
    return sum(row[key] not in (None, "unknown") for key in ("subject", "birth_date", "licence", "consent")) + bool(
        row["given_faces"]
    )


def _disagreement(copy: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    if copy["subject"] == kept["subject"]:
        return ""
    return f"labelled {copy['subject']!r} here and {kept['subject']!r} there; the latter was kept"


class _Chooser:
    """Writes one part without its copies."""

    def __init__(self, out: str) -> None:
        self._out = out

    def __call__(self, name: str, payload: dict[str, Any]) -> tuple[Outputs, Counts]:
        rows = read_table(join(self._out, payload["path"])).to_pylist()
        copies = {copy["uri"]: copy for copy in payload["copies"]}
        kept = [Photo.from_row(row).to_row() for row in rows if row["uri"] not in copies]
        dropped = [
            Dropped(stage="ingest", uri=uri, row=-1, cause=f"duplicate of {copy['of']}", detail=copy["detail"])
            for uri, copy in copies.items()
        ]
        outputs = {f"photos/{name}.parquet": stage.parquet_bytes(pa.Table.from_pylist(kept, schema=PHOTO_SCHEMA))}
        counts = {"photos": len(kept), "dropped": len(dropped)}
        return outputs | stage.dropped_output("duplicates", name, dropped), counts


def photo_parts(out: str) -> dict[str, str]:
    """The workspace's photo tables: path -> SHA-256.

    Raises:
        DataError: `ingest` has not finished here.
    """
    return stage.outputs(out, "duplicates", "photos")
