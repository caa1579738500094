"""Erasing people, photographs or a source from a workspace, for good.

In: a workspace and a Selection (pipelines.erasure.selection). Out: `erased/<id>.json`, and nothing of what was selected
in any store of the workspace: photos/, scanned/, listing/, faces/, clusterer/, tracks/, identities/, the index
(compacted), its crops, dropped tables, every dataset version, audit pages, half-written files.

    tombstones/<id>.json       written first: it keeps them from coming back (identity_index.tombstones)
    erased/pending/<id>.json   the journal: what is to be done; deleted last. It names files, and nothing else here does
    erased/<id>.json           the report: salted marks, counts, files rewritten, versions, runs, what was not searched

Every step can be done twice, so an erasure that was stopped anywhere is finished by `settle`: at the next erasure, and
before any verb that writes the workspace (`alone_in`), of which one is at work at a time; no training on a version that
holds who goes is at work meanwhile. Finished parts stay finished (see erasure.tables). The photographs at the source
are the user's: they are counted and never touched.
"""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from anchorface.faces.weights import find
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.tombstones import bury, erasure_mark, face_mark, open_salt, photo_mark
from anchorface.pipelines.erasure.journal import Erasure, read_journal, write_journal
from anchorface.pipelines.erasure.likeness import shows_person
from anchorface.pipelines.erasure.mirrored import mirrored
from anchorface.pipelines.erasure.old_reports import has_plain_ids, mark_old_reports
from anchorface.pipelines.erasure.runs import Searched, search
from anchorface.pipelines.erasure.selection import Selection
from anchorface.pipelines.erasure.tables import Markers, forget_subjects, holding
from anchorface.pipelines.erasure.traces import clean, left_by_ray, traces
from anchorface.pipelines.erasure.trainings import forebears, held_trainings
from anchorface.pipelines.erasure.versions import FOLDER as REWRITING
from anchorface.pipelines.erasure.versions import rewrite_version, versions_with
from anchorface.pipelines.identities.splits import SPLITS
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.versions.plan import ShardSettings, planned
from anchorface.pipelines.versions.publish import finished, latest_id, name_latest
from anchorface.records.erasures import FOLDER as REPORTS
from anchorface.records.erasures import PENDING, reports
from anchorface.records.errors import DataError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.records.lineage import manifests
from anchorface.records.state import read_state
from anchorface.records.storage import delete, delete_unfinished, exists, join, list_files, read_table, write_atomic
from anchorface.records.workspace import at_work

REBUILT = ("listing", "audit", "audit.unfinished", "building")
IDENTITIES, REPORT = "identities/part-00000.parquet", "identities/report.json"
NOWHERE = (
    "the photographs at the source, backups, and snapshots of disks and buckets",
    "photographs that `ingest` had not listed yet: the next one takes them in",
    "copies of dataset versions, pages, run folders and restored pictures that neither the workspace nor --runs names",
    "face tables, spilled objects and logs of Ray on other machines",
    "what checkpoints learned: those listed cannot unsee anybody",
)
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def alone_in(out: str, verb: str) -> Iterator[None]:
    """Be the one writer of a workspace while inside; what was being erased is erased first.

    Raises:
        ConfigurationError: another verb is at work there; names it.
    """
    with at_work(out, verb):
        settle(out)
        yield


def writes(verb: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a verb that writes the workspace `out`: it is `alone_in` it."""
    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def alone(*args: P.args, **values: P.kwargs) -> R:
            out = signature.bind(*args, **values).arguments["out"]
            with alone_in(out, verb):
                return function(*args, **values)

        return alone

    return decorated


def erase(
    out: str, selection: Selection, *, runs: Sequence[str] = (), tracking: Sequence[str] = (),
    salt: bytes | None = None, progress: Progress | None = None, wait: bool = False, stop: bool = False,
) -> dict[str, Any]:
    """Erase what is selected from every store of the workspace.

    Args:
        out: the workspace.
        selection: who or what goes.
        runs: folders of training runs, evaluations and restored pictures, beside those that the workspace knows
            (records.uses): what saw them is listed, and what shows them goes (pipelines.erasure.traces).
        tracking: MLflow tracking URIs to search as well as those that the runs name.
        salt: of the tombstones, where the workspace has none yet; drawn from the system's randomness if None.
        progress: where to report.
        wait, stop: for the verb that is at work in the workspace, and for trainings that see who goes, or end them;
            without, they are an error. No training of those begins while erasing.

    Returns:
        The report, as it stands in `erased/<id>.json`.

    Raises:
        DataError: nothing is selected, or a table is damaged.
        ConfigurationError: a folder of runs or a tracking store that is not there, or another verb at work here, or a
            training at work on a version that holds who goes.
        StorageError: the workspace cannot be written; the same call goes on from there.
    """
    if not (selection.photo_ids or selection.face_ids or selection.shared or selection.unread_places):
        raise DataError(f"{out}: nothing is selected, so nothing was erased")
    told = progress or Progress(quiet=True)
    with at_work(out, "erase", wait=wait, stop=stop):
        settle(out, progress=progress, wait=wait, stop=stop)
        secret, versions = open_salt(out, salt), versions_with(out, frozenset(selection.face_ids))
        saw = forebears(out, versions)
        with held_trainings(out, wait=wait, stop=stop) as hold:
            hold(saw, runs)
            looks, unknown = mirrored(out, selection, told)
            known = replace(selection, left=(*selection.left, *unknown))
            journal = _plan(out, known, secret, versions, search(out, saw, runs, tracking))
            pictures = {name: (units, hashes) for name, (_, units, hashes) in selection.pictures.items()}
            people = [(name, _weights(name), vectors) for name, vectors in sorted(selection.codes.items())]
            bury(out, journal.erasure_id, photos=selection.photo_ids, people=people, pictures=pictures,
                 mirrored=looks, face_ids=selection.face_ids, places=selection.unread_places)
            write_journal(out, journal)
            hold(saw, runs)  # what began meanwhile has noted itself; what begins now sees the journal
            return _carry_out(out, journal, secret, told)


def settle(
    out: str, *, progress: Progress | None = None, wait: bool = False, stop: bool = False
) -> list[dict[str, Any]]:
    """Finish erasures that were stopped, so that nothing half-erased is read, and mark what older versions reported by
    plain ids (erasure.old_reports); nothing to do is no error.

    It stands first in every verb that writes a workspace.

    Args:
        wait, stop: as for `erase`.

    Returns:
        The reports of what was finished.

    Raises:
        ConfigurationError: as `erase`; a training at work on a version that a stopped erasure is to rewrite.
    """
    folder = join(out, PENDING)
    stopped = exists(folder) and bool(list_files(folder, (".json",)))
    if not stopped and not any(map(has_plain_ids, reports(out))):
        return []
    found = []
    with at_work(out, "erase", wait=wait, stop=stop):
        for uri in list_files(folder, (".json",), missing_ok=True):
            journal = read_journal(out, uri)
            known = [place for run in journal.runs if isinstance(place := run.get("folder"), str) and exists(place)]
            with held_trainings(out, wait=wait, stop=stop) as hold:
                hold(forebears(out, journal.versions), known)
                found.append(_carry_out(out, journal, open_salt(out), progress or Progress(quiet=True)))
        mark_old_reports(out)
    return found


def _plan(out: str, selection: Selection, salt: bytes, versions: list[str], searched: Searched) -> Erasure:
    """What is to be done, all of it known before the first byte is written."""
    from anchorface.records.scratch import delete_left

    journal = Erasure(
        erasure_id=erasure_mark(
            salt, [*sorted(selection.face_ids), *sorted(selection.photo_ids), *sorted(selection.unread_places)]),
        kind=selection.kind, face_ids=list(selection.face_ids), photo_ids=list(selection.photo_ids),
        uris=list(selection.uris), places=list(selection.places),
        identities=list(selection.identities), subjects=list(selection.subjects), shared=selection.shared,
        alike=selection.alike, codes=sum(map(len, selection.codes.values())), files=[], versions=versions,
        settings=_current(out), of_person=selection.of_person, runs=searched.runs,
    )
    erased = journal.erased(salt)
    shows, blind = shows_person(selection, stage.settings(out, "find_faces").get("networks", {}).get("detector"))
    spilled, running = left_by_ray(erased)
    running += delete_left()
    found = [*traces(searched.folders, [*searched.runs, *searched.pages], erased, shows), *spilled]
    left = [*searched.left, *selection.left,
            *([f"copies elsewhere of {len(selection.unread_places)} listed photographs that could not be read: "
               "these are kept out where they stand"] if selection.unread_places else []),
            *([f"faces in restored pictures, but for their names: {blind}"] if blind else []),
            *(f"the Ray session {session}, which runs" for session in running), *NOWHERE]
    return replace(journal, files=holding(out, erased), traces=found, not_searched=left)


def _carry_out(out: str, journal: Erasure, salt: bytes, progress: Progress) -> dict[str, Any]:
    """Do it; every step looks at what is there, so it may have been done before."""
    erased, faces = journal.erased(salt), frozenset(journal.face_ids)
    subjects = frozenset(journal.subjects)
    with progress.stage("erase", len(journal.files) + len(journal.versions) + 1, "files") as told:
        markers = Markers(out)
        for path in journal.files:
            markers.rewrite(path, erased)
            told.advance(1)
        # A worker whose stage was killed may have written its last part in the meantime.
        for path in holding(out, erased):
            markers.rewrite(path, erased)
        _count_identities(out, markers)
        markers.sum_up()
        forget_subjects(out, subjects)
        if exists(join(out, "index", "faces.lance")):
            IdentityIndex.open(join(out, "index")).delete(sorted(faces))
        else:
            delete(join(out, "index"))  # a `group` that was killed left crops alone; the next one writes all
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
        delete_unfinished(out)
        for trace in journal.traces:
            clean(trace, erased)
    report = {
        "id": journal.erasure_id, "asked_for": journal.kind,
        "photos": sorted(photo_mark(salt, photo) for photo in journal.photo_ids),
        "faces": sorted(face_mark(salt, face) for face in journal.face_ids), "identities": journal.identities,
        "photos_that_stay_for_others": sorted(photo_mark(salt, photo) for photo in journal.shared),
        "originals_at_the_source": len(journal.uris) + len(journal.shared), "codes_remembered": journal.codes,
        "also_alike": journal.alike, "files_rewritten": journal.files, "dataset_versions": successors,
        "runs": journal.runs, "run_files_cleaned": dict(Counter(trace.root for trace in journal.traces)),
        "not_searched": journal.not_searched,
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
