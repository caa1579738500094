"""A dataset version as MLflow's dataset tracking knows it: name, digest, source, schema and profile.

In: the version's folder and its Manifest. Out: values of JSON, and from them a DatasetInput for
`MlflowClient.log_inputs`; name `anchorface`, digest = the manifest's id, source = the folder, schema = the columns of
its face table, profile = counts, licences, consents, parents, weights and code, so that a run says by itself which
faces it saw. MLflow's pages and searches show it.
"""

import json
import warnings
from functools import cached_property
from typing import Any

import pyarrow as pa
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.entities import Dataset as Entity
from mlflow.entities import DatasetInput, InputTag
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from anchorface.records.addresses import redacted
from anchorface.records.manifest import FACE_COLUMNS, Manifest
from anchorface.records.nouns import FACE_SCHEMA

NAME = "anchorface"
CONTEXT = "mlflow.data.context"
PLACE = {"identity": pa.string(), "split": pa.string(), "shard": pa.string(), "offset": pa.int64(),
         "byte_size": pa.int64()}


class VersionDataset(Dataset):
    """One dataset version behind MLflow's interface."""

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self._manifest = manifest
        with warnings.catch_warnings():
            # MLflow registers its source of local files twice, and says so.
            warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")
            source = resolve_dataset_source(uri)
        super().__init__(source=source, name=NAME, digest=manifest.manifest_id)

    def _compute_digest(self) -> str:
        return self._manifest.manifest_id

    @cached_property
    def profile(self) -> dict[str, Any]:
        """What the manifest counts, and where the version comes from."""
        made = self._manifest
        return {
            "faces": made.faces, "shards": len(made.shards), "splits": made.counts, "licences": made.licences,
            "consents": made.consents, "parents": list(made.parents), "weights": made.weights, "code": made.code,
        }

    @cached_property
    def schema(self) -> Schema:
        """The columns of the version's face table."""
        kinds = {name: PLACE.get(name) or FACE_SCHEMA.field(name).type for name in FACE_COLUMNS}
        return Schema([ColSpec(_mlflow_type(kind), name=name) for name, kind in kinds.items()])

    def to_dict(self) -> dict[str, str]:
        """What MLflow stores."""
        said = {"schema": json.dumps({"mlflow_colspec": self.schema.to_dict()}), "profile": json.dumps(self.profile)}
        return super().to_dict() | said


def dataset_values(uri: str, manifest: Manifest) -> dict[str, str]:
    """What MLflow stores of a dataset version, ready for JSON.

    Args:
        uri: the version's folder; credentials in it are left out. manifest: its.
    """
    return {key: str(value) for key, value in VersionDataset(redacted(uri), manifest).to_dict().items()}


def dataset_input(values: dict[str, str], context: str = "training") -> DatasetInput:
    """A dataset version as a run's input.

    Args:
        values: from `dataset_values`.
        context: what the run does with it.
    """
    return DatasetInput(dataset=Entity(**values), tags=[InputTag(key=CONTEXT, value=context)])


def _mlflow_type(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return Array(_mlflow_type(kind.value_type))
    if pa.types.is_floating(kind):
        return DataType.float
    if pa.types.is_date(kind):
        return DataType.datetime
    return DataType.long if pa.types.is_integer(kind) else DataType.string
