"""State files are data: what does not fit its type, or names a path outside, is an error that names the file."""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest

from anchorface.records.errors import DataError
from anchorface.records.state import RelativePath, inside, parsed, read_state


class Place(TypedDict):
    path: RelativePath
    size: int


@dataclass(frozen=True)
class Plan:
    name: str
    share: float
    places: tuple[Place, ...] = ()
    pair: tuple[str, int] | None = None
    counts: dict[RelativePath, int] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)


def test_a_value_comes_back_as_its_type() -> None:
    text = json.dumps({"name": "a", "share": 1, "places": [{"path": "b/c.json", "size": 3, "more": None}],
                       "pair": ["x", 2], "free": {"any": [1.5, None, "word"]}})
    assert parsed(text, Plan, "plan.json") == Plan(
        name="a", share=1, places=({"path": "b/c.json", "size": 3, "more": None},), pair=("x", 2),
        free={"any": [1.5, None, "word"]})


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"7", b'{"name": "a"}', b'{"name": 1, "share": 0.5}', b'{"name": "a", "share": true}',
    b'{"name": "a", "share": "0.5"}', b'{"name": "a", "share": 0, "unknown": 1}', b"\xff\xfe{\x00}\x00",
    b'{"name": "\xe9", "share": 0}', b'{"name": "\\ud800", "share": 0}', b"[" * 100_000,
    b'{"name": "a", "share": 0, "free": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    b'{"name": "a", "share": 1' + b"0" * 400 + b"}", b'{"name": "a", "share": 1' + b"0" * 5000 + b"}",
    b'{"name": "a", "share": 0, "pair": ["x"]}', b'{"name": "a", "share": 0, "free": {"n": 99999999999999999999}}',
    b'{"name": "a", "share": 0, "places": [{"path": "/etc/passwd", "size": 1}]}',
    b'{"name": "a", "share": 0, "places": [{"path": "a/../../b", "size": 1}]}',
    b'{"name": "a", "share": 0, "counts": {"../b": 1}}',
])
def test_what_does_not_fit_is_an_error_that_names_the_file(content: bytes, tmp_path) -> None:
    place = tmp_path / "plan.json"
    place.write_bytes(content)
    with pytest.raises(DataError, match=r"plan\.json: damaged, or not ours"):
        read_state(str(place), Plan)


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "a/.", "C:/a", "s3://a", "..\\a", "a\0b"])
def test_no_path_leads_outside(path: str) -> None:
    with pytest.raises(DataError, match="inside its folder"):
        inside(path)
