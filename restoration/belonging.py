"""Which references belong to which photograph, by where they stand, and by nothing that leaves a doubt.

References stand in a folder called as the photograph, with or without its ending (`album/a/` or `album/a.jpg/` for
`album/a.jpg`), or as the photograph's folder (`album/`), or at the top, for all others. The nearest of these wins. A
folder that is called as photographs of other folders are, or as two photographs of one folder, or as a photograph and
a folder, might be meant for either: it is used for none.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from unicodedata import normalize


@dataclass(kw_only=True)
class Belonging:
    """own: each photograph's references. doubtful: photographs whose references are not clear, and why. unused:
    references that belong to no photograph, and why.
    """

    own: dict[str, tuple[str, ...]]
    doubtful: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)


def belonging(photos: Sequence[str], references: Sequence[str]) -> Belonging:
    """Say which references belong to which photographs.

    Args:
        photos, references: paths below their folders, `/` between steps.
    """
    named: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    folders: dict[str, list[str]] = {}
    for photo in photos:
        path = normalize("NFC", photo)
        for name in {path, posixpath.splitext(path)[0]}:
            named.setdefault(name, []).append(photo)
            alike.setdefault(posixpath.basename(name), []).append(photo)
        for folder in _above(path):
            folders.setdefault(folder, []).append(photo)
    given: dict[str, list[str]] = {}
    found = Belonging(own={})
    for reference in references:
        place, problem = _place(normalize("NFC", reference), named, folders, alike)
        if problem:
            found.unused[reference] = problem
            found.doubtful |= dict.fromkeys(place, problem)
        else:
            given.setdefault(place[0], []).append(reference)
    for photo in photos:
        path = normalize("NFC", photo)
        names = (path, posixpath.splitext(path)[0], *_above(path), "")
        nearest = next((name for name in names if name in given), None)
        clear = nearest is not None and photo not in found.doubtful
        found.own[photo] = tuple(given[str(nearest)]) if clear else ()
    return found


def _place(
    reference: str, named: dict[str, list[str]], folders: dict[str, list[str]], alike: dict[str, list[str]],
) -> tuple[Sequence[str], str]:
    """The name that a reference is given to, and nothing; or the photographs that it leaves in doubt, and why."""
    above = _above(reference)
    for folder in above:
        photos, below = named.get(folder, []), folders.get(folder, [])
        if (len(photos) == 1 and not below) or (below and not photos):
            return (folder,), ""
        others = [*photos, *below] or alike.get(folder, [])
        if others:
            some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            return others, f"{folder}/ might be meant for {some}: call it as one photograph with its folder and ending"
    return ((), "no photograph and no folder of photographs is called as its folder") if above else (("",), "")


def _above(path: str) -> list[str]:
    """The folders that a path stands in, the nearest first."""
    steps = path.split("/")[:-1]
    return ["/".join(steps[:number]) for number in range(len(steps), 0, -1)]
