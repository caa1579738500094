"""Photographs in: every one opened once, checked, hashed, with what is said of it and what its EXIF block says.

In: a folder, glob, file or URI (see pipelines.sources).
Out, in the workspace: `photos/part-*.parquet` (records.PHOTO_SCHEMA), `dropped/ingest/`, `dropped/duplicates/`.

Three steps: the source is listed in parts (`listing/`), by a hash of a file's place or in the order of an archive, so
that a new photograph redoes one part and not all; each part's photographs are read (`scanned/`); then copies of the
same bytes are dropped, and photographs whose consent was withdrawn (records.terms) with all their copies. What was
erased here does not come back (identity_index.tombstones).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anchorface.faces.decoding import PhotoInfo
from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.erase import writes
from anchorface.pipelines.sources.films import Film
from anchorface.pipelines.sources.layouts import Layout
from anchorface.pipelines.sources.listing import Listing
from anchorface.pipelines.sources.reader import PhotoReader
from anchorface.pipelines.sources.sidecars import parse_date
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.records.errors import ConfigurationError, PhotoError
from anchorface.records.nouns import PHOTO_SCHEMA, Dropped, GivenFace, Photo
from anchorface.records.storage import delete, join, list_files, read_table
from anchorface.records.terms import WITHDRAWN, term, understood, withdrawn_rows

VERSION = 3
PART_ROWS = 128
LISTING = "listing"
COMPLAINTS = "sidecars"
TAKEN_BACK = "consent withdrawn"
ERASED, KEPT_OUT = "erased", "it was erased here, and is kept out"
EXAMPLES = 5
SAID = ("subject", "birth_date", "licence", "consent")


@writes("ingest")
def ingest(
    source: str, out: str, *, labels: bool = True, max_pixels: int = 100_000_000, part_rows: int = PART_ROWS,
    layout: str | Layout = "auto", frame_seconds: float = 1.0, fetch: bool = False, progress: Progress | None = None,
    concurrency: int | None = None,
) -> Counts:
    """Read all photographs of a source into the workspace.

    Args:
        source: folder, glob, file or URI of photographs, tars, tables and films.
        out: the workspace; made if it is not there. A workspace inside the source is not searched.
        labels: read subjects and landmarks from sidecars; without, the photographs are an unsorted heap.
        max_pixels: larger pictures are dropped before they are decoded.
        part_rows: photographs per part, about.
        layout: a known data set by name (pipelines.sources.layouts), `auto` to tell by its files, `plain` for none;
            or what `find_layout` gave.
        frame_seconds: one frame is taken of films in every so many seconds; 0 takes every frame, for tracks and clips.
        fetch: download the photographs that a table says are on the web.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        `photos`, `dropped`, `duplicates` (the last are in the table of dropped rows too, withdrawn ones only there).

    Raises:
        StorageError: there is no such folder, or the workspace cannot be written.
        DataError: the source holds nothing that could be a photograph.
        ConfigurationError: an unknown layout, or negative seconds.
    """
    if not 0 <= frame_seconds < math.inf:
        raise ConfigurationError(f"frame_seconds {frame_seconds}: 0, for every frame, or more is needed")
    listing = Listing(source, labels=labels, layout=layout, fetch=fetch, without=out)
    parts = _parts(listing, out, part_rows, frame_seconds)
    erased = Tombstones.open(out).digest
    settings = {"version": VERSION, "max_pixels": max_pixels, "erased": erased}
    worker = partial(_Reader, out, max_pixels)
    stage.run(
        out, "ingest", parts, worker, settings=settings, progress=progress, concurrency=concurrency
    )
    return _drop_duplicates(out, erased, progress)


def not_understood(out: str) -> list[str]:
    """What is said of consent and licence here that nobody can read, as lines: how many photographs, and examples. It
    counts as unknown."""
    lines = []
    paths = stage.outputs(out, "duplicates", "photos")
    tables = [read_table(join(out, path), ("licence", "consent")) for path in paths]
    for column in ("licence", "consent") if tables else ():
        counted = pc.value_counts(pa.chunked_array([c for table in tables for c in table[column].chunks], pa.string()))
        odd = sorted(((row["counts"], row["values"]) for row in counted.to_pylist()
                      if not understood(column, row["values"])), reverse=True)
        if odd:
            shown = ", ".join(f"{words!r} {number:,}" for number, words in odd[:EXAMPLES])
            more = f" and {len(odd) - EXAMPLES} more" if len(odd) > EXAMPLES else ""
            lines.append(f"{column} of {sum(number for number, _ in odd):,} photographs is not understood, and counts "
                         f"as unknown: {shown}{more}")
    return lines


def _parts(listing: Listing, out: str, part_rows: int, frame_seconds: float) -> list[Part]:
    """Write the listing, and plan a part for each of its tables."""
    parts = []
    for name, table in listing.parts(part_rows):
        films = pc.any(pc.equal(table["kind"], "film")).as_py()
        place = f"{LISTING}/{name}.parquet"
        payload = {"listing": place} | ({"frame_seconds": frame_seconds} if films else {})
        digest = stage.write_changed(join(out, place), stage.parquet_bytes(table))
        inputs = stage.fingerprint(digest, payload)
        parts.append(Part(name=name, rows=len(table), inputs=inputs, payload=stage.payload(payload)))
    complaints = listing.complaints.table()
    if len(complaints):
        place = f"{LISTING}/{COMPLAINTS}.parquet"
        digest = stage.write_changed(join(out, place), stage.parquet_bytes(complaints))
        parts.append(Part(name=COMPLAINTS, rows=0, inputs=digest, payload=stage.payload({"complaints": place})))
    written = {join(out, LISTING, f"{part.name}.parquet") for part in parts}
    for uri in list_files(join(out, LISTING), missing_ok=True):
        if uri not in written:
            delete(uri)
    return parts


class _Reader:
    """Opens the photographs of one part."""

    def __init__(self, out: str, max_pixels: int) -> None:
        self._out, self._max_pixels = out, max_pixels
        self._reader, self._tombstones = PhotoReader(), Tombstones.open(out)

    def __call__(self, name: str, payload: dict[str, Any]) -> tuple[Outputs, Counts]:
        photos: list[Photo] = []
        dropped: list[Dropped] = []
        if "complaints" in payload:
            rows = read_table(join(self._out, payload["complaints"])).to_pylist()
            dropped += [Dropped.from_row(row) for row in rows]
        if "listing" in payload:
            for row in read_table(join(self._out, payload["listing"])).to_pylist():
                try:
                    if self._tombstones.has_place(row["uri"]):
                        raise PhotoError(ERASED, row["uri"], KEPT_OUT)
                    for uri, info in self._infos(row, payload.get("frame_seconds", 1.0)):
                        if self._tombstones.has_photo(info.sha256):
                            dropped.append(_dropped(uri, ERASED, KEPT_OUT))
                        else:
                            photo = _photo(uri, info, json.loads(row["metadata"]))
                            if (doubt := _doubted(photo)) is not None:
                                dropped.append(_dropped(uri, "date before birth", doubt))
                                photo = replace(photo, taken=None)
                            photos.append(photo)
                        if info.more:
                            dropped.append(_dropped(uri, info.more, "the file holds more of them; one was read"))
                except PhotoError as error:
                    dropped.append(_dropped(error.uri, error.cause, error.detail))
        self._reader.close()
        table = pa.Table.from_pylist([photo.to_row() for photo in photos], schema=PHOTO_SCHEMA)
        outputs = {f"scanned/{name}.parquet": stage.parquet_bytes(table)}
        return outputs | stage.dropped_output("ingest", name, dropped), {"photos": len(photos), "dropped": len(dropped)}

    def _infos(self, row: Mapping[str, Any], frame_seconds: float) -> Iterator[tuple[str, PhotoInfo]]:
        if row["kind"] == "film":
            film = Film(row["uri"], self._max_pixels)
            try:
                if self._tombstones.has_photo(film.sha256):
                    raise PhotoError(ERASED, row["uri"], KEPT_OUT)
                yield from film.sample(frame_seconds)
            finally:
                film.close()
        else:
            yield row["uri"], self._reader.info(row["uri"], self._max_pixels)


def _dropped(uri: str, cause: str, detail: str) -> Dropped:
    return Dropped(stage="ingest", uri=uri, row=-1, cause=cause, detail=detail)


def _photo(uri: str, info: PhotoInfo, metadata: Mapping[str, Any]) -> Photo:
    scale = np.ones(2)
    if "landmark_size" in metadata:
        scale = np.array([info.width, info.height]) / np.maximum(metadata["landmark_size"], 1)
    faces = tuple(
        GivenFace(**{**face, "landmarks": _scaled(face.get("landmarks", ()), scale)})
        for face in metadata.get("faces", ())
    )
    return Photo(
        photo_id=info.sha256[:24], uri=uri, width=info.width, height=info.height, format=info.format,
        byte_size=info.byte_size, subject=metadata.get("subject"),
        birth_date=parse_date(metadata.get("birth_date")), taken=parse_date(metadata.get("taken")) or info.taken,
        licence=metadata.get("licence", "unknown"), consent=metadata.get("consent", "unknown"),
        source=metadata.get("source", "unknown"), given_faces=faces,
    )


def _doubted(photo: Photo) -> str | None:
    """Why a photograph's date is not believed beside the birth that is said of it; the photograph stays."""
    if photo.birth_date is None or photo.taken is None or photo.taken >= photo.birth_date:
        return None
    return f"taken {photo.taken}, born {photo.birth_date}: the date taken is left unknown"


def _scaled(landmarks: Any, scale: NDArray[np.float64]) -> tuple[float, ...]:
    """Points said of another size of the picture, in this one's pixels (centres of pixels are whole numbers)."""
    if (scale == 1.0).all() or not landmarks:
        return tuple(landmarks)
    return tuple(((np.reshape(landmarks, (-1, 2)) + 0.5) * scale - 0.5).ravel().tolist())


def _drop_duplicates(out: str, erased: str, progress: Progress | None) -> Counts:
    """Of all photographs with the same bytes keep the one of which most is said, then the first URI; none where consent
    to one of them was withdrawn."""
    scanned = stage.outputs(out, "ingest", "scanned")
    lengths, copies = _copies(out, list(scanned))
    parts = []
    for number, (path, digest) in enumerate(scanned.items()):
        name = path.rpartition("/")[2].removesuffix(".parquet")
        here = copies.get(number, [])
        payload = stage.payload({"path": path, "copies": here})
        parts.append(Part(name=name, rows=lengths[number], inputs=stage.fingerprint(digest, here), payload=payload))
    counts = stage.run(
        out, "duplicates", parts, partial(_Chooser, out), settings={"version": VERSION, "erased": erased},
        progress=progress, concurrency=0,
    )
    bad = stage.counts(out, "ingest").get("dropped", 0)
    duplicates = counts["dropped"] - counts.get("withdrawn", 0)
    return {"photos": counts["photos"], "dropped": bad + counts["dropped"], "duplicates": duplicates}


def _copies(out: str, paths: Sequence[str]) -> tuple[list[int], dict[int, list[dict[str, Any]]]]:
    """How many rows each table has, and which of them go: table's number -> row, of which uri it is a copy (of none
    where its consent or that of a copy was withdrawn), and why not.

    Names of files are read only where two photographs share their bytes.
    """
    ids, known, taken_back = [np.zeros(0, "S24")], [np.zeros(0, np.int8)], [np.zeros(0, bool)]
    for path in paths:
        table = read_table(join(out, path), ("photo_id", *SAID, "given_faces"))
        ids.append(np.array(table["photo_id"].to_pylist(), dtype="S24"))
        known.append(_known(table))
        taken_back.append(np.asarray(withdrawn_rows(table["consent"]), dtype=bool))
    lengths = [len(part) for part in ids[1:]]
    _, which, counts = np.unique(np.concatenate(ids), return_inverse=True, return_counts=True)
    gone = np.isin(which, which[np.concatenate(taken_back)])
    suspect = np.flatnonzero((counts[which] > 1) & ~gone)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    number = np.searchsorted(starts, suspect, side="right") - 1
    found: dict[int, list[dict[str, Any]]] = {}
    for row in np.flatnonzero(gone).tolist():
        part = int(np.searchsorted(starts, row, side="right")) - 1
        found.setdefault(part, []).append({"row": row - int(starts[part]), "of": "", "detail": ""})
    tables = [
        read_table(join(out, paths[n]), ("uri", "subject")).take(pa.array(suspect[number == n] - starts[n]))
        for n in np.unique(number)
    ]
    if not tables:
        return lengths, found
    rows = pa.concat_tables(tables).combine_chunks()
    rows = rows.append_column("group", pa.array(which[suspect])).append_column("number", pa.array(number))
    rows = rows.append_column("row", pa.array(suspect - starts[number]))
    rows = rows.append_column("known", pa.array(np.concatenate(known)[suspect]))
    rows = rows.sort_by([
        ("group", "ascending"), ("known", "descending"), ("uri", "ascending"), ("number", "ascending"),
    ])
    kept: dict[str, Any] = {"group": -1}
    for batch in rows.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            if row["group"] != kept["group"]:
                kept = row
                continue
            detail = "" if row["subject"] == kept["subject"] else (
                f"labelled {row['subject']!r} here and {kept['subject']!r} there; the latter was kept"
            )
            found.setdefault(row["number"], []).append({"row": row["row"], "of": kept["uri"], "detail": detail})
    return lengths, {number: sorted(here, key=lambda copy: copy["row"]) for number, here in found.items()}


def _known(table: pa.Table) -> NDArray[np.int8]:
    """How much is said of each photograph."""
    total = pc.greater(pc.fill_null(pc.list_value_length(table["given_faces"]), 0), 0).cast(pa.int8())
    for key in SAID:
        column = table[key]
        said = pc.is_valid(column)
        if pa.types.is_string(column.type):
            said = pc.and_(said, pc.not_equal(pc.fill_null(column, "unknown"), "unknown"))
        total = pc.add(total, said.cast(pa.int8()))
    return total.to_numpy()


class _Chooser:
    """Writes one part without its copies."""

    def __init__(self, out: str) -> None:
        self._out = out

    def __call__(self, name: str, payload: dict[str, Any]) -> tuple[Outputs, Counts]:
        table = read_table(join(self._out, payload["path"]))
        keep = np.ones(len(table), dtype=bool)
        dropped = []
        for copy in payload["copies"]:
            keep[copy["row"]] = False
            uri, consent = (table[name][copy["row"]].as_py() for name in ("uri", "consent"))
            if copy["of"]:
                dropped.append(_dropped(uri, f"duplicate of {copy['of']}", copy["detail"]))
            else:
                said = repr(consent) if term("consent", consent) == WITHDRAWN else "that of a copy of the same bytes"
                dropped.append(_dropped(uri, TAKEN_BACK, f"{said}; `anchorface erase WORKSPACE --withdrawn` takes it "
                                                         "out of the versions made before"))
        outputs = {f"photos/{name}.parquet": stage.parquet_bytes(table.filter(pa.array(keep)).cast(PHOTO_SCHEMA))}
        counts = {"photos": int(keep.sum()), "dropped": len(dropped)}
        if withdrawn := sum(row.cause == TAKEN_BACK for row in dropped):
            counts["withdrawn"] = withdrawn
        return outputs | stage.dropped_output("duplicates", name, dropped), counts
