"""Known data sets by name: which of their files are photographs, and who is on them.

    ffhq         folders of 1,000 PNGs (`images1024x1024/00000/00007.png`), `ffhq-dataset-v2.json` with licence, author
                 and 68 landmarks (github.com/NVlabs/ffhq-dataset, README "Metadata"); persons and splits from the
                 lists of FFHQ-Ref if they stand beside it (see pipelines.sources.splits)
    celeba-hq    `CelebA-HQ-img/7.jpg` with `CelebA-HQ-to-CelebA-mapping.txt` (`idx orig_idx orig_file`; CelebAMask-HQ,
                 github.com/switchablenorms/CelebAMask-HQ, README) or CelebA's own `000007.jpg`, and
                 `identity_CelebA.txt` (`000007.jpg 2880`; mmlab.ie.cuhk.edu.hk/projects/CelebA.html)
    vggface2     a folder per person (`n000123/0001_01.jpg`; github.com/ox-vgg/vgg_face2)
    plain        none of these

Only photographs that belong to a layout are taken; its copies in other sizes, degraded ones and masks become dropped
rows. What sidecars say wins over what a layout says.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from anchorface.pipelines.sources import splits as published
from anchorface.pipelines.sources.address import printable
from anchorface.pipelines.sources.opening import entries, open_file
from anchorface.pipelines.sources.splits import picture_key, text_lines, top_files
from anchorface.pipelines.sources.walk import Root, find_root
from anchorface.records.addresses import join
from anchorface.records.errors import ConfigurationError, DataError, PhotoError
from anchorface.records.kinds import kind_of

LAYOUTS = ("plain", "ffhq", "celeba-hq", "vggface2")
FFHQ_JSON = "ffhq-dataset-v2.json"
MAPPING, IDENTITIES = "celeba-hq-to-celeba-mapping.txt", "identity_celeba.txt"
PERSON = re.compile(r"(?:^|/)(n\d{6})/\d{4}_\d{2}\.[A-Za-z]+$")
NUMBERED = re.compile(r"(?:^|/)\d{2}000/\d{5}\.png$")
BESIDE = ("thumbnails", "in-the-wild-images/", "test_images/", "celebamask-hq-mask-anno/", "zips/", "tfrecords/")
CHUNK = 2**20
LONGEST_ENTRY = 2**20


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A known data set.

    name: one of LAYOUTS. why: the file or folder that told it. belongs: whether a place is one of its photographs.
    says: what it says of a place, in the shape of metadata.jsonl. splits: subject -> train, val or test. lists: places
    of its lists, which are no photographs and none that is missing.
    """

    name: str
    why: str = ""
    belongs: Callable[[str], bool] = lambda place: True
    says: Callable[[str], Mapping[str, Any]] = lambda place: {}
    splits: Mapping[str, str] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()


def find_layout(source: str, name: str = "auto") -> Layout:
    """The layout of a source.

    Args:
        source: folder, glob, file or URI. name: one of LAYOUTS, or `auto` to tell it by its files.

    Raises:
        ConfigurationError: an unknown name.
        StorageError: there is no such folder.
        DataError: the layout's own files cannot be read.
    """
    if name not in ("auto", *LAYOUTS):
        raise ConfigurationError(f"layout {name!r} is unknown; it is one of auto, {', '.join(LAYOUTS)}")
    root = find_root(source)
    if name == "plain" or root.is_file:
        return Layout(name="plain")
    files = top_files(root.uri)
    chosen, why = _told(root, files) if name == "auto" else (name, "asked for")
    made = {"ffhq": _ffhq, "celeba-hq": _celeba, "vggface2": _vggface}
    return made[chosen](files, why) if chosen in made else Layout(name="plain")


def published_splits(source: str, layout: str = "auto") -> dict[str, str]:
    """The sides that a data set publishes, for `group(held=...)`.

    Args:
        source, layout: as for `find_layout`.

    Returns:
        Subject (as `find_sources` gives it to the photographs) -> `train`, `val` or `test`; empty where none are known.

    Raises:
        ConfigurationError: an unknown layout.
        StorageError: there is no such folder.
        DataError: a list that cannot be read, or that puts a person on two sides.
    """
    return dict(find_layout(source, layout).splits)


def _told(root: Root, files: Mapping[str, str]) -> tuple[str, str]:
    """A layout's name by the files that only it has, and the file that told."""
    names = {place.rpartition("/")[2].lower(): place for place in sorted(files, reverse=True)}
    for file, name in ((FFHQ_JSON, "ffhq"), (MAPPING, "celeba-hq"), (IDENTITIES, "celeba-hq"),
                       ("identity_meta.csv", "vggface2")):
        if file in names:
            return name, names[file]
    for place in _beginnings(root):
        if NUMBERED.search(place):
            return "ffhq", place
        if PERSON.search(place):
            return "vggface2", place
    return "plain", ""


def _beginnings(root: Root) -> Iterator[str]:
    """The first photograph in the first folder at each depth: enough to know a data set by, without walking it."""
    folder = ""
    for _ in range(4):
        first = {True: "", False: ""}
        for name, is_folder in entries(join(root.uri, folder) if folder else root.uri):
            if (is_folder or kind_of(name) == "photo") and (not first[is_folder] or name < first[is_folder]):
                first[is_folder] = name
        if first[False]:
            yield f"{folder}/{first[False]}"
        if not first[True]:
            return
        folder = f"{folder}/{first[True]}" if folder else first[True]


def _ffhq(files: Mapping[str, str], why: str) -> Layout:
    subjects = published.reference_groups(files)
    said: dict[str, str] = {}
    for place in files:
        if place.rpartition("/")[2].lower() == FFHQ_JSON:
            said = _ffhq_json(files[place])

    def belongs(place: str) -> bool:
        return not any(part in place.lower() for part in BESIDE)

    def says(place: str) -> dict[str, Any]:
        key = picture_key(place)
        if not key.isdigit() or not belongs(place):
            return {}
        row: dict[str, Any] = json.loads(said.get(key, "{}"))
        return row | ({"subject": subjects[key]} if key in subjects else {})

    return Layout(
        name="ffhq", why=why, belongs=belongs, says=says, splits=published.reference_splits(files, subjects),
        lists=frozenset(files),
    )


def _ffhq_json(uri: str) -> dict[str, str]:
    """What is wanted of the 255 MB: a picture's key -> its row as JSON."""
    rows: dict[str, str] = {}
    try:
        with open_file(uri) as file:
            for key, entry in _entries(file):
                rows[picture_key(key)] = json.dumps(_ffhq_row(entry))
    except (PhotoError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{printable(uri)}: not the metadata of FFHQ: {type(error).__name__}: {error}") from error
    return rows


def _ffhq_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    about, image = entry.get("metadata", {}), entry.get("image", {})
    row: dict[str, Any] = {}
    if about.get("license"):
        row["licence"] = about["license"]
    if about.get("author") or about.get("photo_url"):
        row["source"] = ", ".join(filter(None, (about.get("author"), about.get("photo_url"))))
    points = image.get("face_landmarks") or []
    if len(points) == 68:
        row["faces"] = [{"landmarks": _five(points)}]
        row["landmark_size"] = list(image.get("pixel_size") or (1024, 1024))
    return row


def _five(points: list[list[float]]) -> list[list[float]]:
    """Five points of dlib's 68: the middles of the eyes (36 to 41, 42 to 47), nose tip (30), mouth corners (48, 54)."""

    def middle(first: int, last: int) -> list[float]:
        chosen = points[first:last]
        return [sum(float(p[axis]) for p in chosen) / len(chosen) for axis in (0, 1)]

    return [middle(36, 42), middle(42, 48), *([float(v) for v in points[n][:2]] for n in (30, 48, 54))]


def _entries(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The members of one large JSON object, one after the other."""
    bytes_in, decoder = codecs.getincrementaldecoder("utf-8-sig")("replace"), json.JSONDecoder()
    text, at, started = "", 0, False
    while True:
        try:
            at = _skip(text, at, " \t\r\n,")
            if not started:
                if text[at : at + 1] != "{":
                    raise json.JSONDecodeError("no JSON object", text, at)
                started, at = True, _skip(text, at + 1, " \t\r\n")
            if text[at : at + 1] == "}":
                return
            key, end = decoder.raw_decode(text, at)
            value, at = decoder.raw_decode(text, _skip(text, end, " \t\r\n:"))
        except json.JSONDecodeError:
            more = file.read(CHUNK)
            if not more or len(text) - at > LONGEST_ENTRY + CHUNK:
                raise ValueError("no JSON object, or one that does not end") from None
            text, at = text[at:] + bytes_in.decode(more), 0
            continue
        yield str(key), value


def _skip(text: str, at: int, these: str) -> int:
    while at < len(text) and text[at] in these:
        at += 1
    return at


def _celeba(files: Mapping[str, str], why: str) -> Layout:
    identities = {}
    for line in text_lines(files, IDENTITIES):
        words = line.replace(",", " ").split()
        if len(words) == 2 and words[1].isdigit():
            identities[picture_key(words[0])] = f"celeba-{words[1]}"
    originals = {}
    for line in text_lines(files, MAPPING):
        words = line.split()
        if len(words) == 3 and words[0].isdigit():
            originals[picture_key(words[0])] = picture_key(words[2])
    subjects = {key: identities[o] for key, o in originals.items() if o in identities} if originals else identities

    def belongs(place: str) -> bool:
        return not any(part in place.lower() for part in BESIDE)

    def says(place: str) -> dict[str, Any]:
        subject = subjects.get(picture_key(place)) if belongs(place) else None
        return {} if subject is None else {"subject": subject}

    sides = published.partition_splits(files, identities)
    # Reference lists are made for one test: what they name is tested on, whatever CelebA's own partition says.
    return Layout(
        name="celeba-hq", why=why, belongs=belongs, says=says,
        splits=sides | published.reference_splits(files, subjects), lists=frozenset(files),
    )


def _vggface(files: Mapping[str, str], why: str) -> Layout:
    def says(place: str) -> dict[str, Any]:
        found = PERSON.search(place)
        return {"subject": found[1]} if found else {}

    return Layout(
        name="vggface2", why=why, belongs=lambda place: PERSON.search(place) is not None, says=says,
        splits=published.class_splits(files), lists=frozenset(files),
    )
