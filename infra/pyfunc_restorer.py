"""A checkpoint behind MLflow's `pyfunc`: this file goes into a logged model, and is run where the model is loaded.

In: a table with one photograph a row. Out: a table of as many rows.

    image         bytes of a photograph, any format that anchorface reads
    references    bytes of none or more photographs of the person (optional)
    landmarks     ten numbers x, y of eyes, nose, mouth corners, for a photograph of one face (optional); without them
                  the faces are detected

    image         the restored photograph as PNG, as `anchorface restore` writes it; empty where there is a problem
    problem       why a photograph could not be restored, "" where it was

The base weights are found by name where the model is loaded, as everywhere (`anchorface doctor` says where); their
hashes must be those of the training.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from anchorface.faces.detect import Detection, Detector
from anchorface.faces.images import read_photo
from anchorface.records import PhotoError
from anchorface.restoration import Restorer, SamplerSettings, open_references, restore_photo
from anchorface.restoration.keeping import png_bytes


class PictureRestorer(PythonModel):
    """Restores the faces of photographs."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the checkpoint that lies in the model."""
        self.restorer = Restorer(context.artifacts["checkpoint"], device="auto")
        self.detectors: dict[str, Detector] = {}

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame,
                params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Restore each photograph by itself: no row changes another."""
        given = params or {}
        settings = SamplerSettings(**{key: given[key] for key in ("steps", "guidance", "fidelity") if key in given})
        rows = [self._row(row, given, settings) for row in model_input.to_dict("records")]
        return pd.DataFrame(rows, columns=["image", "problem"])

    def _row(self, row: dict[Any, Any], given: dict[str, Any], settings: SamplerSettings) -> tuple[bytes, str]:
        try:
            photo, _ = read_photo(row["image"])
            shown = _several(row.get("references"))
            landmarks = _several(row.get("landmarks"))
            references = open_references(self.restorer, shown, self._detector(given)) if shown else []
            restored = restore_photo(
                self.restorer, photo, references, detector=None if landmarks else self._detector(given),
                detections=[_detection(landmarks)] if landmarks else None, faces=given.get("faces", "all"),
                seed=given.get("seed", 42), settings=settings)
            return png_bytes(restored.image, row["image"]), ""
        except PhotoError as error:
            return b"", str(error)

    def _detector(self, given: dict[str, Any]) -> Detector:
        name = given.get("detector", "default")
        if name not in self.detectors:
            self.detectors[name] = Detector(name)
        return self.detectors[name]


def _several(value: Any) -> list[Any]:
    """A cell's values; none where the cell is empty."""
    return list(value) if isinstance(value, Sequence | np.ndarray) else []


def _detection(numbers: Sequence[float]) -> Detection:
    """A face whose landmarks are given.

    Raises:
        PhotoError: not ten numbers.
    """
    if len(numbers) != 10:
        raise PhotoError("landmarks", "photo", f"{len(numbers)} numbers; ten are needed: x, y of five points")
    points = np.asarray(numbers, np.float64).reshape(5, 2)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return Detection(box=(float(left), float(top), float(right), float(bottom)), landmarks=points, score=1.0)


set_model(PictureRestorer())
