"""Pictures or films that any program wrote for a protocol: one file a case, by the case's name, in their own folder.
`restore` calls what it makes of `NAME.jpg` `NAME.jpg.png`, and that answers the case too.

In: a folder, the protocol's cases. Out: each case's picture, or the cause why it cannot be judged: `missing`, another
size, unreadable. Two files for one case are an error: which one is the answer?
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

import numpy as np

from anchorface.evaluation.protocols.layouts import PICTURES
from anchorface.faces.images import read_photo
from anchorface.records import ConfigurationError, DataError, PhotoError, kinds, storage
from anchorface.records.table_stream import sha256_of

TAKEN = ("truth", "degraded", "autoencoder")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A picture uint8 [S, S, 3], or None and the cause."""

    image: np.ndarray | None
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """A folder of outputs. files: a case's name to its file. extra: files that answer no case."""

    uri: str
    files: dict[str, str]
    extra: tuple[str, ...]

    @classmethod
    def open(cls, uri: str, names: Iterable[str], endings: tuple[str, ...] = PICTURES) -> Self:
        """Look which files answer which case.

        Args:
            names: of the cases. endings: of the files that may answer, the usual one first.

        Raises:
            DataError: two files for one case, or none for any. StorageError: no such folder.
        """
        wanted, extra = set(names), []
        files: dict[str, str] = {}
        for file in storage.list_files(uri, endings):
            name = PurePosixPath(storage.name_in(uri, file)).stem
            if name not in wanted and name.lower().endswith((*kinds.PICTURES, *kinds.FILMS)):
                name = PurePosixPath(name).stem
            if name not in wanted:
                extra.append(file)
            elif name in files:
                raise DataError(f"{uri}: two outputs for case {name!r}: {files[name]} and {file}; leave one of them")
            else:
                files[name] = file
        if not files:
            raise DataError(f"{uri}: no file here answers a case; they are to be named "
                            f"{', '.join(f'{name}{endings[0]}' for name in sorted(wanted)[:3])}, ...")
        return cls(uri=uri, files=files, extra=tuple(extra))

    def answer(self, name: str, size: int) -> Answer:
        """The picture for a case, as it is: nothing is resized."""
        file = self.files.get(name)
        if file is None:
            return Answer(image=None, cause="missing")
        try:
            image = read_photo(file)[0]
        except PhotoError as error:
            return Answer(image=None, cause=error.cause)
        if image.shape != (size, size, 3):
            return Answer(image=None, cause=f"{image.shape[1]} x {image.shape[0]} px, not {size} x {size}")
        return Answer(image=image)

    def fingerprint(self) -> list[tuple[str, str]]:
        """What the folder held: every answering file's hash."""
        return [(name, sha256_of(file)) for name, file in sorted(self.files.items())]


def named_folders(words: Iterable[str], taken: Iterable[str] = TAKEN) -> dict[str, str]:
    """NAME=FOLDER words as a table.

    Raises:
        ConfigurationError: another form, a name that is no file name, or one that is taken.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or not folder or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigurationError(f"--outputs {word}: write NAME=FOLDER, NAME of letters, digits, -, _ and .")
        if name in found or name in set(taken):
            raise ConfigurationError(f"--outputs {word}: the name {name!r} is taken")
        found[name] = folder
    return found
