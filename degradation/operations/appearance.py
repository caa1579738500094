"""Transforms of the library albumentations that change how a picture looks and move no pixel.

A plan holds a transform's name, its settings and either the numbers that were drawn for it or, where these are as many
as pixels, the seed that they are drawn from. Both are told from the library itself: a fresh `Compose([transform],
seed=...)` of it gives the same bytes. The library is imported where a transform is used, and nowhere else.
"""

import copy
import importlib.metadata
import inspect
import json
import sys
import warnings
from functools import cache, lru_cache
from typing import Any

import numpy as np

from anchorface.records.errors import DataError

VERSION = "2.0.8"
NUMBERS = frozenset((
    "AdditiveNoise", "AdvancedBlur", "AutoContrast", "Blur", "CLAHE", "ChannelDropout", "ChannelShuffle",
    "ChromaticAberration", "CoarseDropout", "ColorJitter", "Defocus", "Downscale", "Emboss", "Equalize",
    "GaussianBlur", "GridDropout", "HueSaturationValue", "ISONoise", "Illumination", "ImageCompression", "InvertImg",
    "MedianBlur", "MotionBlur", "MultiplicativeNoise", "NoOp", "PlanckianJitter", "Posterize", "RGBShift",
    "RandomBrightnessContrast", "RandomGamma", "RandomGravel", "RandomRain", "RandomShadow", "RandomSnow",
    "RandomSunFlare", "RandomToneCurve", "RingingOvershoot", "Sharpen", "ShotNoise", "Solarize", "Superpixels",
    "ToGray", "ToSepia", "UnsharpMask", "XYMasking", "ZoomBlur"))
"""Transforms of which a plan holds the drawn numbers, where they are short enough. Erasing is not among them: it fails
where it finds no place, and CoarseDropout does the same."""
SEEDS = frozenset((
    "GaussNoise", "GlassBlur", "PixelDropout", "PlasmaBrightnessContrast", "PlasmaShadow", "RandomFog",
    "SaltAndPepper", "Spatter"))
"""Transforms that draw a number for each pixel, or hundreds of them: a plan holds their seed. So it does where a
transform's settings make it look at the picture before it draws."""
MOST_TEXT, MOST_NUMBER = 2000, 20_000
"""Characters of a transform's settings and of its drawn numbers, and the largest number in either: more is
refused, and more drawn numbers are held by their seed."""
SHAPED = ("shape", "fill", "fill_mask", "interpolation")
"""What a transform is told of the picture and of its own settings, which a plan need not hold."""
TRIES = 8
TYPES = ("bool", "uint8", "int16", "int32", "int64", "float32", "float64")


@cache
def library() -> Any:
    """The package albumentations, without torch, which it would import for a
    transform to tensors.

    Raises:
        DataError: it is installed in no or another version.
    """
    tensors = "albumentations.pytorch"
    left_out = tensors not in sys.modules
    try:
        found = importlib.metadata.version("albumentations")
        if left_out:
            sys.modules[tensors] = None  # type: ignore[assignment]
        import albumentations
    except ImportError as error:
        raise DataError(f"albumentations {VERSION} is needed and cannot be imported ({error}): `make environment`"
                        ) from error
    finally:
        if left_out:
            sys.modules.pop(tensors, None)
    if found != VERSION:
        raise DataError(f"albumentations {found} is installed and not {VERSION}: `make environment`")
    return albumentations


def opened(transform: str, settings: str) -> Any:
    """A transform of the library, to be used once.

    Args:
        transform: its name, of NUMBERS or SEEDS. settings: what it is made with, a JSON object.

    Raises:
        DataError: another name, or settings that it does not take.
    """
    return copy.copy(_made(transform, settings))


@lru_cache(256)
def _made(transform: str, settings: str) -> Any:
    if transform not in NUMBERS | SEEDS:
        raise DataError(f"albumentations: {transform!r} is none of the transforms that a plan can hold: "
                        f"{', '.join(sorted(NUMBERS | SEEDS))}")
    given = _read(settings, "settings")
    if not isinstance(given, dict) or "p" in given or "strict" in given:
        raise DataError(f"albumentations: settings of {transform} are no JSON object of its arguments without p")
    _require_small(given, transform)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            kind = getattr(library(), transform)
            return kind(**{key: value for key, value in given.items() if key not in _unread(kind)}, p=1.0)
        except (TypeError, ValueError, ArithmeticError, LookupError, Warning) as error:
            raise DataError(f"albumentations: {transform} does not take {settings}: {error}") from error


def _unread(kind: type) -> set[str]:
    """Arguments of the kinds that a transform is made from and not its own: the library writes them into a file, and
    reads none of them."""
    inherited = [inspect.signature(base).parameters.keys() for base in kind.__mro__[1:-1] if "__init__" in vars(base)]
    return set().union(*inherited) - inspect.signature(kind).parameters.keys()


def _require_small(given: Any, transform: str) -> None:
    for value in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
        _require_small(value, transform)
    if isinstance(given, int | float) and not -MOST_NUMBER <= given <= MOST_NUMBER:
        raise DataError(f"albumentations: {transform} has {given!r} among its numbers; at most {MOST_NUMBER:,}")


def parameters(transform: Any, seed: int, image: np.ndarray) -> dict[str, Any]:
    """What the library draws for a picture from a seed, as `Compose([transform], seed=seed)` does.

    Args:
        transform: of `opened`. image: uint8 [H, W, 3]; few look at more than its shape.
    """
    transform.set_random_seed(seed)
    data = {"image": image}
    given = transform.update_transform_params(params=transform.get_params(), data=data)
    return dict(given | transform.get_params_dependent_on_data(params=given, data=data))


def drawn_values(transform: str, settings: str, seed: int, shape: tuple[int, int]) -> dict[str, int | str]:
    """What a plan holds of a transform, beside its name and settings: `drawn` numbers as JSON, or its `seed`.

    Args:
        shape: height and width of the picture that it is for, px.
    """
    if transform in SEEDS or _looks(transform, settings):
        return {"seed": seed}
    text = _drawn(transform, settings, seed, np.broadcast_to(np.uint8(0), (*shape, 3)))
    return {"drawn": text} if len(text) <= MOST_TEXT else {"seed": seed}


@lru_cache(256)
def _looks(transform: str, settings: str) -> bool:
    """Whether the numbers depend on the picture's levels, so that they cannot be drawn before it is there."""
    blank, ramp = np.zeros((64, 64, 3), np.uint8), np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    return any(_drawn(transform, settings, seed, blank) != _drawn(transform, settings, seed, ramp)
               for seed in range(TRIES))


def _drawn(transform: str, settings: str, seed: int, image: np.ndarray) -> str:
    try:
        found = parameters(opened(transform, settings), seed, image)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"albumentations: {transform} with {settings} cannot be drawn for {list(image.shape)}: {error}"
                        ) from error
    return json.dumps({key: _plain(value) for key, value in found.items() if key not in SHAPED},
                      separators=(",", ":"))


def albumentations(image: np.ndarray, *, transform: str, settings: str, drawn: str | None = None,
                   seed: int | None = None) -> np.ndarray:
    """A transform of the library albumentations.

    Args:
        image: uint8 [H, W, 3].
        transform: its name. settings: what it is made with, a JSON object.
        drawn: the numbers of `drawn_values`; places are px of the picture that they were drawn for.
        seed: instead of them, what they are drawn from, 0 to 2^32.

    Raises:
        DataError: a transform that no plan can hold, numbers that it does not take, or a picture of another kind out.
    """
    if (drawn is None) == (seed is None):
        raise DataError(f"albumentations: {transform} needs either drawn numbers or a seed")
    try:
        made = opened(transform, settings)
        given = parameters(made, _seed(seed), image) if drawn is None else (
            made.update_transform_params(params={}, data={"image": image}) | _numbers(drawn, transform))
        result = made.apply(np.ascontiguousarray(image), **given)
    except (AttributeError, NameError, RecursionError) as error:  # what replaying a plan does not catch for others
        raise DataError(f"albumentations: {transform} does not take {drawn or seed}: {error}") from error
    if result.dtype != np.uint8 or result.shape != image.shape:
        raise DataError(f"albumentations: {transform} makes {result.dtype} {list(result.shape)} of uint8 "
                        f"{list(image.shape)}: leave it out, or give it other settings")
    return np.ascontiguousarray(result)


def _numbers(drawn: str, transform: str) -> dict[str, Any]:
    found = _read(drawn, "drawn numbers")
    if not isinstance(found, dict) or not found.keys().isdisjoint(SHAPED):
        raise DataError(f"albumentations: drawn numbers of {transform} are no JSON object of its own numbers")
    _require_small({key: value for key, value in found.items() if "seed" not in key}, transform)
    return {key: _array_of(value) for key, value in found.items()}


def _seed(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**32:
        raise DataError(f"albumentations.seed is {given!r}, not a whole number from 0 to 2^32")
    return given


def _read(text: Any, what: str) -> Any:
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise DataError(f"albumentations: {what} are no text of at most {MOST_TEXT} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"albumentations: {what} are no JSON: {error}") from error


def _plain(value: Any) -> Any:
    """A drawn value as JSON has it: what NumPy made keeps its type beside it."""
    if isinstance(value, np.ndarray | np.generic):
        return {"dtype": value.dtype.name, "shape": list(value.shape), "values": value.ravel().tolist()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _array_of(value: Any) -> Any:
    """What `_plain` was given; tuples come back as lists."""
    if isinstance(value, list):
        return [_array_of(one) for one in value]
    if isinstance(value, dict) and value.keys() == {"dtype", "shape", "values"}:
        if value["dtype"] not in TYPES:
            raise DataError(f"albumentations: drawn numbers of type {value['dtype']!r}; known: {', '.join(TYPES)}")
        return np.array(value["values"], value["dtype"]).reshape(value["shape"])[()]
    return {key: _array_of(one) for key, one in value.items()} if isinstance(value, dict) else value


def _words(transform: str, settings: str, drawn: str | None = None, seed: int | None = None) -> str:
    numbers = _read(drawn, "drawn numbers") if drawn else {}
    told = [f"{key.replace('_', ' ')} {round(value, 2):g}" for key, value in numbers.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e5]
    return f"albumentations' {transform}" + (f" ({', '.join(told)})" if told else "")


OPERATIONS = (albumentations,)
WORDS = {"albumentations": _words}
