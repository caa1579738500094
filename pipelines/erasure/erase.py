"""Erasing people, photographs or a source from a workspace, for good.

In: a workspace and a Selection (pipelines.erasure.selection). Out: `erased/<id>.json`, and nothing of what was selected
in any store of the workspace: photos/, scanned/, listing/, faces/, clusterer/, identities/, the index (compacted), its
crops, dropped tables, every dataset version, audit pages, half-written files.

    tombstones/<id>.json       written first: it keeps them from coming back (identity_index.tombstones)
    erased/pending/<id>.json   the journal: what is to be done; deleted last. It names files, and nothing else here does
    erased/<id>.json           the report: ids (hashes of content), counts, files rewritten, versions and runs

Every step can be done twice, so an erasure that was stopped anywhere is finished by `settle`: at the next erasure, and
before any stage. Finished parts stay finished (see erasure.tables). Decisions keep face ids. The photographs at the
source are the user's: they are counted and never touched.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from anchorface.faces.weights import find
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.tombstones import bury
from anchorface.pipelines.erasure import runs as seen_by
from anchorface.pipelines.erasure.selection import Selection
from anchorface.pipelines.erasure.tables import Erased, Markers, forget_subjects, holding
from anchorface.pipelines.erasure.versions import FOLDER as REWRITING
from anchorface.pipelines.erasure.versions import rewrite_version, versions_with
from anchorface.pipelines.identities.splits import SPLITS
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.versions.plan import ShardSettings, planned
from anchorface.pipelines.versions.publish import finished, latest_id, name_latest
from anchorface.records.erasures import FOLDER as REPORTS
from anchorface.records.erasures import PENDING, before
from anchorface.records.errors import DataError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.records.lineage import manifests
from anchorface.records.state import RelativePath, read_state
from anchorface.records.storage import delete, exists, join, list_files, read_table, write_atomic

REBUILT = ("listing", "audit", "audit.unfinished", "building")
IDENTITIES, REPORT = "identities/part-00000.parquet", "identities/report.json"


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What is to be done: the journal. files: tables to write again; versions: ids of dataset versions to replace;
    settings: of `shards`, if the latest version holds what the index holds, None otherwise. pictures: files of runs,
    and the numbers to take out of each (none: the file goes)."""

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
    runs: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[tuple[str, list[int]]] = field(default_factory=list)

    @property
    def erased(self) -> Erased:
        """What goes, as the tables want it."""
        return Erased(
            face_ids=frozenset(self.face_ids), photo_ids=frozenset(self.photo_ids), uris=frozenset(self.uris),
            places=frozenset((uri, number) for uri, number in self.places), shared=self.shared,
        )


def erase(
    out: str, selection: Selection, *, runs: Sequence[str] = (), tracking: Sequence[str] = (),
    salt: bytes | None = None, progress: Progress | None = None,
) -> dict[str, Any]:
    """Erase what is selected from every store of the workspace.

    Args:
        out: the workspace.
        selection: who or what goes.
        runs: folders of training runs and evaluations: those that saw them are listed, and their pages and pictures of
            people deleted (pipelines.erasure.runs).
        tracking: MLflow tracking URIs to search as well as those that the runs name.
        salt: of the tombstones, where the workspace has none yet; drawn from the system's randomness if None.
        progress: where to report.

    Returns:
        The report, as it stands in `erased/<id>.json`.

    Raises:
        DataError: nothing is selected, or a table is damaged.
        ConfigurationError: a folder of runs or a tracking store that is not there.
        StorageError: the workspace cannot be written; the same call goes on from there.
    """
    settle(out, progress=progress)
    if not selection.photo_ids and not selection.face_ids:
        raise DataError(f"{out}: nothing is selected, so nothing was erased")
    journal = _plan(out, selection, runs, tracking)
    people = [(name, _weights(name), vectors) for name, vectors in sorted(selection.codes.items())]
    bury(out, journal.erasure_id, photos=selection.photo_ids, people=people, salt=salt)
    write_atomic(join(out, PENDING, f"{journal.erasure_id}.json"), json.dumps(asdict(journal), sort_keys=True).encode())
    return _carry_out(out, journal, progress or Progress(quiet=True))


def settle(out: str, *, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Finish erasures that were stopped, so that nothing half-erased is read; nothing to do is no error.

    It stands first in every verb that reads or writes a workspace.

    Returns:
        Their reports.
    """
    folder = join(out, PENDING)
    pending = list_files(folder, (".json",)) if exists(folder) else []
    return [_carry_out(out, _journal(uri), progress or Progress(quiet=True)) for uri in pending]


def _journal(uri: str) -> Erasure:
    """A journal, if it names nothing but this workspace's files and what runs that saw the erased show of them."""
    journal = read_state(uri, Erasure)
    try:
        seen_by.require_of_runs(journal.pictures, journal.runs)
    except DataError as error:
        raise DataError(f"{uri}: {error}") from error
    return journal


def _plan(out: str, selection: Selection, folders: Sequence[str], tracking: Sequence[str]) -> Erasure:
    """What is to be done, all of it known before the first byte is written."""
    erased = Erased(
        face_ids=frozenset(selection.face_ids), photo_ids=frozenset(selection.photo_ids),
        uris=frozenset(selection.uris), places=frozenset(selection.places), shared=selection.shared,
    )
    versions = versions_with(out, erased.face_ids)
    saw = [*versions, *before(out, versions)]
    found = [run for folder in folders for run in seen_by.folder_runs(folder, saw)]
    for uri in dict.fromkeys([*tracking, *seen_by.tracking_uris(folders)]):
        found += seen_by.tracked_runs(uri, saw)
    return Erasure(
        erasure_id=stage.fingerprint(sorted(selection.face_ids), sorted(selection.photo_ids))[:16],
        kind=selection.kind, face_ids=list(selection.face_ids), photo_ids=list(selection.photo_ids),
        uris=list(selection.uris), places=list(selection.places),
        identities=list(selection.identities), subjects=list(selection.subjects), shared=selection.shared,
        alike=selection.alike, codes=sum(map(len, selection.codes.values())), files=holding(out, erased),
        versions=versions, settings=_current(out), runs=found,
        pictures=seen_by.pictures(folders, found, erased.face_ids),
    )


def _carry_out(out: str, journal: Erasure, progress: Progress) -> dict[str, Any]:
    """Do it; every step looks at what is there, so it may have been done before."""
    erased, faces = journal.erased, frozenset(journal.face_ids)
    subjects = frozenset(journal.subjects)
    with progress.stage("erase", len(journal.files) + len(journal.versions) + 1, "files") as told:
        markers = Markers(out)
        for path in journal.files:
            markers.rewrite(path, erased)
            told.advance(1)
        _count_identities(out, markers)
        markers.sum_up()
        forget_subjects(out, subjects)
        if exists(join(out, "index", "faces.lance")):
            IdentityIndex.open(join(out, "index")).delete(sorted(faces))
        told.advance(1)
        for folder in REBUILT:
            delete(join(out, folder))
        successors = {}
        for version in journal.versions:
            successors[version] = rewrite_version(out, version, faces, subjects)
            told.advance(1)
        delete(join(out, REWRITING))
        latest = latest_id(out)
        if journal.settings is not None and latest:
            name_latest(out, latest[0], planned(out, journal.settings)[1])
        for uri in list_files(out, (".tmp",)):
            delete(uri)
        for path, numbers in journal.pictures:
            seen_by.clean((path, numbers))
    report = {
        "id": journal.erasure_id, "asked_for": journal.kind, "photos": journal.photo_ids, "faces": journal.face_ids,
        "identities": journal.identities, "photos_that_stay_for_others": sorted(journal.shared),
        "originals_at_the_source": len(journal.uris) + len(journal.shared), "codes_remembered": journal.codes,
        "also_alike": journal.alike, "files_rewritten": journal.files, "dataset_versions": successors,
        "runs": journal.runs, "run_files_cleaned": [path for path, _ in journal.pictures],
    }
    text = json.dumps(report, sort_keys=True, indent=1)
    write_atomic(join(out, REPORTS, f"{journal.erasure_id}.json"), text.encode())
    delete(join(out, PENDING, f"{journal.erasure_id}.json"))
    return report


def _count_identities(out: str, markers: Markers) -> None:
    """Bring what `group` reported up to the identities that are left."""
    if not exists(join(out, REPORT)) or not exists(join(out, IDENTITIES)):
        return
    said = read_state(join(out, REPORT), dict[str, Any])
    table = read_table(join(out, IDENTITIES), ("identity", "split", "face_ids"))
    sizes = np.array([len(face_ids) for face_ids in table["face_ids"].to_pylist()], dtype=np.int64)
    splits = np.array(table["split"].to_pylist(), dtype=np.str_)
    counted: dict[str, Any] = {
        "faces": int(sizes.sum()), "identities": len(table), "single_faces": int((sizes == 1).sum())}
    for split in SPLITS:
        chosen = sizes[splits == split]
        counted |= {f"{split}_identities": len(chosen), f"{split}_faces": int(chosen.sum())}
    left = set(table["identity"].to_pylist())
    if "suspicious" in said:
        counted["suspicious"] = [name for name in said["suspicious"] if name in left]
    said |= {name: value for name, value in counted.items() if name in said}
    markers.replace(REPORT, json.dumps(said, sort_keys=True, indent=1).encode(), {})


def _current(out: str) -> ShardSettings | None:
    """The settings of `shards` if the latest version is what the index gives; None if it is older, or there is none."""
    latest = latest_id(out)
    here = [m for m in manifests(join(out, "dataset")) if (m.manifest_id,) == latest] if latest else []
    settings: ShardSettings | None = here[0].settings.get("shards") if here else None
    if not settings or not stage.settings(out, "group") or not exists(join(out, "index", "faces.lance")):
        return None
    return settings if finished(out, planned(out, settings)[1]) is not None else None


def _weights(embedder: str) -> str:
    """The hash of an embedder's file; empty where it is not here any more."""
    try:
        return sha256(find(embedder, "embedder"))
    except WeightsError:
        return ""
