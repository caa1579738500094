"""`--set key=value`: values of a frozen recipe replaced by dotted keys.

In: a dataclass and its overrides. Out: a new one, all of it checked.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

from anchorface.records import ConfigurationError
from anchorface.records.bounds import require


def replaced(value: Any, overrides: Mapping[str, Any], prefix: str = "") -> Any:
    """A frozen value with several of its fields replaced at once, so that their order says nothing.

    Args:
        value: a dataclass, or a tuple of objectives. overrides: dotted key -> value, all keys known (`keys`).
        prefix: stands before each key in an error.

    Raises:
        ConfigurationError: a value of another type, outside its field's bounds, or that fits no other; names the key.
    """
    if isinstance(value, tuple):
        return tuple(replaced(part, _below(overrides, part.kind), f"{prefix}{part.kind}.") for part in value)
    changes = {}
    for head in {key.partition(".")[0] for key in overrides}:
        old, inner = getattr(value, head), _below(overrides, head)
        if head in overrides:
            old = _as(old, overrides[head], f"{prefix}{head}")
            require(type(value), head, old, f"{prefix}{head}")
        changes[head] = replaced(old, inner, f"{prefix}{head}.") if inner else old
    try:
        return replace(value, **changes)
    except TypeError as error:
        raise ConfigurationError(f"{', '.join(prefix + name for name in changes)}: {error}") from error


def _below(overrides: Mapping[str, Any], head: str) -> dict[str, Any]:
    return {key.removeprefix(f"{head}."): new for key, new in overrides.items() if key.startswith(f"{head}.")}


def _as(old: Any, new: Any, key: str) -> Any:
    """`new` in the type of `old`."""
    if isinstance(new, str) and not isinstance(old, str | None):
        try:
            new = json.loads(new)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{key}={new!r}: a {type(old).__name__} is needed, written as in JSON") from error
    if isinstance(new, dict) and isinstance(old, tuple):
        new = list(new.items())
    if isinstance(new, list):
        new = tuple(new)
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        new = float(new) if abs(new) < 2**63 else math.inf
    if old is not None and new is not None and type(new) is not type(old):
        raise ConfigurationError(f"{key}={new!r}: a {type(old).__name__} is needed, as in {old!r}")
    return new


def keys(value: Any, prefix: str = "") -> list[str]:
    """The dotted keys of a frozen value; an objective stands under its kind."""
    found = []
    for entry in fields(value):
        inner = getattr(value, entry.name)
        within = {part.kind: part for part in inner} if _are_objectives(inner) else {}
        found += [] if within else [f"{prefix}{entry.name}"]
        found += keys(inner, f"{prefix}{entry.name}.") if is_dataclass(inner) else []
        for kind, part in within.items():
            found += keys(part, f"{prefix}{entry.name}.{kind}.")
    return found


def defaults(value: Any) -> dict[str, Any]:
    """The defaults of a frozen value's fields, nested as it is; an objective stands under its kind. A field that must
    be given has none."""
    found: dict[str, Any] = {}
    for entry in fields(value):
        inner = getattr(value, entry.name)
        if is_dataclass(inner):
            found[entry.name] = defaults(inner)
        elif _are_objectives(inner):
            found[entry.name] = {part.kind: defaults(part) for part in inner}
        elif entry.default is not MISSING:
            found[entry.name] = entry.default
        elif entry.default_factory is not MISSING:
            found[entry.name] = entry.default_factory()
    return found


def _are_objectives(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(is_dataclass(part) for part in value)


def hint(name: str, known: list[str]) -> str:
    """What to say after an unknown name: its neighbours, or all that are known."""
    # Compared by the last part as well, so that `learning_rte` and `feed.bach` both find their neighbour.
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2] and key not in near]
    return f"; did you mean {', '.join(near[:4])}?" if near else f"; known are {', '.join(known)}"
