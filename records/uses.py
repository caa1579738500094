"""What was made of a dataset version, noted in its workspace, so that an erasure finds it: `uses/<name>.json`.

In: a dataset version's place and what was made of it where. Out: a note, one for each place and version. A version that
was copied out of its workspace has none to be noted in.
"""

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass

from anchorface.records.addresses import redacted
from anchorface.records.erasures import workspace_of
from anchorface.records.errors import StorageError
from anchorface.records.state import read_state
from anchorface.records.storage import exists, filesystem, join, list_files, write_atomic

FOLDER = "uses"
KINDS = ("training", "evaluation", "restored", "pages")


@dataclass(frozen=True, kw_only=True)
class Use:
    """kind: one of KINDS. place: the folder, without credentials. manifest: the version's id. latents: the folder of
    its cached latents at a URI, empty for none. host: where it was made."""

    kind: str
    place: str
    manifest: str = ""
    latents: str = ""
    host: str = ""


def note(workspace: str, kind: str, place: str, *, manifest: str = "", latents: str = "") -> None:
    """Note a use; noting it again changes nothing.

    Raises:
        StorageError: the workspace cannot be written.
    """
    whole = redacted(place) if "://" in place else filesystem(place)[1]
    use = Use(kind=kind, place=whole, manifest=manifest, latents=redacted(latents), host=socket.gethostname())
    text = json.dumps(asdict(use), sort_keys=True)
    uri = join(workspace, FOLDER, f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json")
    if not exists(uri):
        write_atomic(uri, text.encode())


def note_dataset(
    dataset: str, kind: str, place: str, report: Callable[[str], None], *, manifest: str, latents: str = ""
) -> None:
    """Note a use of the dataset version at a place, in its workspace if that is seen from here.

    Args:
        report: takes a line where the workspace cannot be written.
    """
    workspace = workspace_of(dataset)
    if not workspace or not exists(join(workspace, "done")):
        return  # a copy of a `dataset` folder, of which nobody is erased
    try:
        note(workspace, kind, place, manifest=manifest, latents=latents)
    except StorageError as error:
        report(f"{workspace} cannot note {kind} {redacted(place)}, so an erasure there has to be told of it: {error}")


def noted(workspace: str) -> list[Use]:
    """All uses, in order of place.

    Raises:
        DataError: a note is damaged.
    """
    folder = join(workspace, FOLDER)
    found = [read_state(uri, Use) for uri in list_files(folder, (".json",))] if exists(folder) else []
    return sorted(found, key=lambda use: (use.place, use.manifest))
