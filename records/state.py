"""State files read as data: what a folder says of itself is checked against a type before anybody trusts it.

In: a JSON file and the type that it must have: a dataclass, a TypedDict, or what they are made of. Out: the value, or a
DataError that names the file and the place in it. A file says nothing about where it lies: paths in it are
`RelativePath`, confined to the folder by `inside`, the only function that does so.
"""

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, NotRequired, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from anchorface.records.errors import DataError
from anchorface.records.storage import read_bytes

T = TypeVar("T")
PLAIN: dict[Any, tuple[type, ...]] = {
    int: (int,), float: (int, float), str: (str,), bool: (bool,), type(None): (type(None),)}
LARGEST = 2**63
LONGEST = 255
"""Of a name in a folder."""


def inside(path: str) -> str:
    """A relative path that stays inside its folder, as it is.

    Raises:
        DataError: it is empty, absolute or climbs out.
    """
    steps = path.replace("\\", "/").split("/")
    if ":" in steps[0] or "\0" in path or any(step in ("", ".", "..") or len(step) > LONGEST for step in steps):
        raise DataError(f"{path[:80]!r}: a path in a dataset must stay inside its folder; the file is damaged or not "
                        "ours")
    return path


RelativePath = Annotated[str, inside]
"""A path inside the folder that the file stands for."""


def read_state(uri: str, kind: type[T]) -> T:
    """A JSON file as a value of this type.

    Args:
        kind: a dataclass (unknown keys are refused, those with a default may lack), a TypedDict (unknown keys stay),
            `dict[str, X]`, `list[X]`, `tuple[X, ...]`, a union, `int`, `float`, `str`, `bool`, None, RelativePath or
            Any. Whole numbers are those of 64 bits.

    Raises:
        DataError: it is no JSON of this type, or names a path outside its folder. StorageError: it cannot be read.
    """
    return parsed(read_bytes(uri), kind, uri)


def parsed(content: bytes | str, kind: type[T], named: str) -> T:
    """The JSON of a file called `named` as a value of this type; see `read_state`."""
    try:
        value: T = _made(json.loads(content), kind, "")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{named}: damaged, or not ours ({_shortened(error)})") from error
    return value


def _made(value: Any, kind: Any, where: str) -> Any:
    if kind is Any:
        return _plain(value, where)
    if get_origin(kind) is NotRequired:
        return _made(value, get_args(kind)[0], where)
    if get_origin(kind) is Annotated:
        made = _made(value, get_args(kind)[0], where)
        return inside(made) if inside in get_args(kind) else made
    if kind in PLAIN:
        if type(value) not in PLAIN[kind]:
            raise _wrong(value, kind.__name__, where)
        return _plain(value, where)
    if is_dataclass(kind) or is_typeddict(kind):
        return _record(value, kind, where)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(value, "object", where)
        of = inner or (str, Any)
        return {_made(key, of[0], where): _made(each, of[1], f"{where}.{key}"[:200]) for key, each in value.items()}
    if not isinstance(value, list):
        raise _wrong(value, "list", where)
    if origin is tuple and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise _wrong(value, f"list of {len(inner)}", where)
        return tuple(_made(each, of, f"{where}[{n}]") for n, (each, of) in enumerate(zip(value, inner, strict=True)))
    made = (_made(each, inner[0] if inner else Any, f"{where}[{n}]") for n, each in enumerate(value))
    return tuple(made) if origin is tuple else list(made)


def _record(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(value, "object", where)
    hints = _hints(kind)
    if is_typeddict(kind):
        needed, made = kind.__required_keys__, dict
    else:
        needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        made = kind
        if unknown := sorted(value.keys() - hints.keys()):
            raise DataError(f"{where or 'it'} has unknown keys: {', '.join(map(repr, unknown[:5]))}")
    if missing := sorted(needed - value.keys()):
        raise DataError(f"{where or 'it'} lacks {', '.join(missing)}")
    return made(**{key: _made(each, hints.get(key, Any), f"{where}.{key}"[:200]) for key, each in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    for number, kind in enumerate(kinds):
        try:
            return _made(value, kind, where)
        except ValueError:
            if number == len(kinds) - 1:
                raise


def _plain(value: Any, where: str) -> Any:
    """A value of JSON, if other programs can hold it: whole numbers of 64 bits, texts that UTF-8 can write."""
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise _wrong(value, "whole number of 64 bits", where)
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for key, each in value.items():
            _plain(key, where)
            _plain(each, where)
    elif isinstance(value, list):
        for each in value:
            _plain(each, where)
    return value


def _wrong(value: Any, needed: str, where: str) -> DataError:
    shown = repr(value) if not isinstance(value, int) or abs(value) < LARGEST else "a number of more digits"
    return DataError(f"{where.lstrip('.') or 'it'} is {shown[:60]}: {needed} is needed")


def _shortened(error: BaseException) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:300]
