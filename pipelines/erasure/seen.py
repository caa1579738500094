"""Who saw whom: the training runs, checkpoints and evaluations that saw a person, erased or still here.

In: what names a person, a workspace, folders of runs and MLflow stores. Out: rows of plain values.

A run is known by the dataset version that it names. It saw the person if that version holds one of the person's faces,
if one was erased out of it, or if either is true of a version that an erasure made of it: erasing only takes faces out,
so an ancestor held whatever its successor holds. A version is meant as a whole: that its training split showed the
person is not looked up.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from anchorface.identity_index.tombstones import face_mark, open_salt, photo_mark
from anchorface.pipelines.erasure import runs
from anchorface.pipelines.erasure.rows import identity_rows
from anchorface.pipelines.erasure.versions import versions_with
from anchorface.records import erasures
from anchorface.records.errors import DataError
from anchorface.records.lineage import manifests
from anchorface.records.storage import exists, join, read_table


def runs_that_saw(
    person: str, workspace: str, folders: Sequence[str], tracking: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Runs that saw a person.

    Args:
        person: an identity (`p000012`), a subject's label, a face's id, a photograph's id, or the id of an erasure; of
            erased people identities, faces, photographs and erasures are known, labels are forgotten.
        workspace: where the person is or was. folders: local folders of runs. tracking: MLflow stores to search as well
            as those that the runs name.

    Returns:
        Rows as `runs.folder_runs` and `runs.tracked_runs` give them, and `erasure`: that which replaced the row's
        version, empty where the version stands.

    Raises:
        DataError: nobody here, present or erased, is named so. ConfigurationError: a folder or store that is not there.
    """
    held = versions_that_held(person, workspace)
    found = runs.search(workspace, list(held), folders, tracking).runs
    return [run | {"erasure": held[run["manifest"]]} for run in found]


def versions_that_held(person: str, workspace: str) -> dict[str, str]:
    """The dataset versions that hold a person, or held the person before an erasure: id -> the erasure that replaced
    the version, empty where it stands.

    Raises:
        DataError: nobody here, present or erased, is named so.
    """
    faces, reports, known = _faces(person, workspace), [], erasures.reports(workspace)
    salt = open_salt(workspace) if known else b""
    marks = {face_mark(salt, face) for face in faces}
    meant = {person, face_mark(salt, person), photo_mark(salt, person)}
    for report in known:
        names = (report["id"], *report.get("identities", ()), *report.get("faces", ()), *report.get("photos", ()),
                 *report.get("photos_that_stay_for_others", ()))
        if meant & set(names) or marks & set(report.get("faces", ())):
            reports.append(report)
    if not faces and not reports:
        raise DataError(f"{workspace}: nobody is or was named {person!r} here; give an identity, a subject, the id of "
                        "a face, a photograph or an erasure (files in `erased/`)")
    holding = versions_with(workspace, frozenset(faces)) if faces else []
    found = dict.fromkeys(holding, "")
    for report in reports:
        found |= {old: str(report["id"]) for old in report.get("dataset_versions", {})}
    found = erasures.before(workspace, list(found)) | found
    return dict.fromkeys(runs.gone_parents(workspace, list(found)), "") | found


def _faces(person: str, workspace: str) -> set[str]:
    """The faces of a person who is still here, in the identities or in any version; empty if nobody is named so."""
    rows = identity_rows(workspace)
    found = {face for row in rows if person in (row["identity"], row["subject"]) for face in row["face_ids"]}
    dataset = join(workspace, "dataset")
    for manifest in manifests(dataset) if exists(dataset) else ():
        table = read_table(join(dataset, manifest.manifest_id, "faces.parquet"), ("face_id", "photo_id"))
        mine = pc.or_(pc.equal(table["face_id"], person), pc.equal(table["photo_id"], person))
        found |= set(table.filter(mine)["face_id"].to_pylist())
    return found
