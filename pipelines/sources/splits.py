"""Published splits and groups, read as they are published.

ReF-LDM (github.com/ChiWeiHsiao/ref-ldm, README "FFHQ-Ref Dataset"):

    reference_mapping/{train,val,test}_references.csv   `gt_image`, `ref_image` (a Python list of names), perhaps
                                                        `lq_image`: pictures of one person
    id_based_ffhq_split/{train,val,test}_image.txt      a picture's name per line; all 70,000 of FFHQ

CelebA (mmlab.ie.cuhk.edu.hk/projects/CelebA.html): `list_eval_partition.txt`, a name and 0, 1 or 2 per line.
VGGFace2 (github.com/ox-vgg/vgg_face2): `identity_meta.csv` with `Class_ID` and `Flag` (1 training, 0 test), or the
folders `train/` and `test/`.

A picture is known by its name without folders and ending, a number by its value (`00007.png` is `7`).
"""

import ast
import csv
import io
from collections.abc import Iterator, Mapping
from functools import partial

from anchorface.pipelines.sources.address import printable
from anchorface.pipelines.sources.opening import entries, open_file
from anchorface.records.addresses import join
from anchorface.records.errors import DataError, PhotoError

LISTS = (".txt", ".csv", ".json")
SPLITS = ("train", "val", "test")
BY_NUMBER = {"0": "train", "1": "val", "2": "test"}


def picture_key(name: str) -> str:
    """What a picture is known by in published lists: its name without folders, ending and leading zeros."""
    stem = name.strip().replace("\\", "/").rpartition("/")[2].partition(".")[0]
    return (stem.lstrip("0") or "0") if stem.isdigit() else stem


def top_files(root: str) -> dict[str, str]:
    """The lists (texts by their name) of a folder, of the folders in it, and in those: place -> uri."""
    found: dict[str, str] = {}
    folders = [""]
    for depth in range(3):
        deeper: list[str] = []
        for folder in folders:
            for name, is_folder in entries(join(root, folder) if folder else root):
                place = f"{folder}/{name}" if folder else name
                if not is_folder and name.lower().endswith(LISTS):
                    found[place] = join(root, place)
                elif is_folder and _may_hold_lists(name, depth):
                    deeper.append(place)
        folders = deeper
    return found


def reference_groups(files: Mapping[str, str]) -> dict[str, str]:
    """Who is who by the reference lists: a picture's key -> its person, `ref-` and the smallest key of the group.

    Pictures of the identity-based lists without references are persons of their own.

    Raises:
        DataError: a list cannot be read.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for _, keys in _reference_rows(files):
        first = find(keys[0])
        for key in keys[1:]:
            parent[find(key)] = first
    for _, key in _listed(files):
        find(key)
    smallest: dict[str, str] = {}
    for key in sorted(parent, key=lambda key: (len(key), key)):
        smallest.setdefault(find(key), key)
    return {key: f"ref-{smallest[find(key)]}" for key in parent}


def reference_splits(files: Mapping[str, str], subjects: Mapping[str, str]) -> dict[str, str]:
    """Sides by the reference lists and the identity-based lists: subject -> split.

    Args:
        files: as `top_files` gives them. subjects: a picture's key -> its person.

    Raises:
        DataError: a person on two sides.
    """
    splits: dict[str, str] = {}
    for split, keys in _reference_rows(files):
        for key in keys:
            _put(splits, subjects.get(key), split, key)
    named = {key: split for split, key in _listed(files)}
    for key, split in named.items():
        if subjects.get(key) not in splits or splits[subjects[key]] != split:
            _put(splits, subjects.get(key), split, key)
    return splits


def partition_splits(files: Mapping[str, str], subjects: Mapping[str, str]) -> dict[str, str]:
    """Sides by CelebA's `list_eval_partition.txt`: subject -> split; empty without it.

    Args:
        files: as `top_files` gives them. subjects: CelebA's file name's key -> its person.

    Raises:
        DataError: a line that cannot be meant.
    """
    splits: dict[str, str] = {}
    for line in text_lines(files, "list_eval_partition.txt"):
        words = line.replace(",", " ").split()
        if len(words) == 2 and words[1] in BY_NUMBER:
            subject = subjects.get(picture_key(words[0]))
            if subject is not None:
                splits[subject] = BY_NUMBER[words[1]]
    return splits


def class_splits(files: Mapping[str, str]) -> dict[str, str]:
    """Sides by VGGFace2's `identity_meta.csv`: class -> split; empty without it."""
    lines = list(text_lines(files, "identity_meta.csv"))
    splits = {}
    for row in csv.DictReader(lines, skipinitialspace=True):
        flag, name = (row.get("Flag") or "").strip(), (row.get("Class_ID") or "").strip()
        if flag in ("0", "1"):
            splits[name] = "train" if flag == "1" else "test"
    return splits


def text_lines(files: Mapping[str, str], name: str) -> Iterator[str]:
    """The lines of a file with this name wherever it stands, none without it.

    Raises:
        DataError: it cannot be read.
    """
    for place in sorted(files):
        if place.rpartition("/")[2].lower() == name.lower():
            try:
                with open_file(files[place]) as file:
                    yield from io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
            except (PhotoError, OSError) as error:
                raise DataError(f"{printable(files[place])}: cannot be read: {error}") from error


def _may_hold_lists(name: str, depth: int) -> bool:
    """Folders of pictures are many and hold no lists: those with digits alone, or of a class, are not opened."""
    return depth < 2 and not name.isdigit() and not (name[:1] == "n" and name[1:].isdigit())


def _put(splits: dict[str, str], subject: str | None, split: str, key: str) -> None:
    if subject is None:
        return
    if splits.setdefault(subject, split) != split:
        raise DataError(
            f"published splits: {subject} is in {splits[subject]} and, with picture {key}, in {split}; "
            "no person may stand on two sides"
        )


def _split_of(place: str) -> str | None:
    base = place.rpartition("/")[2].lower()
    return next((split for split in SPLITS if base.startswith(split)), "test" if "test" in base else None)


def _reference_rows(files: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    for place in sorted(files):
        split = _split_of(place)
        if "reference_mapping/" not in f"/{place}" or not place.endswith(".csv") or split is None:
            continue
        lines = text_lines({place: files[place]}, place.rpartition("/")[2])
        for number, row in enumerate(csv.DictReader(lines)):
            try:
                others = ast.literal_eval(row.get("ref_image") or "[]")
                names = [row["gt_image"], *([others] if isinstance(others, str) else others)]
                yield split, list(map(picture_key, names))
            except (ValueError, SyntaxError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
                raise DataError(
                    f"{printable(files[place])}, row {number}: needs `gt_image` and a list `ref_image`: {error}"
                ) from error


def _listed(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for place in sorted(files):
        split = _split_of(place)
        if "id_based_ffhq_split/" in f"/{place}" and place.endswith(".txt") and split is not None:
            named = partial(text_lines, {place: files[place]}, place.rpartition("/")[2])
            yield from ((split, picture_key(line)) for line in named() if line.strip())
