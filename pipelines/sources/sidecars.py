"""What is said beside photographs: rows of text files and tables, in one checked form.

Sidecars stand beside the pictures or in a folder above them, and name files relative to themselves:

    metadata.jsonl   a JSON object per line: `file`, and optionally `subject`, `birth_date`, `taken` (ISO dates, or
                     only a year), `licence`, `consent`, `source`, `faces`: [{`landmarks`: five [x, y], `subject`,
                     `yaw`, `pitch`, `roll`, `age`}]
    metadata.csv,    `file`, and optionally `subject` (or `person`), `points` (ten numbers), `age`, `birth_date`,
    index.csv        `taken` (or `year_taken`), `licence`, `consent`, `source`. Pose columns are estimates and not read.

A face without landmarks says something about the photograph's subject, wherever a detector finds it. What is said of a
tar or a film holds for all that is in it. `file_name` does for `file`, and `license` for `licence`.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, BinaryIO

from anchorface.pipelines.sources.address import open_file, printable
from anchorface.records.addresses import redacted
from anchorface.records.errors import PhotoError

SIDECARS = ("metadata.jsonl", "metadata.csv", "index.csv")
EMPTY = ("", "NA", "N/A", "nan", "None", "null")
POSE_AND_AGE = ("yaw", "pitch", "roll", "age")
OTHER_NAMES = {"license": "licence", "person": "subject", "file_name": "file", "year_taken": "taken"}
LONGEST_LINE = 2**24
BAD_ROW = (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError)


def parse_date(value: Any) -> date | None:
    """A date from `2019-03-02`, `2019-03` or a year; the middle of the month or year where it says no more.

    Raises:
        ValueError: none of these.
    """
    text = str(value if value is not None else "").strip()
    if not text:
        return None
    parts = [int(part) for part in text[:10].split("-")]
    return date(*parts) if len(parts) == 3 else date(parts[0], parts[1] if len(parts) > 1 else 7, 15)


def sidecar_rows(name: str, uri: str) -> Iterator[tuple[int, Any]]:
    """The rows of a sidecar file as `said_rows` gives them; a file that cannot be opened is one bad row."""
    try:
        with open_file(uri) as file:
            yield from said_rows(name, file)
    except PhotoError as error:
        yield -1, ValueError(str(error))


def said_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """The rows of an open sidecar, one after the other.

    Args:
        name: ends in `.csv` or `.jsonl`.
        file: its bytes.

    Yields:
        Row number from 0, and a dictionary in the shape of metadata.jsonl or the error that the row raises.
    """
    yield from _csv_rows(file) if name.endswith(".csv") else _jsonl_rows(file)


def normal(row: Mapping[str, Any], labels: bool = True) -> dict[str, Any]:
    """What a row says, checked and in JSON form: `subject`, `birth_date`, `taken`, `licence`, `consent`, `source`,
    `faces`, `landmark_size`; only what is known.

    Args:
        row: a sidecar's row. labels: read who it is and where the faces are.

    Raises:
        ValueError, TypeError, OverflowError: something in it cannot be meant.
    """
    said = {OTHER_NAMES.get(key, key): value for key, value in row.items() if value is not None}
    said.update((key, row[key]) for key in OTHER_NAMES.values() if row.get(key) is not None)
    result: dict[str, Any] = {}
    for key in ("licence", "consent", "source"):
        if said.get(key) not in (None, ""):
            result[key] = redacted(printable(str(said[key])))
    for key in ("birth_date", "taken"):
        when = parse_date(said.get(key))
        if when is not None:
            result[key] = when.isoformat()
    if labels and said.get("subject") not in (None, ""):
        result["subject"] = printable(str(said["subject"]))
    faces = [_normal_face(face, labels) for face in said.get("faces") or ()]
    if any(faces):
        result["faces"] = [face for face in faces if face]
    if labels and said.get("landmark_size"):
        result["landmark_size"] = [int(side) for side in said["landmark_size"]]
    return result


def _jsonl_rows(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            yield number, ValueError(f"a line of more than {LONGEST_LINE} bytes; the rest was not read")
            return
        if line.strip():
            try:
                row = json.loads(line)
                yield number, row if isinstance(row, dict) else ValueError("not a JSON object")
            except (ValueError, RecursionError) as error:
                yield number, ValueError(printable(str(error)))
        number += 1


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """The rows of a table in text, in the shape of metadata.jsonl."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.DictReader(text)
    number = -1
    try:
        names = {OTHER_NAMES.get(name, name) for name in reader.fieldnames or ()}
        if "file" not in names:
            return
        for number, cells in enumerate(reader):
            try:
                yield number, _csv_row(cells)
            except ValueError as error:
                yield number, error
    except csv.Error as error:
        yield number + 1, ValueError(f"{error}; the rest was not read")


def _csv_row(cells: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {k: v for k, v in cells.items() if isinstance(v, str) and v.strip() not in EMPTY}
    face: dict[str, Any] = {}
    if "points" in row:
        face["landmarks"] = [float(word) for word in row["points"].split()]
    if "age" in row:
        face["age"] = float(row["age"])
    return row | {"faces": [face] if face else []}


def _normal_face(face: Mapping[str, Any], labels: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    given = face.get("landmarks") or ()
    points = [float(x) for point in given for x in (point if isinstance(point, list) else [point])]
    if points and (len(points) != 10 or not all(math.isfinite(x) for x in points)):
        raise ValueError(f"landmarks must be five finite points, got {len(points)} numbers")
    if labels and points:
        result["landmarks"] = points
    if labels and face.get("subject") not in (None, ""):
        result["subject"] = printable(str(face["subject"]))
    for key in POSE_AND_AGE:
        if face.get(key) is not None and (labels or key == "age"):
            value = float(face[key])
            if not math.isfinite(value):
                raise ValueError(f"{key} is {value}")
            result[key] = value
    return result
