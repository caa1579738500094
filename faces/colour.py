"""Colours as sRGB: what a photograph's ICC profile says becomes the numbers that all networks are used to.

Relative colorimetric with black point compensation (our choice: colours that both spaces have stay what they are, and
shadows keep their steps). A profile that says what sRGB says changes nothing and costs nothing; one that is damaged, or
is for another kind of picture, counts as none. High-bit grey pictures are not converted.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from anchorface.records.errors import DAMAGE

LARGEST_PROFILE = 2**22
SAME_LEVELS = 2
"""Eight-bit levels by which a profile may differ from sRGB anywhere and still count as it (our choice)."""
_GRID = np.linspace(0, 255, 9).round().astype(np.uint8)


def to_srgb(picture: PillowImage.Image) -> PillowImage.Image:
    """A decoded picture with its colours as sRGB; itself if its profile says so, or there is none.

    Returns:
        Grey and CMYK as RGB where they had to be converted; transparency is kept.
    """
    profile = picture.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= LARGEST_PROFILE:
        return picture
    alpha = None
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.mode == "PA" or "transparency" in picture.info else "RGB")
    if picture.mode in ("RGBA", "LA"):
        alpha, picture = picture.getchannel("A"), picture.convert(picture.mode[:-1])
    change = _change(profile, picture.mode) if picture.mode in ("RGB", "L", "CMYK") else None
    converted = ImageCms.applyTransform(picture, change) if change is not None else picture
    if alpha is not None and converted is not None:
        converted.putalpha(alpha)
    return converted or picture


def is_srgb(picture: PillowImage.Image) -> bool:
    """Whether `to_srgb` leaves an RGB picture as it is."""
    profile = picture.info.get("icc_profile")
    return not isinstance(profile, bytes) or not 0 < len(profile) <= LARGEST_PROFILE or _change(profile, "RGB") is None


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The sRGB profile for pictures that are written: the same bytes at any time."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36], made[84:100] = bytes(12), bytes(16)  # the date of its making, and the hash of all
    return bytes(made)


@lru_cache(maxsize=8)
def _change(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts a picture of a mode to sRGB; None if nothing has to be, or can be, done."""
    try:
        change = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "CMYK":
            return change
        grid = np.stack(np.meshgrid(_GRID, _GRID, _GRID), axis=-1).reshape(1, -1, 3)
        grid = grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None]
        probe = PillowImage.fromarray(grid)
        moved = np.asarray(ImageCms.applyTransform(probe, change), np.int16) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, *DAMAGE):
        return None
    return change if np.abs(moved).max() > SAME_LEVELS else None
