"""NIQE: how far a picture's local statistics lie from those of clean photographs; lower is better.

In: uint8 [N, H, W, 3] RGB, sides of at least 192 px. Out: float64 [N].

Source: Mittal, Soundararajan and Bovik, Making a Completely Blind Image Quality Analyzer, IEEE SPL 2013. The luma is
normalised by its local mean and deviation; in blocks of 96 px, at full and half size, generalised Gaussians are fitted
to it and to the products of neighbours; NIQE is the Mahalanobis distance of the blocks' mean and covariance to those of
clean photographs, which stand with the window in the weight `niqe_pris_params`. Luma (BT.601, 0 to 255, rounded) and
halving (bicubic, antialiased, mirrored borders) are MATLAB's, as in the published code and in pyiqa.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from anchorface.records import WeightsError

Floats = NDArray[np.float64]
BLOCK = 96
SMALLEST = 2 * BLOCK
"""Sides in px: a covariance needs more than one block."""
SHAPES = np.arange(0.2, 10.001, 0.001)
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
"""Shapes of a generalised Gaussian that are tried, and for each the squared mean magnitude over the mean square."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class Niqe:
    """The statistics of clean photographs: mean [36], covariance [36, 36] of a block's features; window [7, 7]."""

    mean: Floats
    covariance: Floats
    window: Floats

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the published parameters.

        Raises:
            WeightsError: not that file.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found = cls(mean=file["mu_pris_param"].ravel(), covariance=file["cov_pris_param"],
                            window=file["gaussian_window"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise WeightsError(f"{path}: not NIQE's parameters: {error}") from error
        if (found.mean.shape, found.covariance.shape, found.window.shape) != ((36,), (36, 36), (7, 7)):
            raise WeightsError(f"{path}: NIQE's parameters of other shapes")
        return found

    @cached_property
    def line(self) -> Floats:
        """The window is the outer product of this [7] with itself."""
        return np.asarray(self.window.sum(axis=1) / np.sqrt(self.window.sum()))

    def __call__(self, images: NDArray[np.uint8]) -> Floats:
        """NIQE of each picture."""
        return np.array([self.of(image) for image in images], dtype=np.float64)

    def of(self, image: NDArray[np.uint8]) -> float:
        """NIQE of one picture uint8 [H, W, 3]."""
        rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
        luma = np.round(image[: rows * BLOCK, : columns * BLOCK].astype(np.float64) @ LUMA)
        features = np.concatenate([self._features(luma, BLOCK), self._features(halved(luma), BLOCK // 2)], axis=1)
        features = features[np.isfinite(features).all(axis=1)]
        if len(features) < 2:
            return float("nan")
        away = self.mean - features.mean(axis=0)
        spread = np.linalg.pinv((self.covariance + np.cov(features, rowvar=False)) / 2)
        return float(np.sqrt(away @ spread @ away))

    def _features(self, luma: Floats, block: int) -> Floats:
        """[blocks, 18] of a picture at one size."""
        mean = self._smooth(luma)
        deviation = np.sqrt(np.abs(self._smooth(luma * luma) - mean * mean))
        normed = (luma - mean) / (deviation + 1.0)
        blocks = [normed[y : y + block, x : x + block] for x in range(0, luma.shape[1], block)
                  for y in range(0, luma.shape[0], block)]
        return np.array([block_features(part) for part in blocks])

    def _smooth(self, values: Floats) -> Floats:
        return np.asarray(cv2.sepFilter2D(values, -1, self.line, self.line, borderType=cv2.BORDER_REPLICATE))


def block_features(normed: Floats) -> list[float]:
    """The 18 features of a block of the normalised luma: its own fit, and those of the products of neighbours."""
    shape, left, right = fitted(normed)
    found = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right = fitted(normed * np.roll(normed, shift, axis=(0, 1)))
        found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return found


def fitted(values: Floats) -> tuple[float, float, float]:
    """Shape, left and right scale of an asymmetric generalised Gaussian, by moments; not finite for constant values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        below, above = values[values < 0], values[values > 0]
        left, right = np.sqrt(np.square(below).sum() / len(below)), np.sqrt(np.square(above).sum() / len(above))
        skew = left / right
        ratio = np.abs(values).mean() ** 2 / np.square(values).mean()
        wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(SHAPES[np.argmin((RATIOS - wanted) ** 2)]) if np.isfinite(wanted) else float("nan")
    scale = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))
    return shape, float(left) * scale, float(right) * scale


def halved(values: Floats) -> Floats:
    """Half the size, as MATLAB's imresize with bicubic antialiasing: eight taps at half pixels, mirrored borders."""
    taps = np.array([_cubic(distance / 2) for distance in (-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5)])
    taps /= taps.sum()
    smooth = cv2.sepFilter2D(values, -1, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth[::2, ::2])


def _cubic(x: float) -> float:
    """Keys' cubic with a = -0.5."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0
