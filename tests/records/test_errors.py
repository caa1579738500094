"""Promises of errors: told as values, they keep class and words, and a value names nothing else."""

import json

import pytest

from anchorface.records import AnchorfaceError, DataError, PhotoError, StorageError, errors

CLASSES = [
    each for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, AnchorfaceError) and each is not PhotoError
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_told_in_json_keeps_its_class_and_its_words(kind: type[AnchorfaceError]) -> None:
    told = json.loads(json.dumps(errors.to_value(kind("row 3: it is wrong; do it again"))))
    again = errors.from_value(*told)
    assert type(again) is kind
    assert str(again) == "row 3: it is wrong; do it again"


def test_a_photograph_that_stops_more_than_itself_is_damaged_data() -> None:
    again = errors.from_value(*errors.to_value(PhotoError("truncated", "a.jpg", "half of it")))
    assert type(again) is DataError
    assert str(again) == "a.jpg: truncated (half of it)"


def test_an_error_from_elsewhere_comes_as_its_nearest_base() -> None:
    class FullError(StorageError):
        pass

    assert errors.to_value(FullError("no space")) == ("StorageError", "no space")


@pytest.mark.parametrize("name", ["", "PhotoError", "KeyboardInterrupt", "to_value", "__builtins__", "FullError"])
def test_a_name_names_nothing_but_errors_of_ours(name: str) -> None:
    again = errors.from_value(name, "told")
    assert type(again) is AnchorfaceError
    assert str(again) == "told"
