"""What is said beside photographs: rows of text files and tables, in one checked form.

Sidecars stand beside the pictures or in a folder above them, and name files relative to themselves (or whole, where
the file lies below the source):

    metadata.jsonl   a JSON object per line: `file`, and optionally `subject`, `birth_date`, `taken` (ISO dates, or
                     only a year), `licence`, `consent`, `source`, `faces`: [{`landmarks`: five [x, y], `subject`,
                     `yaw`, `pitch`, `roll`, `age`}]
    metadata.csv,    `file`, and optionally `subject`, `points` (ten numbers), `age`, `birth_date`, `taken`, `licence`,
    metadata.tsv,    `consent`, `source`. Pose columns are estimates and not read. Commas, semicolons, tabs and bars
    index.csv        separate.

A face without landmarks says something about the photograph's subject, wherever a detector finds it. What is said of a
tar or a film holds for all that is in it. Names of files and of fields are read in any case, words apart by a space,
`-` or `_`, and under the other names of OTHER_NAMES; text is UTF-8, UTF-16 with its mark, or Windows-1252 where a line
is no UTF-8. A field that cannot be meant is told and left out; the rest of its row holds.
"""

import codecs
import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, BinaryIO

from anchorface.pipelines.sources.address import printable
from anchorface.records.addresses import redacted
from anchorface.records.dates import believable, doubt_of_birth

SIDECARS = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "index.csv", "index.tsv")
EMPTY = ("", "na", "n/a", "nan", "none", "null", "-")
POSE_AND_AGE = ("yaw", "pitch", "roll", "age")
OTHER_NAMES = {
    "file_name": "file", "filename": "file", "file_path": "file", "filepath": "file", "path": "file", "image": "file",
    "image_path": "file", "image_name": "file", "image_file": "file", "photo": "file", "sourcefile": "file",
    "person": "subject", "identity": "subject", "subject_id": "subject", "person_id": "subject",
    "license": "licence", "licence_class": "licence", "year_taken": "taken", "date_taken": "taken",
    "taken_at": "taken", "datetimeoriginal": "taken", "date_time_original": "taken", "birthdate": "birth_date",
    "date_of_birth": "birth_date", "dob": "birth_date", "birthday": "birth_date", "born": "birth_date",
    "birth_year": "birth_date", "year_of_birth": "birth_date",
}
"""Other spellings of a field, in lower case with `_` between words."""
SEPARATORS = ",;\t|"
LONGEST_LINE = 2**20
"""Bytes of a line, or of a row of a table in text (our choice: a row says a few hundred bytes)."""
BAD_ROW = (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError)
_OLD_ENDS = re.compile(r"(?<=\r)(?!\n)")
"""Ends of lines that are a carriage return alone."""
_DATE = re.compile(r"(\d{4})(?:[-:./](\d{1,2})(?:[-:./](\d{1,2}))?)?(?:[T ].*)?")


def field_name(name: Any) -> str:
    """A field's or column's own name: `File Name`, `filename` and `path` are all `file`."""
    plain = re.sub(r"[\s\-_]+", "_", str(name).strip().strip("\ufeff\"'").strip().lower())
    return OTHER_NAMES.get(plain, plain)


def is_sidecar(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower() in SIDECARS


def file_of(row: Mapping[str, Any]) -> str:
    """The file that a sidecar's row means, with `/` between folders.

    Raises:
        ValueError: it names none.
    """
    named = row.get("file")
    if not isinstance(named, str) or not named.strip():
        raise ValueError(f"it names no `file`; fields: {', '.join(map(str, list(row)[:12]))}")
    return named.replace("\\", "/")


def parse_date(value: Any) -> date | None:
    """A date from `2019-03-02`, `2019:03:02 10:00:00`, `2019-03` or a year; the middle of the month or year where it
    says no more.

    Raises:
        ValueError: none of these.
    """
    text = str(value if value is not None else "").strip()
    if not text:
        return None
    found = _DATE.fullmatch(text.removesuffix(".0"))
    if found is None:
        raise ValueError(f"{text[:40]!r} is no date such as 2019-03-02, 2019-03 or 2019")
    year, month, day = (int(part) if part else 0 for part in found.groups())
    return date(year, month or 7, day or 15)


def said_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """The rows of an open sidecar, one after the other.

    Args:
        name: ends in `.csv`, `.tsv` or `.jsonl`.
        file: its bytes.

    Yields:
        Row number from 0, and a dictionary by `field_name`s in the shape of metadata.jsonl, or the error that the row
        raises. A table in text without a column of files is one such error, which names the columns found.
    """
    yield from _jsonl_rows(file) if name.lower().endswith(".jsonl") else _table_rows(file)


def normal(row: Mapping[str, Any], labels: bool = True) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a row says, checked and in JSON form: `subject`, `birth_date`, `taken`, `licence`, `consent`, `source`,
    `faces`, `landmark_size`; only what is known.

    Args:
        row: a sidecar's row. labels: read who it is and where the faces are.

    Returns:
        What is said, and a sentence for each field that cannot be meant: it costs the field, not the row.
    """
    said = _by_name(row)
    result: dict[str, Any] = {}
    problems: list[str] = []

    def read(key: str, reading: Any) -> None:
        value = said.get(key)
        if value is None or value == "":
            return
        try:
            found = reading(value)
        except BAD_ROW as error:
            problems.append(printable(f"{key} is not read: {error}")[:300])
        else:
            if found not in (None, "", []):
                result[key] = found

    for key in ("licence", "consent", "source"):
        read(key, lambda value: redacted(_text(value)))
    read("birth_date", _birth_date)
    read("taken", _taken)
    if labels:
        read("subject", _text)
        read("landmark_size", lambda sides: [int(side) for side in sides])
    read("faces", lambda faces: _normal_faces(faces, labels, problems))
    return result, tuple(problems)


def _by_name(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row by `field_name`s; where two spellings are there, the field's own name has the last word."""
    known = [(field_name(key), key, value) for key, value in row.items() if value is not None and key is not None]
    return {name: value for name, key, value in sorted(known, key=lambda each: each[0] == each[1])}


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bytes):
        raise ValueError(f"a text is needed, not {type(value).__name__}")
    return printable(str(value).strip())


def _birth_date(value: Any) -> str | None:
    when = parse_date(value)
    if when is not None and (doubt := doubt_of_birth(when)):
        raise ValueError(doubt)
    return when.isoformat() if when is not None else None


def _taken(value: Any) -> str | None:
    when = parse_date(value)
    if when is not None and believable(when) is None:
        raise ValueError(f"{when}: a clock's zero, the future, or before photography")
    return when.isoformat() if when is not None else None


def _jsonl_rows(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        for number, line in enumerate(_lines(file)):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield number, _by_name(row) if isinstance(row, dict) else ValueError("not a JSON object")
            except (ValueError, RecursionError) as error:
                yield number, ValueError(printable(str(error)))
    except _TooLong as error:
        yield number + 1, ValueError(str(error))


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a text, each with its end."""
    first = file.read(4)
    if first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or (len(first) == 4 and first[1::2] == b"\0\0"):
        encoding = "utf-16" if first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-16-le"
        file.seek(0)
        text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
        yield from iter(lambda: _short(text.readline(LONGEST_LINE)), "")
        text.detach()
        return
    file.seek(3 if first.startswith(codecs.BOM_UTF8) else 0)
    while line := _short(file.readline(LONGEST_LINE)):
        try:
            decoded = line.decode("utf-8")
        except UnicodeDecodeError:
            decoded = line.decode("cp1252", "replace")
        yield from filter(None, _OLD_ENDS.split(decoded))


class _TooLong(ValueError):
    """A line or row that nobody meant."""


def _short(line: Any) -> Any:
    if len(line) >= LONGEST_LINE:
        raise _TooLong(f"a line of more than {LONGEST_LINE} bytes; the rest was not read")
    return line


def _table_rows(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """The rows of a table in text, in the shape of metadata.jsonl."""
    number, spent = -1, 0

    def lines() -> Iterator[str]:
        nonlocal spent
        for line in itertools.chain([first], rest):
            spent += len(line)
            if spent > LONGEST_LINE:
                raise _TooLong(f"a row of more than {LONGEST_LINE} bytes; the rest was not read")
            yield line

    try:
        rest = _lines(file)
        first = next((line for line in rest if line.strip()), "")
        if first.lower().startswith("sep=") and len(first.strip()) in (4, 5):
            first = next(rest, "")
        separator = max(SEPARATORS, key=lambda sign: ("file" in _columns(first, sign), first.count(sign)))
        columns = _columns(first, separator)
        if "file" not in columns:
            found = ", ".join(printable(column) for column in columns[:12])
            yield -1, ValueError(f"no column says which file a row means (`file`, `filename`, ...); columns: {found}")
            return
        reader = csv.reader(lines(), delimiter=separator)
        next(reader)
        while True:
            number, spent = number + 1, 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, ValueError(str(error))
                continue
            yield number, _table_row(dict(zip(columns, cells, strict=False)))
    except _TooLong as error:
        yield number, ValueError(str(error))


def _columns(line: str, separator: str) -> list[str]:
    try:
        return [field_name(cell) for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _table_row(cells: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {key: cell.strip() for key, cell in cells.items() if cell.strip().lower() not in EMPTY}
    face = {"landmarks": row["points"].split()} if "points" in row else {}
    if "age" in row:
        face["age"] = row["age"]
    return row | {"faces": [face] if face else []}


def _normal_faces(faces: Any, labels: bool, problems: list[str]) -> list[dict[str, Any]]:
    """The faces of a row; what cannot be meant costs a face's field."""
    if not isinstance(faces, list | tuple):
        raise TypeError(f"a list is needed, not {type(faces).__name__}")
    found = []
    for number, face in enumerate(faces):
        if not isinstance(face, Mapping):
            problems.append(f"faces[{number}] is not read: not an object")
        elif said := _normal_face(_by_name(face), labels, f"faces[{number}].", problems):
            found.append(said)
    return found


def _normal_face(face: Mapping[str, Any], labels: bool, place: str, problems: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    readings: dict[str, Any] = {"landmarks": _points, "subject": _text} if labels else {}
    for key, reading in (readings | dict.fromkeys(POSE_AND_AGE if labels else ("age",), _finite)).items():
        if face.get(key) in (None, "", []):
            continue
        try:
            result[key] = reading(face[key])
        except BAD_ROW as error:
            problems.append(printable(f"{place}{key} is not read: {error}")[:300])
    return result


def _points(given: Any) -> list[float]:
    points = [float(x) for point in given for x in (point if isinstance(point, list | tuple) else [point])]
    if len(points) != 10 or not all(map(math.isfinite, points)):
        raise ValueError(f"five finite points are needed, got {len(points)} numbers")
    return points


def _finite(value: Any) -> float:
    number = float(value.replace(",", ".") if isinstance(value, str) else value)
    if not math.isfinite(number):
        raise ValueError(f"it is {number}")
    return number
