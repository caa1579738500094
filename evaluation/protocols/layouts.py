"""The folders of published test sets: which files make up a case.

In: a folder. Out: a `Listing` of cases by paths inside the folder, and what of it cannot be used, with the cause.

    ffhq-ref-moderate, ffhq-ref-severe      ReF-LDM's release beside FFHQ's pictures:
        FFHQ-Ref/reference_mapping/test_references.csv     gt_image, lq_image, ref_image (a list of names)
        FFHQ-Ref/test_images/{moderate,severe}_degrad/     the degraded pictures
        images1024x1024/ (or images512x512/)               FFHQ
    celeba-test-ref                         ReF-LDM's release beside CelebAMask-HQ's pictures:
        CelebA-Test-Ref/test_references.csv
        CelebA-Test-Ref/celeba_test_images/                degraded and clean ones, in folders with LQ and HQ in their
                                                           names
        CelebA-HQ-img/                                     references
    celebhqref100                           IConFace's: a folder of CelebA-HQ with one folder an identity; the first
        sorted picture is the target, the next up to three are references, of the first 100 sorted identities that
        have two; degraded by us: BSRGAN and Real-ESRGAN mixed (profile `iconface`), strength 4 to 10, seed 42 + i
    own                                     a folder as `write_inputs` makes it:
        gt/NAME.png, lq/NAME.png, references/NAME/*
"""

import ast
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from anchorface.degradation import draw
from anchorface.degradation.ranges import Choice
from anchorface.records import DataError, Dropped, StorageError, rng, storage

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
STAGE = "protocol"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One case. name: of the files that programs write for it. target, references: paths. degraded: a path, or empty
    where `plan`, canonical JSON, makes it. identity: who it is; empty where the list does not say.
    """

    name: str
    target: str
    references: tuple[str, ...]
    degraded: str = ""
    plan: str = ""
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """cases: what can be judged. dropped: files that a list names and that are not there, and other unusable ones."""

    cases: tuple[Listed, ...]
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A protocol. cases: how many it has as published. read: its reader, from a folder and its files' paths."""

    name: str
    cases: int
    profile: str
    read: Callable[["Folder"], Listing]


class Folder:
    """A folder's files, looked at once. Paths are relative to it, with `/`. size: px that they are judged at."""

    def __init__(self, uri: str, size: int) -> None:
        self.uri, self.size = uri, size
        try:
            self.files = [storage.name_in(uri, file) for file in storage.list_files(uri)]
        except StorageError as error:
            raise DataError(f"{uri}: {error}") from error
        self.known = set(self.files)

    def below(self, *folders: str) -> dict[str, str]:
        """The pictures in the first of the folders that has any, by their names without folder and ending.

        Raises:
            DataError: none of them has.
        """
        for folder in folders:
            found = {PurePosixPath(name).stem: name for name in self.files
                     if name.startswith(folder) and name.lower().endswith(PICTURES)}
            if found:
                return found
        raise DataError(f"{self.uri}: no pictures in {' or '.join(folders)}; {LAYOUT_HINT}")

    def need(self, *names: str) -> str:
        """The first of these files that is there.

        Raises:
            DataError: none is.
        """
        for name in names:
            if name in self.known:
                return name
        raise DataError(f"{self.uri}: no {' or '.join(names)}; {LAYOUT_HINT}")


LAYOUT_HINT = "the head of evaluation/protocols/layouts.py draws the published layouts"


def published(name: str) -> Published:
    """A protocol by name.

    Raises:
        DataError: there is none.
    """
    for one in PUBLISHED:
        if one.name == name:
            return one
    raise DataError(f"no published protocol {name!r}; known: {', '.join(p.name for p in PUBLISHED)}")


def _ref_ldm(mapping: tuple[str, ...], low: tuple[str, ...], clean: tuple[str, ...], references: tuple[str, ...]
             ) -> Callable[[Folder], Listing]:
    """A reader of ReF-LDM's lists."""

    def read(folder: Folder) -> Listing:
        place = folder.need(*mapping)
        tables = [folder.below(*folders) for folders in (clean, low, references)]
        cases, dropped = [], []
        for number, row in enumerate(_rows(folder.uri, place)):
            names = ast_list(row["ref_image"], f"{place}, row {number}")
            found, missing = [], []
            for table, name, folders in ((tables[0], row["gt_image"], clean), (tables[1], row["lq_image"], low),
                                         *((tables[2], name, references) for name in names)):
                path = table.get(PurePosixPath(name).stem)
                found.append(path or "")
                if path is None:
                    missing.append(f"no {name} in {folders[0]}")
            for cause in missing:
                dropped.append(Dropped(stage=STAGE, uri=storage.join(folder.uri, place), row=number, cause=cause))
            if found[0] and found[1]:
                cases.append(Listed(name=PurePosixPath(row["lq_image"]).stem, target=found[0], degraded=found[1],
                                    references=tuple(path for path in found[2:] if path)))
        return Listing(cases=tuple(cases), dropped=tuple(dropped))

    return read


def ast_list(text: str, where: str) -> list[str]:
    """A list of names as Python prints it: data, never run.

    Raises:
        DataError: something else.
    """
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(f"{where}: ref_image is no list of names: {text[:60]!r}") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise DataError(f"{where}: ref_image is no list of names: {text[:60]!r}")
    return found


def _rows(uri: str, place: str) -> list[Mapping[str, str]]:
    text = storage.read_bytes(storage.join(uri, place)).decode("utf-8", "replace")
    rows: list[Mapping[str, str]] = list(csv.DictReader(io.StringIO(text)))
    lacks = [name for name in ("gt_image", "lq_image", "ref_image") if not rows or not rows[0].get(name)]
    if lacks:
        raise DataError(f"{storage.join(uri, place)}: no column {', '.join(lacks)}, or no row; these are ReF-LDM's")
    return rows


def _celebhqref100(folder: Folder) -> Listing:
    people: dict[str, list[str]] = {}
    for name in folder.files:
        person, _, rest = name.partition("/")
        if rest and name.lower().endswith(PICTURES):
            people.setdefault(person, []).append(name)
    dropped = [Dropped(stage=STAGE, uri=storage.join(folder.uri, person), row=-1,
                       cause="one picture: a target needs a reference") for person, names in people.items()
               if len(names) < 2]
    usable = [person for person in sorted(people) if len(people[person]) > 1][:CELEBHQREF100]
    if not usable:
        raise DataError(f"{folder.uri}: no identity folders with two pictures; {LAYOUT_HINT}")
    cases = []
    for number, person in enumerate(usable):
        target, *references = sorted(people[person])[:4]
        plan = draw("iconface", rng(42 + number, "celebhqref100"), size=folder.size, overrides=STRENGTHS)
        cases.append(Listed(name=person, identity=person, target=target, references=tuple(references),
                            plan=plan.to_json()))
    return Listing(cases=tuple(cases), dropped=tuple(dropped))


def _own(folder: Folder) -> Listing:
    clean, low = folder.below("gt/"), folder.below("lq/")
    references: dict[str, list[str]] = {}
    for name in folder.files:
        if name.startswith("references/") and name.count("/") == 2 and name.lower().endswith(PICTURES):
            references.setdefault(name.split("/")[1], []).append(name)
    dropped = [Dropped(stage=STAGE, uri=storage.join(folder.uri, other[name]), row=-1, cause=f"no {name} in {lacks}/")
               for one, other, lacks in ((clean, low, "gt"), (low, clean, "lq")) for name in sorted(other.keys() - one)]
    dropped += [Dropped(stage=STAGE, uri=storage.join(folder.uri, "references", name), row=-1,
                        cause=f"no {name} in gt/") for name in sorted(references.keys() - clean.keys())]
    cases = [Listed(name=name, target=clean[name], degraded=low[name], references=tuple(references.get(name, ())))
             for name in sorted(clean.keys() & low.keys())]
    return Listing(cases=tuple(cases), dropped=tuple(dropped))


CELEBHQREF100 = 100
STRENGTHS = {"strength.value": Choice(tuple(range(4, 11)))}
_CELEBA = "CelebA-Test-Ref/celeba_test_images/"
_FFHQ = ("images1024x1024/", "images512x512/")


def _ffhq_ref(level: str) -> Published:
    read = _ref_ldm(("FFHQ-Ref/reference_mapping/test_references.csv", "reference_mapping/test_references.csv"),
                    (f"FFHQ-Ref/test_images/{level}_degrad/", f"test_images/{level}_degrad/"), _FFHQ, _FFHQ)
    return Published(name=f"ffhq-ref-{level}", cases=857, profile=f"refldm-{level}, files as published", read=read)


def _celeba_test_ref(folder: Folder) -> Listing:
    read = _ref_ldm(("CelebA-Test-Ref/test_references.csv",), _named(folder, _CELEBA, "lq"),
                    _named(folder, _CELEBA, "hq", "gt"), ("CelebA-HQ-img/", "CelebAMask-HQ/CelebA-HQ-img/"))
    return read(folder)


PUBLISHED: tuple[Published, ...] = (
    _ffhq_ref("moderate"), _ffhq_ref("severe"),
    Published(name="celeba-test-ref", cases=2533, profile="CelebA-Test, files as published",
              read=_celeba_test_ref),
    Published(name="celebhqref100", cases=CELEBHQREF100, profile="iconface, strength 4 to 10", read=_celebhqref100),
    Published(name="own", cases=0, profile="files as given", read=_own),
)


def _named(folder: Folder, below: str, *words: str) -> tuple[str, ...]:
    """The folder below another one whose name has one of the words in it, whatever its case."""
    inner = sorted({name[len(below):].partition("/")[0] for name in folder.files if name.startswith(below)
                    and "/" in name[len(below):]})
    found = [f"{below}{name}/" for name in inner if any(word in name.lower() for word in words)]
    return tuple(found) or (f"{below}*{words[0].upper()}*/",)
