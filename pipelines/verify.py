"""Whether everything in a workspace or a dataset version is what was written there, by its hashes.

In: a workspace, or one version's folder. Out: checks (records.checks), nothing is changed. Looked at are the stages'
markers and the outputs that they name, the index with every crop, decisions, tombstones and reports, and of each
version the manifest, the face table, the shards and the cached latents.
"""

from functools import partial
from typing import Any

import pyarrow.parquet as pq

from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.clustering.decisions import read_decisions
from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.old_reports import has_plain_ids
from anchorface.pipelines.feed.latents import DESCRIPTION, require_part
from anchorface.pipelines.stages.stage import Marker
from anchorface.records.checks import Check
from anchorface.records.dataset import latest_version, require_shard, require_table
from anchorface.records.erasures import FOLDER as REPORTS
from anchorface.records.erasures import PENDING
from anchorface.records.errors import DataError
from anchorface.records.lineage import manifests
from anchorface.records.manifest import Manifest
from anchorface.records.state import read_state
from anchorface.records.storage import exists, filesystem, join, list_files, list_folders
from anchorface.records.table_stream import sha256_of

AGAIN = "delete it and run `curate` again: it does what is left"
COPY = "copy it again from where it is whole; or delete this version's folder and run `shards`"
RESTORE = "restore it from a copy: nothing can make it again"
MARK = "run any verb that writes the workspace, or `erase`: it puts salted marks in their place"
FETCH = 1000


def workspace_checks(out: str) -> list[Check]:
    """All that a workspace holds."""
    checks, done, dataset = [], join(out, "done"), join(out, "dataset")
    building = exists(join(out, "building"))  # until it goes, a version may be without its manifest
    versions, latest = list_folders(dataset), _latest(dataset)
    unfinished = [uri for uri in versions if building and uri != latest and not exists(join(uri, "manifest.json"))]
    for uri in list_files(done, (".json",), missing_ok=True):
        if uri.rpartition("/")[2] in ("complete.json", "version.json"):
            checks.append(Check(place=uri, look=partial(read_state, uri, dict[str, Any]), advice=AGAIN))
        else:
            checks += _part_checks(out, uri, built=building and not unfinished)
    if exists(join(done, "group", "complete.json")):  # until then an index is being made
        checks.append(Check(place=join(out, "index"), look=partial(_look_at_index, join(out, "index")),
                            advice="delete the folder and run `curate` again: `group` makes it anew"))
    checks.append(Check(place=join(out, "decisions"), look=partial(read_decisions, out), advice=RESTORE))
    checks.append(Check(place=join(out, "tombstones"), look=partial(Tombstones.open, out), advice=RESTORE))
    for uri in list_files(join(out, REPORTS), (".json",), missing_ok=True):
        checks.append(Check(place=uri, look=partial(read_state, uri, dict[str, Any]), advice=RESTORE))
        if not uri.startswith(join(out, PENDING)):
            checks.append(Check(place=uri, look=partial(_require_marks, uri), advice=MARK))
    if exists(join(dataset, "latest")):
        checks.append(Check(place=join(dataset, "latest"), look=partial(latest_version, dataset),
                            advice="write the id of a version into it; `versions` lists them"))
    if exists(dataset):
        checks.append(Check(place=dataset, look=partial(manifests, dataset), advice=COPY))
    for version in versions:
        if version not in unfinished:
            checks += version_checks(version)
    return checks


def _latest(dataset: str) -> str:
    """The folder that `latest` names; empty where it names none, which a check of its own says."""
    try:
        return join(dataset, latest_version(dataset)) if exists(join(dataset, "latest")) else ""
    except DataError:
        return ""


def version_checks(version: str) -> list[Check]:
    """All that a version's folder holds."""
    checks = [Check(place=join(version, "manifest.json"), look=partial(Manifest.read, version), advice=COPY)]
    try:
        manifest = Manifest.read(version)
    except (DataError, OSError):
        return checks  # without it nothing is known of the rest
    checks.append(Check(place=join(version, "faces.parquet"), look=partial(require_table, version, manifest),
                        advice=COPY))
    checks += [Check(place=join(version, shard.path), look=partial(require_shard, version, shard), advice=COPY)
               for shard in manifest.shards]
    again = "delete it: the next training fills it again"
    for folder in list_folders(join(version, "latents")):
        place = join(folder, DESCRIPTION)
        checks.append(Check(place=place, look=partial(read_state, place, dict[str, Any]), advice=again))
        checks += [Check(place=uri, look=partial(require_part, uri), advice=again)
                   for uri in list_files(folder, (".safetensors",))]
    return checks


def _part_checks(out: str, uri: str, *, built: bool) -> list[Check]:
    """A part's marker and its outputs. built: those of the building site are still there; a version takes them up."""
    checks = [Check(place=uri, look=partial(read_state, uri, Marker), advice=AGAIN)]
    try:
        outputs = read_state(uri, Marker)["outputs"]
    except DataError:
        return checks
    return checks + [
        Check(place=join(out, path), look=partial(_require, join(out, path), said.get("rewritten", said["sha256"])),
              advice=AGAIN)
        for path, said in outputs.items() if built or not path.startswith("building/")
    ]


def _require_marks(uri: str) -> None:
    if has_plain_ids(read_state(uri, dict[str, Any])):
        raise DataError(f"{uri}: an older version wrote it, with plain ids of those who were erased")


def _require(uri: str, sha256: str) -> None:
    if sha256_of(uri) != sha256:
        raise DataError(f"{uri}: not what its stage wrote (other hash): it was damaged or changed")
    if uri.endswith(".parquet"):
        system, path = filesystem(uri)
        pq.ParquetFile(path, filesystem=system).close()


def _look_at_index(uri: str) -> None:
    """Read every row, and every crop against its own check."""
    index = IdentityIndex.open(uri)
    face_ids = index.faces()["face_id"].to_pylist()
    for start in range(0, len(face_ids), FETCH):
        index.crops(face_ids[start : start + FETCH])
