"""The journal of an erasure: what is to be done, written down before the first byte of it, so that it is finished
wherever it was stopped.

In: `erased/pending/<id>.json`. Out: an Erasure. A journal names files, and a workspace may come from anybody: paths in
the workspace are confined to it, and files outside (`traces`) are touched only if this user wrote the journal. The mark
that tells is made with a key that stands outside every workspace, in $XDG_STATE_HOME/anchorface (~/.local/state).
"""

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from anchorface.pipelines.erasure.erased import Erased
from anchorface.pipelines.erasure.traces import Trace
from anchorface.pipelines.versions.plan import ShardSettings
from anchorface.records.erasures import PENDING
from anchorface.records.errors import DataError
from anchorface.records.homes import state_folder, state_home
from anchorface.records.state import RelativePath, read_state
from anchorface.records.storage import join, read_bytes, write_atomic

KEY = "erasures.key"


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What is to be done. files: tables to write again; versions: ids of dataset versions to replace; settings: of
    `shards`, if the latest version holds what the index holds, None otherwise. traces: what runs keep. not_searched:
    what the report says of it. mark: see `read_journal`."""

    erasure_id: RelativePath
    kind: str
    face_ids: list[str]
    photo_ids: list[str]
    uris: list[str]
    places: list[tuple[str, int]]
    identities: list[str]
    subjects: list[str]
    shared: dict[str, list[dict[str, Any]]]
    alike: dict[str, int]
    codes: int
    files: list[RelativePath]
    versions: list[RelativePath]
    settings: ShardSettings | None
    of_person: bool = False
    runs: list[dict[str, Any]] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    not_searched: list[str] = field(default_factory=list)
    mark: str = ""

    def erased(self, salt: bytes) -> Erased:
        """What goes, as the tables want it."""
        return Erased(
            face_ids=frozenset(self.face_ids), photo_ids=frozenset(self.photo_ids), uris=frozenset(self.uris),
            places=frozenset(self.places), shared=self.shared, subjects=frozenset(self.subjects),
            of_person=self.of_person, salt=salt,
        )


def write_journal(out: str, journal: Erasure) -> None:
    """Write it down.

    Raises:
        StorageError: the workspace, or the folder of the user's key, cannot be written.
    """
    marked = replace(journal, mark=_mark(out, journal))
    text = json.dumps(asdict(marked), sort_keys=True)
    write_atomic(join(out, PENDING, f"{journal.erasure_id}.json"), text.encode())


def read_journal(out: str, uri: str) -> Erasure:
    """A journal of this workspace.

    Raises:
        DataError: it is damaged, leads out of the workspace, or names files outside and was not written by this user.
    """
    journal = read_state(uri, Erasure)
    if journal.traces and not hmac.compare_digest(journal.mark, _mark(out, journal)):
        raise DataError(
            f"{uri}: this journal names files outside the workspace ({journal.traces[0].path}, ...), and you did not "
            "write it, or not for this workspace: nothing was deleted. Whoever began this erasure finishes it by "
            "running any verb; if nobody did, delete the journal")
    return journal


def _mark(out: str, journal: Erasure) -> str:
    text = json.dumps([out if "://" in out else os.path.realpath(out), asdict(replace(journal, mark=""))],
                      sort_keys=True)
    return hmac.new(_key(), text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    place = state_home(KEY)
    if not place.exists():
        write_atomic(str(state_folder() / KEY), secrets.token_bytes(32))
    return read_bytes(str(place))
