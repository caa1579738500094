"""Audit pages of a workspace, with its dropped photographs.

In: a grouped workspace with its dropped rows. Out: `audit/` (see identity_index.audit.write).
"""

import os

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from anchorface.identity_index.audit import write_audit
from anchorface.identity_index.audit.left_out import Reader
from anchorface.pipelines.erasure.erase import writes
from anchorface.pipelines.sources.address import parse_address
from anchorface.pipelines.sources.reader import PhotoReader
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.records.errors import PhotoError
from anchorface.records.storage import filesystem
from anchorface.records.uses import note

MAX_PIXELS = 30_000_000
MAX_BYTES = 64 * 1024 * 1024
FILM_SECONDS = 120.0
REMOTE = ("http:", "https:", "ftp:")


@writes("audit")
def audit(
    out: str, pages: str | None = None, *, shown: int | None = 500, per_page: int = 24, seed: int = 0,
    progress: Progress | None = None,
) -> str:
    """Write the workspace's audit pages anew.

    Args:
        out: a workspace that `group` finished.
        pages: their folder; `<out>/audit` if None.
        shown: identities with a sheet, the most doubtful first; None for all.
        per_page: identities on a page.
        seed: of the targets and references that are shown.
        progress: where to report.

    Returns:
        The uri of the first page.

    Raises:
        DataError: the workspace is not grouped. ConfigurationError, StorageError: see `write_audit`.
    """
    if pages is not None:
        note(out, "pages", pages)
    total = stage.counts(out, "group").get("identities", 0)
    total = total if shown is None else min(total, shown)
    with (progress or Progress(quiet=True)).stage("audit", total, "identities") as told:
        return write_audit(
            out, pages, dropped=stage.dropped(out), read=photo_reader(), shown=shown, per_page=per_page, seed=seed,
            tell=told.advance)


def photo_reader() -> Reader:
    """A function that reads a dropped photograph, where that is harmless: MAX_BYTES and MAX_PIXELS at most, the first
    FILM_SECONDS of short films, nothing from the network, no links, no devices."""
    reader = PhotoReader(largest=MAX_BYTES)

    def read(uri: str) -> NDArray[np.uint8]:
        address = parse_address(uri)
        if address.file.lower().startswith(REMOTE):
            raise PhotoError("not fetched", uri)
        system, path = filesystem(address.file)
        if isinstance(system, fs.LocalFileSystem) and os.path.islink(path):
            raise PhotoError("a link", uri)
        info = system.get_file_info(path)
        if info.type != fs.FileType.File:
            raise PhotoError("no such file any more" if info.type == fs.FileType.NotFound else "no regular file", uri)
        # A film is read from its beginning, whole for its hash.
        if address.kind == "frame" and (address.second > FILM_SECONDS or info.size > MAX_BYTES):
            raise PhotoError("a late frame, or a long film", uri)
        return reader.read(uri, max_pixels=MAX_PIXELS)[0]

    return read
