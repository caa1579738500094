"""Files that hold several pictures: which one is the photograph, and whether others are left out.

Of a TIFF it is the first page that is whole, no reduced copy of another; of moving pictures the first frame, or, where
that one is flat (a film that fades in), the frame with the most contrast among those that follow. A raw photograph,
whose pages are previews of what only its maker's decoder reads, is none.
"""

from PIL import Image as PillowImage
from PIL import ImageStat

from anchorface.records.errors import PhotoError

SUBFILE, OLD_SUBFILE, SUB_FOLDERS, DNG_VERSION = 254, 255, 330, 50706
REDUCED, MASK = 1, 4
MOST_PAGES, MOST_FRAMES = 1000, 64
FLAT = 8.0
"""Standard deviation in levels below which a frame shows nothing (our choice)."""


def whole_picture(picture: PillowImage.Image, content: bytes, max_pixels: int, uri: str) -> str:
    """Set an opened file to the picture in it that is the photograph.

    Args:
        picture: as Pillow opened it. content: the file's bytes. max_pixels: of all frames that are looked at, together.

    Returns:
        What is left out: `pages`, `frames`, or nothing.

    Raises:
        PhotoError: `raw`.
    """
    if picture.format == "TIFF":
        return _page(picture, content, uri)
    if picture.format == "MPO" or not getattr(picture, "is_animated", False):
        return ""
    if picture.format == "HEIF":
        return "pages"
    most = min(MOST_FRAMES, max(1, max_pixels // max(1, picture.width * picture.height)))
    contrast: dict[int, float] = {}
    for number in range(most):
        try:
            picture.seek(number)
        except EOFError:
            break
        contrast[number] = ImageStat.Stat(picture.convert("L")).stddev[0]
        if number == 0 and contrast[0] >= FLAT:
            break
    picture.seek(max(contrast, key=lambda number: (contrast[number], -number)))
    return "frames"


def _page(picture: PillowImage.Image, content: bytes, uri: str) -> str:
    tags = picture.tag_v2  # type: ignore[attr-defined]
    raw = DNG_VERSION in tags or content[8:10] == b"CR"
    below = SUB_FOLDERS in tags
    whole = []
    for number in range(MOST_PAGES):
        try:
            picture.seek(number)
        except EOFError:
            break
        tags = picture.tag_v2  # type: ignore[attr-defined]
        if not (int(tags.get(SUBFILE, 0)) & (REDUCED | MASK) or tags.get(OLD_SUBFILE) == 2):
            whole.append(number)
        if len(whole) == 2:
            break
    if raw or (below and not whole):
        raise PhotoError("raw", uri, f"a raw photograph, of which only a preview of {picture.width} x {picture.height} "
                                     "can be read here: develop it first")
    picture.seek(whole[0] if whole else 0)
    return "pages" if len(whole) > 1 else ""
