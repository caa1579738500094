"""Folders and buckets that all nodes must see: whoever drives writes a file, each node reads it and writes one back.

The files have names that nobody else uses and are deleted afterwards. A bucket is asked with the credentials of the
environment where this runs, the node's on a node.
"""

import contextlib
import secrets
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anchorface.infra.doctor.findings import Finding, first_line, grouped
from anchorface.records import AnchorfaceError
from anchorface.records.addresses import redacted
from anchorface.records.patience import within
from anchorface.records.storage import delete, exists, filesystem, is_local, join, read_if_there, write_atomic

if TYPE_CHECKING:
    from anchorface.infra.doctor.nodes import Nodes

PREFIX = ".anchorface-doctor-"
SECONDS, LIMIT = 90.0, 120.0
"""For which a folder or bucket has time to answer: a bucket's client tries a minute; and a node in all (our choice)."""
UNSEEN = "does not see what was written from here"
RIGHTS = "give whoever runs this the right to write there, or name another place"
REMEDIES = {
    True: "mount the same folder there, under the same path, writable for the same user; or take a bucket",
    False: "the node's environment says who asks (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...): set it where Ray is "
           f"started, and {RIGHTS}"}
"""Whether a place is a folder -> what to do where a node fails."""


def tried(place: str) -> Finding:
    """Write, read and delete a file in a place, from here."""
    name, place = _name(), _whole(place)
    failed, left = bounded(lambda: begin(place, name)), bounded(lambda: remove(place, name))
    if failed or left:
        return _here(place, failed or left)
    return Finding(topic="places", subject=redacted(place), state="ok",
                   detail="a file was written, read and deleted from here")


def shared(place: str, nodes: "Nodes") -> list[Finding]:
    """Whether all nodes see one place and write there, a row for each group of them that fails alike."""
    name, place = _name(), _whole(place)
    own = {node: f"{name}-{number}" for number, node in enumerate(nodes.living)}
    said, failed, left = dict[str, str](), "", ""
    try:
        failed = bounded(lambda: begin(place, name))
        if not failed:
            said = nodes.ask(redacted(place), LIMIT, lambda actor, node: actor.shares.remote(place, name, own[node]))
            unseen = {node: bounded(partial(_read, place, own[node])) for node, text in said.items() if not text}
            said |= {node: f"wrote a file that is not seen from here: {text}" for node, text in unseen.items() if text}
            nodes.ask("deleting", LIMIT, lambda actor, node: actor.removes.remote(place, own[node]))
    finally:
        left = bounded(lambda: _remove_all(place, [name, *own.values()]))
    if failed or left:
        return [_here(place, failed or left)]
    failures = grouped({node: text for node, text in said.items() if text})
    rows = [Finding(topic="places", subject=redacted(place), state="fault", detail=f"{names} {text}",
                    remedy=REMEDIES[is_local(place)]) for text, names in failures.items()]
    if not rows and said:
        rows.append(Finding(topic="places", subject=redacted(place), state="ok",
                            detail=f"written and read from here and by {len(said)} nodes"))
    return rows


def begin(place: str, name: str) -> str:
    """Write a file, and read it. Returns why that fails, or nothing."""
    if is_local(place) and not Path(filesystem(place)[1]).is_dir():
        return "there is no such folder"
    try:
        write_atomic(join(place, name), name.encode())
    except AnchorfaceError as error:
        return f"cannot be written: {first_line(error)}"
    return _read(place, name)


def share(place: str, theirs: str, own: str) -> str:
    """Read the file that somebody else wrote, and write one's own where that is seen: so nothing is made in a folder
    that only bears the same name. Returns why that fails, or nothing."""
    if _read(place, theirs):
        there = is_local(place) and not exists(place)
        return f"{UNSEEN}: " + ("there is no such folder on it" if there else _read(place, theirs))
    return begin(place, own)


def remove(place: str, name: str) -> str:
    """Delete a file. Returns why that fails, or nothing."""
    try:
        delete(join(place, name))
    except AnchorfaceError as error:
        return f"cannot be deleted: {first_line(error)}"
    return ""


def _read(place: str, name: str) -> str:
    """Why a file is not read as it was written, or nothing."""
    try:
        found = read_if_there(join(place, name))
    except AnchorfaceError as error:
        return f"cannot be read: {first_line(error)}"
    if found is None:
        return "the file is not there"
    return "" if found == name.encode() else "the file holds something else"


def _remove_all(place: str, names: list[str]) -> str:
    """Delete what was written, also what a killed writer left half done beside it. Returns why that fails."""
    if is_local(place):
        names += [path.name for path in Path(filesystem(place)[1]).glob(f"{names[0]}*")]
    return next(filter(None, [remove(place, name) for name in names]), "")


def _here(place: str, failed: str) -> Finding:
    return Finding(topic="places", subject=redacted(place), state="fault",
                   detail=f"from {socket.gethostname()}, where this runs: {failed}", remedy=RIGHTS)


def bounded(action: Callable[[], str]) -> str:
    """What an action says; a place that hangs is a failure, too."""
    try:
        return within(SECONDS, action)
    except (TimeoutError, AnchorfaceError) as error:
        return first_line(error)


def _name() -> str:
    return f"{PREFIX}{secrets.token_hex(8)}"


def _whole(place: str) -> str:
    """A folder's path as other machines know it, too."""
    with contextlib.suppress(AnchorfaceError):
        return filesystem(place)[1] if is_local(place) else place.rstrip("/")
    return place
