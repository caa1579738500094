"""Where films to be judged stand, and their frames one after the other.

    gt/NAME.mp4              the true film (any container of records.kinds.FILMS)
    lq/NAME.mp4              the degraded one, if a row of the table is to say where restoration began
    references/NAME/*.png    other photographs of the person, if likeness to them is to be judged
    truth/NAME.npz           exact flow and landmarks, if they are known (records.film_truth)
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from anchorface.evaluation.protocols.layouts import PICTURES
from anchorface.records import DataError, PhotoError, storage
from anchorface.records.decoding.film import Frames, open_film_file
from anchorface.records.films import FilmLimits
from anchorface.records.kinds import FILMS
from anchorface.records.table_stream import sha256_of

LIMITS = FilmLimits(seconds=7200.0)


@dataclass(frozen=True, kw_only=True)
class FilmCase:
    """One film to be judged by. film, truth and references: files; truth is empty where nothing exact is known."""

    name: str
    film: str
    truth: str = ""
    references: tuple[str, ...] = ()

    def fingerprint(self) -> list[str]:
        """The hashes of its files."""
        return [sha256_of(uri) if uri else "" for uri in (self.film, self.truth, *self.references)]


def film_cases(folder: str) -> tuple[FilmCase, ...]:
    """The cases of a folder, by name.

    Raises:
        DataError: no film in gt/, or two of one name. StorageError: no such folder.
    """
    films: dict[str, str] = {}
    for file in storage.list_files(storage.join(folder, "gt"), FILMS):
        name = PurePosixPath(storage.name_in(folder, file)).stem
        if name in films:
            raise DataError(f"{folder}: two true films for case {name!r}: {films[name]} and {file}; leave one of them")
        films[name] = file
    if not films:
        raise DataError(f"{folder}: no film in gt/; endings of films: {', '.join(FILMS)}")
    cases = []
    for name, film in sorted(films.items()):
        truth, references = (storage.join(folder, *place) for place in (("truth", f"{name}.npz"), ("references", name)))
        cases.append(FilmCase(
            name=name, film=film, truth=truth if storage.exists(truth) else "",
            references=tuple(storage.list_files(references, PICTURES)) if storage.exists(references) else ()))
    return tuple(cases)


def frames(uri: str) -> Generator[tuple[float, np.ndarray], None, None]:
    """A film's frames one after the other: seconds from the first one, and uint8 [H, W, 3] RGB, upright.

    Raises:
        PhotoError: `unreadable`, `size changes`, or a cause of records.decoding.film.Frames.
    """
    with open_film_file(uri) as file:
        film = Frames(file, uri, LIMITS)
        shape: tuple[int, ...] = ()
        try:
            while (found := film.next()) is not None:
                second, picture = found
                shape = shape or picture.shape
                if picture.shape != shape:
                    raise PhotoError("size changes", uri, f"from {shape[1]} x {shape[0]} px to {picture.shape[1]} x "
                                                          f"{picture.shape[0]}")
                yield second, picture.copy()  # the memory of the original is filled again
        finally:
            film.close()
