"""Training runs and evaluations that saw a dataset version. What they keep of people: `erasure.traces`.

In: folders of runs, MLflow tracking URIs, ids of dataset versions. Out: what is known of each run, as values of JSON.

A run is known by the dataset version that its checkpoints, its spool, its protocol or its MLflow run names
(`manifest`), or that it noted in the workspace (records.uses): a network that was trained on a version cannot be made
to unsee one person, so the runs are listed and left.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anchorface.records.addresses import redacted, sqlite_file
from anchorface.records.errors import ConfigurationError
from anchorface.records.lineage import versions
from anchorface.records.storage import exists, filesystem, join, list_files, read_bytes
from anchorface.records.uses import Use, noted

PROTOCOL, CHECKPOINT, NOTE, SPOOL = "protocol.json", "checkpoint.json", "run.json", "tracking.jsonl"


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Where was looked. runs: those that saw, as `folder_runs` and `tracked_runs` tell of them. pages: folders of audit
    pages, as `kind` and `folder`. folders: all that were searched. left: what could not be, in words."""

    runs: list[dict[str, Any]]
    pages: list[dict[str, Any]]
    folders: list[str]
    left: list[str]


def search(out: str, manifest_ids: Sequence[str], folders: Sequence[str], tracking: Sequence[str] = ()) -> Searched:
    """The runs on these versions, in the folders that are named and those that the workspace knows (records.uses), and
    in the MLflow stores that are named or that those runs wrote to.

    Raises:
        ConfigurationError: a folder or store that is named and not there.
    """
    here = search_folders(out, manifest_ids, folders)
    found, left = list(here.runs), list(here.left)
    for uri in dict.fromkeys([*tracking, *tracking_uris(here.folders)]):
        try:
            found += tracked_runs(uri, manifest_ids)
        except ConfigurationError as error:
            if uri in tracking:
                raise
            left.append(str(error))
    return replace(here, runs=found, left=left)


def search_folders(out: str, manifest_ids: Sequence[str], folders: Sequence[str]) -> Searched:
    """As `search`, without the stores.

    Raises:
        ConfigurationError: a folder that is named and not there.
    """
    uses, left = noted(out), list[str]()
    named = [folder.rstrip("/") if "://" in folder else filesystem(folder)[1] for folder in folders]
    for use in uses:
        inside = any(f"{use.place}/".startswith(f"{place}/") for place in named)
        if not inside and exists(use.place):
            named.append(use.place)
        elif not inside:
            left.append(f"{use.kind} {use.place}, noted by {use.host}: not there, or not seen from here")
    found = [run for folder in named for run in folder_runs(folder, manifest_ids)]
    found += noted_runs(uses, found, manifest_ids)
    pages = [{"kind": use.kind, "folder": use.place} for use in uses if use.kind == "pages"]
    return Searched(runs=found, pages=pages, folders=named, left=left)


def gone_parents(out: str, manifest_ids: Sequence[str]) -> list[str]:
    """The ancestors of these versions of which only the name is left: they may have held whom these hold."""
    dataset, found = join(out, "dataset"), set[str]()
    family = {each.manifest_id: each for each in versions(dataset)} if exists(dataset) and manifest_ids else {}
    for name in (waiting := list(manifest_ids)):
        for parent in family[name].parents if name in family else ():
            if parent not in waiting:
                waiting.append(parent)
            if family[parent].manifest is None:
                found.add(parent)
    return sorted(found)


def folder_runs(folder: str, manifest_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The training runs and evaluations below a folder or URI that name one of these versions.

    Returns:
        `kind` (`training` or `evaluation`), `folder`, `manifest`, and for training `checkpoints` (none are no bar) and
        `latents`, the folders of its cached latents at URIs.

    Raises:
        ConfigurationError: there is no such folder.
    """
    files = files_of(folder)
    trained: dict[tuple[str, str], list[str]] = {}
    latents: dict[tuple[str, str], set[str]] = {}
    for uri, said in _read(files, CHECKPOINT):
        manifest = said.get("manifest_id")
        if manifest in manifest_ids:
            name, parts = uri.split("/")[-2], uri.rsplit("/", 3)
            run = (parts[0] if parts[1] == "checkpoints" else uri.rpartition("/")[0], str(manifest))
            trained.setdefault(run, []).append(name)
            place = said.get("recipe", {}).get("latents", "")
            latents.setdefault(run, set()).update({place} - {"", "dataset"})
    for uri in files:
        if uri.endswith(f"/{SPOOL}"):
            for line in read_bytes(uri).decode(errors="replace").splitlines():
                manifest = _tag(line)
                if manifest in manifest_ids:
                    trained.setdefault((uri.rpartition("/")[0], manifest), [])
    runs = [
        {"kind": "training", "folder": run, "manifest": manifest, "checkpoints": sorted(names),
         "latents": sorted(latents.get((run, manifest), ()))}
        for (run, manifest), names in sorted(trained.items())
    ]
    judged = [
        {"kind": "evaluation", "folder": uri.rpartition("/")[0], "manifest": said["manifest_id"]}
        for uri, said in _read(files, PROTOCOL) if said.get("manifest_id") in manifest_ids
    ]
    return runs + judged


def noted_runs(
    uses: Sequence[Use], runs: Sequence[dict[str, Any]], manifest_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The runs that only the workspace knows of: they noted themselves, and wrote nothing that names the version."""
    known = {(run.get("folder"), run["manifest"]) for run in runs}
    return [
        {"kind": use.kind, "folder": use.place, "manifest": use.manifest, "checkpoints": [],
         "latents": [use.latents] if use.latents else []}
        for use in uses
        if use.kind == "training" and use.manifest in manifest_ids and (use.place, use.manifest) not in known
    ]


def files_of(folder: str) -> list[str]:
    """All files below a folder, by whole paths.

    Raises:
        ConfigurationError: there is no such folder.
    """
    place = folder.rstrip("/") if "://" in folder else filesystem(folder)[1]
    if not exists(place):
        raise ConfigurationError(f"{folder}: no such folder of runs")
    return list_files(place)


def tracking_uris(folders: Sequence[str]) -> list[str]:
    """The MLflow stores that the runs below these folders wrote to (`run.json`)."""
    found = {said["uri"] for folder in folders for _, said in _read(files_of(folder), NOTE) if "uri" in said}
    return sorted(found)


def tracked_runs(uri: str, manifest_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The MLflow runs of a store whose tag `manifest` is one of these versions, those marked deleted among them.

    Returns:
        `kind` = `mlflow`, `store`, `run_id`, `name`, `manifest`, `artifacts` (their place).

    Raises:
        ConfigurationError: the store cannot be reached.
    """
    from mlflow import MlflowClient
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise ConfigurationError(f"{uri}: there is no such MLflow store")
    try:
        client = MlflowClient(tracking_uri=uri)
        experiments = [each.experiment_id for each in client.search_experiments(view_type=ViewType.ALL)]
        found = [
            (run, manifest) for manifest in manifest_ids
            for run in client.search_runs(experiments, f"tags.manifest = '{manifest}'", run_view_type=ViewType.ALL)
        ]
    except (MlflowException, OSError) as error:
        raise ConfigurationError(f"{redacted(uri)}: the MLflow store cannot be read: {error}") from error
    return [
        {"kind": "mlflow", "store": redacted(uri), "run_id": run.info.run_id, "name": run.info.run_name or "",
         "manifest": manifest, "artifacts": redacted(run.info.artifact_uri)}
        for run, manifest in sorted(found, key=lambda pair: pair[0].info.run_id)
    ]


def _tag(line: str) -> str:
    try:
        said = json.loads(line)
        return str(said["tags"].get("manifest", "")) if said.get("kind") == "tags" else ""
    except (ValueError, KeyError, AttributeError):
        return ""


def _read(files: Sequence[str], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for uri in files:
        if uri.endswith(f"/{name}"):
            try:
                said = json.loads(read_bytes(uri))
            except ValueError:
                continue
            if isinstance(said, dict):
                yield uri, said
