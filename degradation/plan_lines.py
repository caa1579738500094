"""Plans of files as JSON lines: {"file", "version", "digest", "explanation", "plan"}; a clip's plan has `frames`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from anchorface.degradation.clip_plan import ClipPlan
from anchorface.degradation.explain import explain
from anchorface.degradation.plan import Plan
from anchorface.records import storage
from anchorface.records.errors import DataError

Key = tuple[str, int]
"""A file's name and a version of it."""
Plans = dict[Key, Plan | ClipPlan]
Lines = dict[Key, dict[str, Any]]


def line_of(key: Key, plan: Plan | ClipPlan) -> dict[str, Any]:
    """One line."""
    return {"file": key[0], "version": key[1], "digest": plan.digest, "explanation": explain(plan),
            "plan": json.loads(plan.to_json())}


def read_plans(uri: str) -> Plans:
    """Plans by file and version; a line without version is version 0.

    Raises:
        DataError: a line that holds no plan, or whose digest is another one; it is named.
        StorageError: there is no such file.
    """
    plans: Plans = {}
    for key, line in read_lines(uri).items():
        where = f"{uri}, {key[0]} version {key[1]}"
        try:
            kind = ClipPlan if "frames" in line["plan"] else Plan
            plan = kind.from_json(json.dumps(line["plan"]))
        except (DataError, KeyError, TypeError) as error:
            raise DataError(f"{where}: no plan: {error}") from error
        if line.get("digest", plan.digest) != plan.digest:
            raise DataError(f"{where}: the plan's digest is {plan.digest}, not {line['digest']}")
        plans[key] = plan
    return plans


def digest_of(plans: Mapping[Key, Plan | ClipPlan]) -> str:
    """16 hex digits for all of them."""
    text = "".join(f"{file} {version} {plan.digest}\n" for (file, version), plan in sorted(
        plans.items(), key=lambda entry: entry[0]))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lines(uri: str) -> Lines:
    """The lines of a file by file and version.

    Raises:
        DataError: a line that is none, or that stands there twice; its number is named.
        StorageError: there is no such file.
    """
    found: Lines = {}
    for number, text in enumerate(storage.read_bytes(uri).decode(errors="replace").splitlines(), 1):
        try:
            line = json.loads(text)
            key = str(line["file"]), int(line.get("version", 0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{uri}, line {number}: not a line with file, version and plan: {error!r}") from error
        if key in found:
            raise DataError(f"{uri}, line {number}: {key[0]}, version {key[1]} comes twice")
        found[key] = line
    return found


def write_lines(uri: str, lines: Iterable[Any]) -> None:
    """Write JSON lines whole or not at all."""
    storage.write_atomic(uri, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
