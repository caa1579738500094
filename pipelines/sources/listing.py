"""The list of a source's photographs, cut into parts, without holding it in memory.

In: a source (see pipelines.sources.walk). Out: tables of LISTING_SCHEMA, one for each part, and what was left out.

Loose files go to a part by a hash of their place, so that a new photograph changes one part and not all; the number of
those parts changes only when the source doubles. What is said of a file (sidecars, tables of places) meets it in its
part. An archive, a table of bytes or a film has parts of its own: its photographs in the order in which they stand.

While the files are walked they are spilled to a temporary file in rows of a few hundred bytes; in memory stay eight
bytes a file, and one part.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag

import pyarrow as pa

from anchorface.pipelines.sources.address import (
    IN_MEMORY,
    file_uri,
    inside,
    is_web,
    local_path,
    printable,
)
from anchorface.pipelines.sources.layouts import Layout, find_layout
from anchorface.pipelines.sources.opening import file_size, open_file
from anchorface.pipelines.sources.sidecars import BAD_ROW, file_of, is_sidecar, normal, said_rows
from anchorface.pipelines.sources.spill import Spill, by_bucket, spelling
from anchorface.pipelines.sources.table_child import TableChild
from anchorface.pipelines.sources.tables import TableRow, names_places, table_photos
from anchorface.pipelines.sources.tars import tar_photos
from anchorface.pipelines.sources.walk import Found, Root, find_root, link_problem, matches, walk
from anchorface.records.addresses import has_secret, is_percent, join, redacted
from anchorface.records.decoding.child import Child
from anchorface.records.errors import DataError, PhotoError
from anchorface.records.kinds import HIDDEN, PICTURES, UNPACK, Others, not_read
from anchorface.records.nouns import DROPPED_SCHEMA, Dropped

LISTING_SCHEMA = pa.schema([
    ("place", pa.string()), ("uri", pa.string()), ("kind", pa.string()), ("byte_size", pa.int64()),
    ("modified", pa.int64()), ("metadata", pa.string()),
])
"""kind: `photo` or `film`. place: under the source. metadata: JSON, as sidecars.normal gives it."""

BATCH_ROWS = 4096
CONTAINERS = ("tar", "film", "table")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A file that holds photographs. says: what holds for all of them."""

    file: Found
    says: Mapping[str, Any]


class Complaints:
    """Dropped rows, kept as columns."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Dropped) -> None:
        """Keep one."""
        self._rows.append(row.to_row())
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def say(self, uri: str, cause: str, detail: str, row: int = -1) -> None:
        """Keep one of the stage `ingest`."""
        self.add(Dropped(stage="ingest", uri=uri, row=row, cause=cause, detail=detail))

    def table(self) -> pa.Table:
        """All of them, in an order that does not depend on the filesystem's."""
        self._flush()
        table = pa.Table.from_batches(self._batches, schema=DROPPED_SCHEMA)
        return table.sort_by([("uri", "ascending"), ("row", "ascending"), ("detail", "ascending")])

    def _flush(self) -> None:
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=DROPPED_SCHEMA))
            self._rows = []


class Listing:
    """What a source holds.

    Args:
        source: folder, glob, file or URI.
        labels: read subjects and landmarks; without, the photographs are an unsorted heap (dates, licence, consent and
            a stated age are read all the same).
        layout: one of layouts.LAYOUTS, or `auto`, or what `find_layout` gave.
        fetch: take photographs that a table says are on the web; without, they are dropped as `remote`.
        without: a folder that is left out, such as the workspace.

    Raises:
        StorageError: there is no such source.
        ConfigurationError: an unknown layout.
        DataError: a layout's files cannot be read.
    """

    def __init__(
        self, source: str, *, labels: bool = True, layout: str | Layout = "auto", fetch: bool = False,
        without: str = "",
    ) -> None:
        self.source, self.root = source, find_root(source)
        self.layout = layout if isinstance(layout, Layout) else find_layout(source, layout)
        self.complaints = Complaints()
        self._labels, self._fetch, self._without = labels, fetch, without
        self._folder = _folder(self.root)
        self._roots = _roots(self._folder)
        self._loose = self._named = 0
        self._others, self._child = Others(), Child()
        self._tables = TableChild(self._child)

    def parts(self, part_rows: int) -> Iterator[tuple[str, pa.Table]]:
        """The parts, each with its name; `complaints` is whole when they are through.

        Args:
            part_rows: photographs per part, about.

        Raises:
            DataError: the source holds nothing that could be a photograph.
        """
        containers: list[Container] = []
        nothing = True
        with tempfile.TemporaryFile() as file:
            self._spill(file)
            for name, table in self._loose_parts(file, part_rows, containers):
                nothing = False
                yield name, table
        tars = {container.file.place for container in containers if container.file.kind == "tar"}
        for container in sorted(containers, key=lambda container: container.file.place):
            if container.file.place.rpartition(".")[0] + ".tar" in tars and container.file.kind == "table":
                continue  # the table that img2dataset writes beside an archive says again what stands in it
            nothing = False
            yield from self._container_parts(container, part_rows)
        if nothing and not len(self.complaints.table()):
            raise DataError(f"{printable(self.source)}: {self._why_nothing()}")
        self._child.close()
        if self._others:
            self.complaints.say(self.source, "other files", str(self._others))

    def _why_nothing(self) -> str:
        others = f"; {self._others}" if self._others else ""
        if self.root.pattern:
            return (f"there is no such folder or file, and as a pattern it matches no photograph below "
                    f"{printable(self.root.uri)} (`*`, `?` and `[...]` stand for other signs, `**` for any "
                    f"folders){others}")
        return (f"no file there is named like a photograph ({', '.join(PICTURES[:9])}, ...), a film, a tar or a "
                f"Parquet table{others}")

    def _spill(self, file: Any) -> None:
        """Walk the source once and write what is found and said."""
        spill = Spill(file)
        tables: list[Found] = []
        for found in walk(self.root, self._without):
            if isinstance(found, Dropped):
                self.complaints.add(found)
                continue
            speaks = is_sidecar(found.place.rpartition("/")[2]) and not self.root.is_file
            if speaks:
                self._sidecar(found, spill)
            if found.chosen:
                kind = self._kind(found, speaks)
                if kind == "places":
                    tables.append(found)
                    kind = "other"
                self._loose += kind == "photo"
                spill.add(found.place, found.uri, kind, found.byte_size, found.modified)
        for table in tables:
            self._places(table, spill)
        spill.close()

    def _kind(self, found: Found, speaks: bool) -> str:
        """What a file is to be taken for: `photo`, one of CONTAINERS, `places` or `other`; the last has been told."""
        if found.kind == "packed":
            self.complaints.say(found.uri, "packed archive", UNPACK)
        elif found.kind == "unread":
            self.complaints.say(found.uri, *not_read(found.place))
        elif found.kind == "hidden":
            self.complaints.say(found.uri, "hidden file", HIDDEN)
        elif found.kind in ("photo", "film") and not self.layout.belongs(found.place):
            detail = f"not a photograph of the layout {self.layout.name}"
            self.complaints.say(found.uri, "beside the layout", detail)
        elif found.kind == "table" and self._is_places(found):
            return "places"
        elif found.kind == "photo" or found.kind in CONTAINERS:
            return found.kind
        elif not speaks and found.place not in self.layout.lists:
            self._others.add(found.place)
        return "other"

    def _sidecar(self, sidecar: Found, spill: Spill) -> None:
        folder, _, name = sidecar.place.rpartition("/")
        for number, row in _sidecar_rows(name, sidecar.uri):
            problems: tuple[str, ...] = ()
            try:
                if isinstance(row, Exception):
                    raise row
                target = self._target(folder, file_of(row))
                if target is None:
                    raise ValueError(f"{row['file']!r} leads out of the source")
                if not self.root.pattern or matches(target.split("/"), self.root.pattern):
                    says, problems = normal(row, self._labels)
                    place, said = printable(target), json.dumps(says, sort_keys=True)
                    spill.say(place, said, sidecar.place.count("/"), sidecar.uri, number)
            except BAD_ROW as error:
                problems = (printable(f"{type(error).__name__}: {error}"),)
            if problems:
                self.complaints.say(sidecar.uri, "unreadable metadata", "; ".join(problems), number)

    def _is_places(self, table: Found) -> bool:
        """Whether a table says where photographs are, and does not hold them."""
        return names_places(table.uri) if table.uri.startswith(IN_MEMORY) else self._tables.names_places(table.uri)

    def _table_rows(self, table: Found) -> Iterator[TableRow | Dropped]:
        """The rows of a table, read by a process that may die of it."""
        if table.uri.startswith(IN_MEMORY):
            return table_photos(table.uri, self._labels)
        return self._tables.rows(table.uri, self._labels, table.byte_size)

    def _places(self, table: Found, spill: Spill) -> None:
        folder = table.place.rpartition("/")[0]
        for row in self._table_rows(table):
            if isinstance(row, Dropped):
                self.complaints.add(row)
                continue
            says = json.dumps(row.says, sort_keys=True)
            if is_web(row.place):
                place = printable(urldefrag(row.place.strip()).url)  # a server is not told what stands behind a `#`
                if not self._fetch:
                    self.complaints.say(table.uri, "remote", f"{place}; curate with --fetch to download it", row.row)
                    continue
                uri = place
                if has_secret(place):  # the table keeps it, and the reader looks there
                    place, uri = f"{redacted(place)}#{row.row}", row.uri
                spill.add(place, uri, "photo", 0, 0)
                self._loose += 1
            else:
                target = self._target(folder, row.place)
                if target is None:
                    detail = f"{printable(row.place)!r} leads out of the source"
                    self.complaints.say(table.uri, "leads out of the source", detail, row.row)
                    continue
                place = printable(target)
                self._named += 1
            spill.say(place, says, table.place.count("/"), table.uri, row.row, named=True)

    def _target(self, folder: str, said: str) -> str | None:
        """The path under the source that a text means: relative to a folder of it, or whole; None if it leads out."""
        path = (local_path(said) if said.startswith("file://") else said) or ""
        for root in self._roots:
            if path.startswith(root):
                rest = path.removeprefix(root)
                return inside("", unquote(rest) if is_percent(self._folder) else rest)
        return None if "://" in path else inside(folder, path.replace("\\", "/"))

    def _loose_parts(self, file: Any, part_rows: int, containers: list[Container]) -> Iterator[tuple[str, pa.Table]]:
        """Loose photographs in their parts; films, tars and tables of bytes are put into `containers`."""
        count = 1
        while count * part_rows < max(self._loose, self._named):
            count *= 2
        for number, rows in by_bucket(file, count):
            table = self._bucket(rows, containers)
            if len(table):
                yield f"part-{number:05d}", table

    def _bucket(self, rows: list[dict[str, Any]], containers: list[Container]) -> pa.Table:
        """Files and what is said of them, brought together."""
        files = {row["place"]: row for row in rows if row["kind"] not in ("says", "named")}
        alike: dict[str, list[str]] = {}
        for place in files:
            alike.setdefault(spelling(place), []).append(place)
        said: dict[str, dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: (row["depth"], row["by"] or "", row["row"] or 0)):
            if row["kind"] in ("says", "named"):
                place = row["place"]
                if place not in files and len(meant := alike.get(spelling(place), [])) == 1:
                    place = meant[0]
                if place not in files and row["kind"] == "named":
                    self._name(row, files)
                if place in files:
                    said[place] = said.get(place, {}) | json.loads(row["says"])
                else:
                    several = ", ".join(sorted(alike.get(spelling(place), []))[:5])
                    detail = f"{place!r} stands in the sidecar but not in the folder" + (
                        f"; several are spelled nearly so: {several}" if several else "")
                    self.complaints.say(row["by"], "listed but not there", detail, row["row"])
        kept = []
        for place in sorted(files):
            row = files[place]
            says = said.get(place, {})
            if row["kind"] in CONTAINERS:
                found = Found(place=place, uri=row["uri"], kind=row["kind"], byte_size=row["byte_size"],
                              modified=row["modified"])
                containers.append(Container(file=found, says=says))
            elif row["kind"] == "photo":
                says = self._layout_says(place, row["uri"]) | says
                metadata = json.dumps(says, sort_keys=True)
                kept.append({key: row[key] for key in LISTING_SCHEMA.names[:5]} | {"metadata": metadata})
        return pa.Table.from_pylist(kept, schema=LISTING_SCHEMA)

    def _name(self, row: Mapping[str, Any], files: dict[str, dict[str, Any]]) -> None:
        """A file that only a table of places names: taken if it is there, below the source, and no link out of it."""
        uri = join(self._folder, row["place"])
        path = local_path(uri)
        if path is not None:
            uri = file_uri(path)
            problem = link_problem(path, os.path.realpath(self._folder)) if os.path.lexists(path) else None
            if problem is not None or not os.path.isfile(path):
                return
        try:
            size = file_size(uri)
        except (PhotoError, OSError, ValueError):
            return  # told as not there
        if size:
            modified = os.stat(path).st_mtime_ns if path is not None else 0
            files[row["place"]] = {
                "place": row["place"], "uri": uri, "kind": "photo", "byte_size": size, "modified": modified,
            }

    def _layout_says(self, place: str, uri: str) -> dict[str, Any]:
        says, problems = normal(self.layout.says(place), self._labels)
        if problems:
            self.complaints.say(uri, "unreadable metadata", f"the layout {self.layout.name}: {'; '.join(problems)}")
        return says

    def _container_parts(self, container: Container, part_rows: int) -> Iterator[tuple[str, pa.Table]]:
        """The photographs of one container in parts of consecutive ones."""
        mark = hashlib.blake2b(container.file.place.encode(), digest_size=6).hexdigest()
        rows: list[dict[str, Any]] = []
        number = 0
        for row in self._contained(container):
            rows.append(row)
            if len(rows) == part_rows:
                yield f"part-{mark}-{number:05d}", pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)
                rows, number = [], number + 1
        if rows:
            yield f"part-{mark}-{number:05d}", pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)

    def _contained(self, container: Container) -> Iterator[dict[str, Any]]:
        file, base = container.file, dict(container.says)
        if file.kind == "film":
            says = self._layout_says(file.place, file.uri) | base
            yield _row(file.place, file.uri, "film", file.byte_size, file.modified, says)
            return
        found = tar_photos(file.uri, self._labels) if file.kind == "tar" else self._table_rows(file)
        for each in found:
            if isinstance(each, Dropped):
                self.complaints.add(each)
            elif isinstance(each, TableRow):
                yield _row(
                    f"{file.place}#{each.row:012d}", each.uri, "photo", 0, file.modified, base | each.says
                )
            else:
                name = printable(each.name)
                says = self._layout_says(name, each.uri) | base | each.says
                yield _row(f"{file.place}/{name}", each.uri, "photo", each.size, file.modified, says)


def _sidecar_rows(name: str, uri: str) -> Iterator[tuple[int, Any]]:
    """The rows of a sidecar file as `said_rows` gives them; a file that cannot be opened is one bad row."""
    try:
        with open_file(uri) as file:
            yield from said_rows(name, file)
    except PhotoError as error:
        yield -1, ValueError(str(error))


def _row(place: str, uri: str, kind: str, size: int, modified: int, says: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "place": place, "uri": uri, "kind": kind, "byte_size": size, "modified": modified,
        "metadata": json.dumps(says, sort_keys=True),
    }


def _folder(root: Root) -> str:
    """The folder that places are relative to."""
    return root.uri.rpartition("/")[0] if root.is_file else root.uri


def _roots(folder: str) -> tuple[str, ...]:
    """How a whole path below the source begins: as the source was named, or without links."""
    names = (folder,) if "://" in folder else (folder, os.path.realpath(folder))
    return tuple(dict.fromkeys(name.rstrip("/") + "/" for name in names))
