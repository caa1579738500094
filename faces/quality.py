"""What an embedding's length says of its picture: a stored map, measured for one weight file.

In: norms of raw embeddings. Out: expected qualities, 0..1: the expected cosine between the embedding of a picture as it
is and that of the same face undamaged. `pipelines.calibration.norm_calibration` measures the map and writes it as JSON
beside the weights, `<weight file>.norm.json`. The norm does not rise with quality for every network, so none is used
unasked.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anchorface.faces.weights import find
from anchorface.records.errors import DataError, WeightsError
from anchorface.records.hashes import sha256

SUFFIX = ".norm.json"
LEAST_QUALITY = 1e-3
"""What a quality is at least, so that it can be a weight."""
FOLLOWS = 0.5
"""Rank correlation with quality from which a norm is said to follow it (our choice)."""


@dataclass(frozen=True, kw_only=True)
class NormCalibration:
    """A rising map from norm to expected quality, straight between its knots, level beyond them.

    weights, sha256: the network and its file's hash. norms, qualities: the knots. held_out: rank correlation of the
    map's answer with quality, on faces that it was not fitted to; sharpness: that of the crop's sharpness, a rival.
    error: mean distance of the map's answer from the quality on those faces; flat_error: that of one number for all.
    faces, pictures: how many were measured. source, seed, plans: what they were: faces' source, seed of all draws, and
    for each ladder of degradations the hash of its plans.
    """

    weights: str
    sha256: str
    norms: tuple[float, ...]
    qualities: tuple[float, ...]
    held_out: float
    sharpness: float
    error: float
    flat_error: float
    faces: int
    pictures: int
    source: str
    seed: int
    plans: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        rising = len(self.norms) == len(self.qualities) > 0 and all(
            np.all(np.diff(knots) >= 0) and np.isfinite(knots).all() for knots in (self.norms, self.qualities)
        )
        if not rising:
            raise DataError(f"norm calibration of {self.weights}: its knots do not rise; measure it again")

    @property
    def follows(self) -> bool:
        """Whether the norm follows quality: `held_out` is at least FOLLOWS, and no worse than sharpness."""
        return self.held_out >= FOLLOWS and self.held_out >= self.sharpness

    def quality(self, norms: ArrayLike) -> NDArray[np.float64]:
        """Expected quality of each norm, at least LEAST_QUALITY."""
        values = np.interp(np.asarray(norms, np.float64), self.norms, self.qualities)
        return np.maximum(values, LEAST_QUALITY)

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The calibration of a text.

        Raises:
            DataError: not one.
        """
        try:
            values = json.loads(text)
            plans = tuple((str(name), str(digest)) for name, digest in values["plans"])
            knots = {name: tuple(float(v) for v in values[name]) for name in ("norms", "qualities")}
            return cls(**{**values, **knots, "plans": plans})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"not a norm calibration: {error!r}") from error


def calibration_path(name: str) -> Path:
    """Where the calibration of a weight's name stands: beside its file.

    Raises:
        WeightsError: the weights are not there.
    """
    path = find(name, "embedder")
    return path.with_name(path.name + SUFFIX)


def read_calibration(name: str, path: str | Path | None = None) -> NormCalibration:
    """The stored calibration of a weight's name, from beside its file or from a given path.

    Raises:
        WeightsError: there is none, or it was measured for another file of this name.
        DataError: it is damaged.
    """
    place = Path(path) if path is not None else calibration_path(name)
    if not place.is_file():
        raise WeightsError(f"{name}: no norm calibration {place}; `anchorface norm --weights {name}` measures one")
    try:
        found = NormCalibration.from_json(place.read_text())
    except (DataError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: {error}") from error
    here = sha256(find(name, "embedder"))
    if found.sha256 != here:
        raise WeightsError(f"{place}: measured for weights of SHA-256 {found.sha256}, {name} has {here}; measure again")
    return found
