"""Training runs and evaluations that saw a dataset version, and the pictures of people that they keep.

In: folders of runs, MLflow tracking URIs, ids of dataset versions, face ids. Out: what is known of each run, as values
of JSON, and the pages and pictures there that go.

A run is known by the dataset version that its checkpoints, its protocol or its MLflow run names (`manifest`): a network
that was trained on a version cannot be made to unsee one person, so the runs are listed and left. What goes:

    *.html                   every page below a folder that holds such a run: they can be written again
    samples/*.png            sample grids of such a training run: they show a few people of it, it is not written whom
    conditions/*.parquet     rows of an evaluation whose target or reference is an erased face

Of an MLflow run, the sample grids go too, where its artifacts are local files.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.records.addresses import local_path, redacted, sqlite_file
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.storage import delete, exists, read_table, write_table

PROTOCOL, CHECKPOINT, NOTE = "protocol.json", "checkpoint.json", "run.json"
Picture = tuple[str, list[int]]


def folder_runs(folder: str, manifest_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The training runs and evaluations below a local folder that name one of these versions.

    Returns:
        `kind` (`training` or `evaluation`), `folder`, `manifest`, and for training `checkpoints`.

    Raises:
        ConfigurationError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(f"{folder}: no such folder of runs")
    trained: dict[tuple[Path, str], list[str]] = {}
    for path, said in _read(root, CHECKPOINT):
        if said.get("manifest_id") in manifest_ids:
            run = path.parent.parent.parent if path.parent.parent.name == "checkpoints" else path.parent
            trained.setdefault((run, said["manifest_id"]), []).append(path.parent.name)
    runs = [
        {"kind": "training", "folder": str(run), "manifest": manifest, "checkpoints": sorted(names)}
        for (run, manifest), names in sorted(trained.items())
    ]
    judged = [
        {"kind": "evaluation", "folder": str(path.parent), "manifest": said["manifest_id"]}
        for path, said in _read(root, PROTOCOL) if said.get("manifest_id") in manifest_ids
    ]
    return runs + judged


def pictures(folders: Sequence[str], runs: Sequence[dict[str, Any]], face_ids: frozenset[str]) -> list[Picture]:
    """The files that may show erased faces: pages and grids, which go whole, and an evaluation's judged pictures."""
    found: list[Picture] = []
    for folder in folders:
        here = [run for run in runs if "folder" in run and Path(run["folder"]).is_relative_to(folder)]
        found += [(str(path), []) for path in Path(folder).rglob("*.html")] if here else []
        for run in here:
            if run["kind"] == "training":
                found += [(str(path), []) for path in Path(run["folder"]).glob("samples/*.png")]
            else:
                found += _judged(Path(run["folder"]), face_ids)
    for run in runs:
        place = local_path(run["artifacts"]) if "artifacts" in run else None
        found += [(str(path), []) for path in place.joinpath("samples").glob("*.png")] if place else []
    return sorted({path: (path, numbers) for path, numbers in found}.values())


def require_of_runs(found: Sequence[Picture], runs: Sequence[dict[str, Any]]) -> None:
    """Refuse files of a journal that are not what `pictures` finds, at or below the folder two above a run that really
    saw the version: a planted journal deletes nothing else.

    Raises:
        DataError: names the first such file.
    """
    seen = [run for run in runs if "artifacts" in run or _really(run)]
    for path, _ in found:
        if ".." in Path(path).parts or not any(_shows(Path(path), run) for run in seen):
            raise DataError(f"{path} is named among the pictures of runs that saw who is erased, and no such run is "
                            "there: nothing of it was deleted. Take it out of the journal, or delete the journal if no "
                            "erasure of yours wrote it")


def clean(picture: Picture) -> None:
    """Delete a file, or the pictures of these numbers in it; doing it twice changes nothing."""
    path, numbers = picture
    if not numbers:
        delete(path)
    elif exists(path):
        table = read_table(path)
        gone = pc.is_in(table["number"], value_set=pa.array(numbers, table.schema.field("number").type))
        if pc.any(gone).as_py():
            write_table(path, table.filter(pc.invert(gone)))


def tracking_uris(folders: Sequence[str]) -> list[str]:
    """The MLflow stores that the runs below these folders wrote to (`run.json`)."""
    found = {said["uri"] for folder in folders for _, said in _read(Path(folder), NOTE) if "uri" in said}
    return sorted(found)


def tracked_runs(uri: str, manifest_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The MLflow runs of a store whose tag `manifest` is one of these versions.

    Returns:
        `kind` = `mlflow`, `store`, `run_id`, `name`, `manifest`, `artifacts` (their place).

    Raises:
        ConfigurationError: the store cannot be reached.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise ConfigurationError(f"{uri}: there is no such MLflow store")
    try:
        client = MlflowClient(tracking_uri=uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = [
            (run, manifest) for manifest in manifest_ids
            for run in client.search_runs(experiments, f"tags.manifest = '{manifest}'")
        ]
    except (MlflowException, OSError) as error:
        raise ConfigurationError(f"{uri}: the MLflow store cannot be read: {error}") from error
    return [
        {"kind": "mlflow", "store": redacted(uri), "run_id": run.info.run_id, "name": run.info.run_name or "",
         "manifest": manifest, "artifacts": redacted(run.info.artifact_uri)}
        for run, manifest in sorted(found, key=lambda pair: pair[0].info.run_id)
    ]


def _really(run: dict[str, Any]) -> bool:
    folder = Path(str(run.get("folder", "")))
    return folder.is_absolute() and folder.is_dir() and bool(folder_runs(str(folder), [run.get("manifest", "")]))


def _shows(place: Path, run: dict[str, Any]) -> bool:
    """Whether a file is a page or a picture of a run."""
    if "artifacts" in run:
        root = local_path(str(run["artifacts"]))
        return root is not None and root.name == "artifacts" and place.match("samples/*.png") and (
            place.parent.parent == root)
    folder = Path(run["folder"])
    if place.suffix == ".html":
        return place.is_relative_to([folder, *folder.parents][:3][-1])
    return place.parent.parent == folder and (place.match("samples/*.png") or place.match("conditions/*.parquet"))


def _judged(folder: Path, face_ids: frozenset[str]) -> list[Picture]:
    """The tables of an evaluation whose pictures show erased faces, and which numbers those are."""
    rows = json.loads((folder / PROTOCOL).read_text())["rows"]
    numbers = [row["number"] for row in rows if {row["target"], *row["references"]} & face_ids]
    return [(str(path), numbers) for path in (folder / "conditions").glob("*.parquet")] if numbers else []


def _read(root: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(root.rglob(name)):
        try:
            said = json.loads(path.read_text())
        except (ValueError, OSError):
            continue
        if isinstance(said, dict):
            yield path, said
