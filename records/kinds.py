"""What a file is by its name: a photograph, a film, or something else; and whose folders hold no one's own photographs.

The one list for curate, degrade and restore. A name says `photo`, `film`, `table`, `tar`, `packed` (an archive that is
not opened), `unread` (a picture or film in a format that is not read, see `unread_format`), `hidden` (one of these, but
its name begins with a dot, as deleted photographs of phones do), `system` (what programs leave beside photographs) or
`other`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2",
    ".heic", ".heif", ".avif", ".mpo", ".insp", ".pbm", ".j2k", ".j2c", ".jpf", ".jpx",
)
"""Names taken for photographs."""
FILMS = (
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".m2t", ".ts", ".3gp", ".3g2",
    ".wmv", ".asf", ".flv", ".f4v", ".vob",
)
"""Names taken for films. `.ts` is a programmer's file too: where a file is opened, its first bytes tell."""
TABLES = (".parquet",)
TARS = (".tar",)
PACKED = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar", ".gz", ".xz")
"""Archives that are not opened: what unpacks to more than it is can ask for any amount of memory."""
RAWS = (
    ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".eip", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
)
"""Raw photographs. Many are TIFFs whose first page is a thumbnail, which must not pass for the photograph."""
UNREAD = {
    ".jxl": "JPEG XL", ".jxr": "JPEG XR", ".wdp": "JPEG XR", ".hdp": "JPEG XR", ".tga": "TGA", ".psd": "Photoshop",
    ".psb": "Photoshop", ".xcf": "GIMP", ".kra": "Krita", ".afphoto": "Affinity Photo", ".exr": "OpenEXR",
    ".hdr": "Radiance", ".pcx": "PCX", ".pcd": "Photo CD", ".dcm": "DICOM", ".dds": "DDS", ".qoi": "QOI", ".sgi": "SGI",
    ".ras": "Sun raster", ".pam": "PAM", ".pfm": "PFM", ".bpg": "BPG", ".flif": "FLIF", ".thm": "camera thumbnail",
    ".lrv": "camera preview", ".insv": "Insta360 film", ".rm": "RealMedia", ".rmvb": "RealMedia", ".ogv": "Ogg",
    ".ogm": "Ogg", ".divx": "DivX", ".dv": "DV", ".mxf": "MXF", ".mod": "camcorder film", ".tod": "camcorder film",
    ".swf": "Flash", ".wtv": "Windows TV", ".braw": "raw film", ".r3d": "raw film",
}
"""Pictures and films in formats that are not read: the ending, and what people call it."""
SYSTEM_FOLDERS = {
    "@eadir": "thumbnails", ".@__thumb": "thumbnails", ".thumbnails": "thumbnails", ".thumbs": "thumbnails",
    "#recycle": "recycle bin", "@recycle": "recycle bin", "$recycle.bin": "recycle bin", "recycler": "recycle bin",
    "recycled": "recycle bin", ".recycle": "recycle bin", ".dtrash": "recycle bin", "#snapshot": "snapshots",
    "@recently-snapshot": "snapshots", "@snapshots": "snapshots", "@tmp": "system folder", "@sharebin": "recycle bin",
    "@appstore": "system folder", "system volume information": "system folder", "__macosx": "system folder",
    "lost+found": "system folder", "lost.dir": "system folder", "network trash folder": "recycle bin",
    "temporary items": "system folder",
}
"""Folders of NAS systems, desktops and cameras, by their name in lower case."""
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store", ".nomedia", "icon\r",
                "picasa.ini", ".picasa.ini", ".directory", "zbthumbnail.info", ".localized")
SYSTEM = "left out with all that is in it; give it as a source of its own if it holds photographs of yours"
HIDDEN = "its name begins with a dot, as those of deleted photographs do; rename it to use it"
UNPACK = "unpack it, or store it as an uncompressed .tar"
_TRASH = re.compile(r"\.trash(es)?(-\d+)?$")


def kind_of(name: str) -> str:
    """What a file is, by its name or path; see the module's first lines."""
    lower = name.lower()
    base = lower.rpartition("/")[2]
    if base.startswith("._") or base in SYSTEM_FILES:
        return "system"
    kinds = (("photo", PICTURES), ("film", FILMS), ("table", TABLES), ("tar", TARS), ("packed", PACKED))
    unread = "unread" if unread_format(name) else "other"
    found = next((kind for kind, endings in kinds if lower.endswith(endings)), unread)
    if base.startswith("."):
        return "system" if found == "other" else "hidden"
    return found


def unread_format(name: str) -> str:
    """What people call the format of a picture or film that is not read: `raw`, `JPEG XL`, ...; empty for any other."""
    ending = "." + name.lower().rpartition("/")[2].rpartition(".")[2]
    return "raw" if ending in RAWS else UNREAD.get(ending, "")


def not_read(name: str) -> tuple[str, str]:
    """Cause and detail for a picture or film whose format is not read."""
    what = unread_format(name)
    if what == "raw":
        return "raw", "a raw photograph is not developed here; export it as JPEG, TIFF, HEIC or PNG"
    return "format not read", f"{what}; save it as JPEG, PNG, TIFF, WebP, HEIC or AVIF, a film as MP4"


def system_folder(name: str) -> str:
    """What a folder of this name holds that is nobody's own photograph; empty for a folder of photographs.

    `thumbnails`, `recycle bin`, `snapshots`, `system folder`, or `hidden folder` for any other that begins with a dot.
    """
    lower = name.lower()
    if found := SYSTEM_FOLDERS.get(lower):
        return found
    if _TRASH.match(lower):
        return "recycle bin"
    return "hidden folder" if lower.startswith(".") and lower not in (".", "..") else ""


def passed_over(place: str) -> tuple[str, str] | None:
    """The first folder of a path that `system_folder` names, and what it holds; None where there is none."""
    steps = place.split("/")
    for number, step in enumerate(steps[:-1], 1):
        if what := system_folder(step):
            return "/".join(steps[:number]), what
    return None


class Others:
    """A count of the files that are no photographs, by their endings."""

    def __init__(self) -> None:
        self._endings: Counter[str] = Counter()

    def add(self, *names: str) -> None:
        """Count files by their names."""
        for name in names:
            stem, dot, ending = name.rpartition("/")[2].rpartition(".")
            self._endings[f".{ending.lower()[:12]}" if stem and dot else "without ending"] += 1

    def __len__(self) -> int:
        return sum(self._endings.values())

    def __str__(self) -> str:
        most = sorted(self._endings.items(), key=lambda each: (-each[1], each[0]))
        said = [f"{count} {ending}" for ending, count in most[:12]]
        rest = sum(count for _, count in most[12:])
        return f"{len(self)} that are no photographs: {', '.join(said + ([f'{rest} more'] if rest else []))}"


def meant(places: Iterable[str], kinds: Sequence[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Of the files below a folder those that are to be read, and what is left out.

    Args:
        places: paths under the folder, `/` between steps. kinds: of `kind_of`, those that are read.

    Returns:
        Places in their order; and place, cause and detail for each folder that is passed over, each file of a known
        kind that is not read, and once (place empty) the count of the rest.
    """
    kept: list[str] = []
    left_out: dict[str, tuple[str, str, str]] = {}
    others = Others()
    for place in places:
        kind = kind_of(place)
        if passed := passed_over(place):
            left_out.setdefault(passed[0], (*passed, SYSTEM))
        elif kind in kinds:
            kept.append(place)
        elif kind == "unread":
            left_out[place] = (place, *not_read(place))
        elif kind == "hidden":
            left_out[place] = (place, "hidden file", HIDDEN)
        elif kind == "packed":
            left_out[place] = (place, "packed archive", UNPACK)
        elif kind in ("photo", "film", "table", "tar"):
            left_out[place] = (place, f"a {kind}", f"only {', '.join(kinds)} is read here")
        else:
            others.add(place)
    rows = list(left_out.values())
    return kept, [*rows, ("", "other files", str(others))] if others else rows
