"""What erasures, finished and stopped, say of dataset versions: which were replaced, and by which.

In: a workspace, or the place of a dataset version in one. Out: values; nothing is written. An erasure takes faces out
of every version that holds them, so what saw a version saw those that were taken out of it later, and out of its
successors.

    erased/<id>.json           a finished erasure: `dataset_versions`, old id -> new id; ids of faces and photographs
    erased/pending/<id>.json   one that was stopped: `versions`, ids to replace
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from anchorface.records.errors import ConfigurationError, ConsentError
from anchorface.records.state import read_state
from anchorface.records.storage import exists, join, list_files

FOLDER = "erased"
PENDING = f"{FOLDER}/pending"
ANSWERS = ("warn", "refuse")


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A dataset version that erasures replaced. erasures: their ids, the first one first; faces: how
    many they took out of the version and its successors; successor: the version that stands now, empty while an erasure
    is unfinished."""

    manifest_id: str
    erasures: tuple[str, ...]
    faces: int
    successor: str


class Report(TypedDict):
    """What is read here of a finished erasure."""

    id: str
    dataset_versions: NotRequired[dict[str, str]]
    faces: NotRequired[list[str]]
    photos: NotRequired[list[str]]
    identities: NotRequired[list[str]]


class Journal(TypedDict):
    """What is read here of one that was stopped."""

    erasure_id: str
    versions: NotRequired[list[str]]
    face_ids: NotRequired[list[str]]


def reports(workspace: str) -> list[dict[str, Any]]:
    """The reports of all finished erasures of a workspace, in order of id."""
    return _read(join(workspace, FOLDER), Report)


def pending(workspace: str) -> list[dict[str, Any]]:
    """The journals of erasures that were stopped, in order of id."""
    return _read(join(workspace, PENDING), Journal)


def replaced(manifest_id: str, dataset: str) -> Replaced | None:
    """Whether a dataset version was replaced by erasures since.

    Args:
        manifest_id: the version's id. dataset: where it stood: its folder, or the `dataset` folder above it, as
            `feed.dataset` of a checkpoint's recipe says.

    Returns:
        None if it was not, or if its workspace cannot be seen from here.
    """
    workspace = workspace_of(dataset)
    if not workspace or not exists(join(workspace, FOLDER)):
        return None
    known, erasures, faces, version = reports(workspace), [], 0, manifest_id
    while report := next((each for each in known if version in each.get("dataset_versions", {})), None):
        erasures.append(str(report["id"]))
        faces += len(report.get("faces", ()))
        version = str(report["dataset_versions"][version])
        known.remove(report)
    for journal in pending(workspace):
        if version in journal.get("versions", ()):
            erasures.append(str(journal["erasure_id"]))
            faces += len(journal.get("face_ids", ()))
            version = ""
            break
    if not erasures:
        return None
    return Replaced(manifest_id=manifest_id, erasures=tuple(erasures), faces=faces, successor=version)


def before(workspace: str, manifest_ids: Sequence[str]) -> dict[str, str]:
    """The versions that these once were: each replaced version whose successors lead to one of them, and the erasure
    that replaced it. What they hold, those held too."""
    found: dict[str, str] = {}
    wanted, known = set(manifest_ids), reports(workspace)
    while new := {old: str(report["id"]) for report in known
                  for old, after in report.get("dataset_versions", {}).items()
                  if after in wanted and old not in found and old not in manifest_ids}:
        found |= new
        wanted = set(new)
    return found


def require_settled(manifest_id: str, dataset: str) -> None:
    """Refuse a version that an erasure is about to replace; `dataset` as for `replaced`.

    Raises:
        ConfigurationError: an erasure is at work on it, or was stopped.
    """
    found = replaced(manifest_id, dataset)
    if found is not None and not found.successor:
        raise ConfigurationError(
            f"{dataset}: faces of version {manifest_id} are being erased (erasure {', '.join(found.erasures)}): wait "
            "for it, or finish it if it was stopped (`anchorface erase`, or any verb that writes the workspace)")


def answer(found: Replaced | None, what: str, policy: str, report: Callable[[str], None]) -> None:
    """Warn or refuse to use what saw erased people.

    Args:
        found: from `replaced`. what: that which saw them, such as a checkpoint's folder. policy: one of ANSWERS.
        report: takes the warning.

    Raises:
        ConsentError: it saw erased people and the policy is `refuse`. ConfigurationError: another policy.
    """
    if policy not in ANSWERS:
        raise ConfigurationError(f"erased {policy!r}: it is {' or '.join(ANSWERS)}")
    if found is None:
        return
    now = f"version {found.successor} stands in its place" if found.successor else "the erasure is not finished"
    text = (f"{what} was trained on dataset version {found.manifest_id}, and {found.faces:,} of its faces were erased "
            f"since (erasure {', '.join(found.erasures)}; {now}): it cannot be made to unsee them")
    if policy == "refuse":
        raise ConsentError(f"{text}. Train anew on what is left, or allow it with --erased warn")
    report(f"warning: {text}")


def workspace_of(dataset: str) -> str:
    """The workspace of a dataset version's folder, or of the `dataset` folder above it; empty where the place tells
    none."""
    place = dataset.rstrip("/")
    for folder in (place, place.rpartition("/")[0]):
        parent, _, name = folder.rpartition("/")
        if name == "dataset":
            return parent or ("/" if folder.startswith("/") else ".")
    return ""


def _read(folder: str, kind: type[Report] | type[Journal]) -> list[dict[str, Any]]:
    uris = list_files(folder, (".json",), missing_ok=True)
    return [{**read_state(uri, kind)} for uri in uris if uri.rpartition("/")[0].rstrip("/") == folder.rstrip("/")]
