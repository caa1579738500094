"""What storing a picture does to it. Images: uint8 [H, W, 3]. Qualities are the encoders' own, 1 to 100."""

import io

import cv2
import numpy as np

from anchorface.degradation.light import within
from anchorface.records.errors import ConfigurationError, DataError

SUBSAMPLINGS = {name: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in (
    "444", "422", "420", "440", "411")}
LARGEST = {"jpeg": 65500, "webp": 16383, "avif": 65535}
"""Longest side that the format can hold, px."""


def jpeg(image: np.ndarray, *, quality: int, subsampling: str = "420") -> np.ndarray:
    """JPEG there and back: libjpeg's slow integer transform.

    Args:
        image: uint8 [H, W, 3].
        quality: 1 to 100.
        subsampling: of the chroma: 444, 422, 420, 440 or 411.

    Raises:
        DataError: an impossible quality, subsampling or size.
    """
    _check("jpeg", image, quality)
    if str(subsampling) not in SUBSAMPLINGS:
        raise DataError(f"jpeg.subsampling is {subsampling!r}; one of {', '.join(SUBSAMPLINGS)}")
    # Not simplejpeg's encoder: below quality 96 it takes the fast transform, a level off, whatever `fastdct` says.
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (
        cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[str(subsampling)]))
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)


def webp(image: np.ndarray, *, quality: int) -> np.ndarray:
    """Lossy WebP there and back (a VP8 key frame, 4:2:0), with the encoder's second fastest search.

    Args:
        image: uint8 [H, W, 3].
        quality: 1 to 100.

    Raises:
        ConfigurationError: the installed Pillow cannot write it.
        DataError: an impossible quality or size.
    """
    _check("webp", image, quality)
    return _there_and_back(image, "webp", quality=int(quality), method=1)


def avif(image: np.ndarray, *, quality: int) -> np.ndarray:
    """AVIF there and back (an AV1 key frame, 4:2:0) at the encoder's fastest, about ten JPEG passes.

    Args:
        image: uint8 [H, W, 3].
        quality: 1 to 100.

    Raises:
        ConfigurationError: the installed Pillow cannot write it.
        DataError: an impossible quality or size.
    """
    _check("avif", image, quality)
    return _there_and_back(image, "avif", quality=int(quality), speed=10, subsampling="4:2:0", max_threads=1)


def _there_and_back(image: np.ndarray, form: str, **options: int | str) -> np.ndarray:
    from PIL import Image, features  # only these two formats need it

    if not features.check(form):
        raise ConfigurationError(f"degradation {form}: the installed Pillow has no {form} codec")
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, form.upper(), **options)
    return cv2.imdecode(np.frombuffer(stored.getbuffer(), np.uint8), cv2.IMREAD_COLOR_RGB)


def _check(form: str, image: np.ndarray, quality: int) -> None:
    within(f"{form}.quality", quality, 1, 100)
    if max(image.shape[:2]) > LARGEST[form]:
        raise DataError(f"{form}: an image of {list(image.shape[:2])} px; the format ends at {LARGEST[form]} px")


def _jpeg_words(*, quality: int, subsampling: str = "420") -> str:
    return f"JPEG quality {quality}" + ("" if str(subsampling) == "420" else f" ({subsampling})")


OPERATIONS = (jpeg, webp, avif)
WORDS = {"jpeg": _jpeg_words, "webp": "WebP quality {quality}", "avif": "AVIF quality {quality}"}
