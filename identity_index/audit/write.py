"""Audit pages of a workspace: written whole into a folder beside the old ones, which they then replace.

    index.html                counts, estimated purity, doubts by reason, decisions
    identities-0001.html ...  the most doubtful identities first, `per_page` each, with the commands that correct them
    dropped.html              what did not go on, by cause, with examples
    distributions.html        pose, age, quality, faces per identity, dates
    references.html           targets beside the references chosen for them
    audit.json                the pages; it marks the folder as one that may be replaced

The same data give the same bytes. Memory: the tables of identities and of light columns (some 100 bytes a face), one
page, and the faces of one identity; pictures are read as they are shown. A page of identities is at most per_page x
(FACES + OTHERS x OTHER_FACES) x MOST_BYTES x 4/3 long (15 MB at 24 a page), some 1.5 MB in practice.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.audit.distributions import COLUMNS, distributions
from anchorface.identity_index.audit.gallery import blocks, nearest_others
from anchorface.identity_index.audit.left_out import Reader, left_out
from anchorface.identity_index.audit.look import page
from anchorface.identity_index.audit.matches import matches
from anchorface.identity_index.audit.overview import overview
from anchorface.identity_index.audit.ranking import Suspect, rank
from anchorface.identity_index.audit.sheets import sheet
from anchorface.identity_index.clustering.decisions import read_decisions
from anchorface.identity_index.retrieval.mismatch import MismatchPolicy
from anchorface.identity_index.table import IdentityIndex
from anchorface.records import storage
from anchorface.records.errors import ConfigurationError, DataError, StorageError
from anchorface.records.state import read_state

MARK = "audit.json"
TARGETS, REFERENCES = 24, 3
PAGES_PER_BLOCK = 20
OTHER_PAGES = (("dropped.html", "Dropped"), ("distributions.html", "Distributions"), ("references.html", "References"))


def write_audit(
    workspace: str, out: str | None = None, *, dropped: pa.Table, read: Reader, shown: int | None = 500,
    per_page: int = 24, policy: MismatchPolicy | None = None, seed: int = 0,
    tell: Callable[[int], None] = lambda count: None,
) -> str:
    """Write the pages anew.

    Args:
        workspace: one that `group` finished.
        out: the pages' folder; `<workspace>/audit` if None. What an earlier audit wrote there is replaced.
        dropped: the rows that did not go on (records.DROPPED_SCHEMA).
        read: reads a dropped photograph for its thumbnail.
        shown: how many identities get a sheet, the most doubtful first; None for all.
        per_page: identities on a page.
        policy: of the shown references; the default policy if None.
        seed: of the shown targets and references.
        tell: called with the number of identities after each page.

    Returns:
        The uri of index.html.

    Raises:
        ConfigurationError: numbers below 1. DataError: the workspace is not grouped.
        StorageError: `out` holds something that is no audit, or cannot be written.
    """
    if per_page < 1 or (shown is not None and shown < 1):
        raise ConfigurationError(f"audit: {shown} identities, {per_page} a page; both are at least 1")
    out = (out or storage.join(workspace, "audit")).rstrip("/")
    _check(out)
    identities = storage.read_table(storage.join(workspace, "identities", "part-00000.parquet"))
    report = read_state(storage.join(workspace, "identities", "report.json"), dict[str, Any])
    suspects = rank(identities, report.get("suspicious", ()), shown)
    if not suspects:
        raise DataError(f"{workspace}: no identities; see the dropped table for what became of the photographs")
    index = IdentityIndex.open(storage.join(workspace, "index"))
    files = [(f"identities-{number:04d}.html", chunk)
             for number, chunk in enumerate(blocks(suspects, per_page), start=1)]
    temporary = f"{out}.unfinished"
    storage.delete(temporary)

    def put(name: str, title: str, lead: str, body: str, *, links: str = "", script: bool = False) -> None:
        content = page(title, lead, body, links or _links(name, files[0][0]), script=script)
        storage.write_atomic(storage.join(temporary, name), content)

    put("index.html", "Who is who, looked over",
        "A machine grouped these faces. Look at the sheets, copy the commands that correct them and run them, the last "
        "one with <code>--now</code> (or <code>anchorface curate</code> after them): what people decide outlives every "
        "later run.",
        overview(identities, report, read_decisions(workspace), len(dropped),
                 [(name, len(chunk)) for name, chunk in files]))
    for place, name, chunk, content in _pages(workspace, index, files):
        first, last = chunk[0].rank, chunk[-1].rank
        put(name, f"Identities {first} to {last} of {len(identities)}",
            "The most doubtful first; in each, the faces that fit worst first, the doubtful ones framed. Click faces "
            "to choose them; the commands follow. Fit is the cosine to the mean of the other faces.",
            content, links=_links(name, files[0][0], _around(place, [file for file, _ in files])), script=True)
        tell(len(chunk))
    put("dropped.html", "What did not go on", "Every photograph or face that was left out, by stage and cause.",
        left_out(dropped, read))
    counts = pc.list_value_length(identities["face_ids"])
    put("distributions.html", "What the faces are like", "All faces of the index.",
        distributions(index.faces(COLUMNS), counts.to_numpy().astype("int64")))
    several = identities.filter(pc.greater(counts, 1))["identity"].to_pylist()
    put("references.html", "References by mismatch",
        "On the left a face to restore, beside it the references that the default policy chooses, with the reason.",
        matches(index, several, policy or MismatchPolicy(), k=REFERENCES, shown=TARGETS, seed=seed))
    names = ["index.html", *(name for name, _ in files), *(name for name, _ in OTHER_PAGES)]
    storage.write_atomic(storage.join(temporary, MARK), json.dumps({"pages": names}, indent=1).encode())
    _swap(temporary, out)
    return storage.join(out, "index.html")


def _pages(
    workspace: str, index: IdentityIndex, files: Sequence[tuple[str, Sequence[Suspect]]],
) -> Iterator[tuple[int, str, Sequence[Suspect], str]]:
    """Place, file, identities and HTML of each page; the neighbours of many pages are looked for in one pass."""
    where = {suspect.identity: name for name, chunk in files for suspect in chunk}
    place = 0
    for block in blocks(files, PAGES_PER_BLOCK):
        nearest = nearest_others(index, [suspect.identity for _, chunk in block for suspect in chunk])
        for name, chunk in block:
            yield place, name, chunk, sheet(workspace, index, chunk, nearest, where)
            place += 1


def _links(current: str, first: str, around: str = "") -> str:
    names = [("index.html", "Overview"), (first, "Identities"), *OTHER_PAGES]
    links = [f"<b>{title}</b>" if name == current else f'<a href="{name}">{title}</a>' for name, title in names]
    return "".join(links) + around


def _around(place: int, names: Sequence[str]) -> str:
    """Links to the pages before and after."""
    before = f'<a href="{names[place - 1]}">← more doubtful</a>' if place else ""
    after = f'<a href="{names[place + 1]}">less doubtful →</a>' if place + 1 < len(names) else ""
    return before + after


def _check(out: str) -> None:
    """Refuse to replace a folder that no audit wrote."""
    if storage.exists(out) and not storage.exists(storage.join(out, MARK)) and storage.list_files(out):
        raise StorageError(f"{out}: holds files but no {MARK}, so no audit wrote it; choose another folder for --out")


def _swap(temporary: str, out: str) -> None:
    storage.delete(out)
    if storage.is_local(out):
        storage.move(temporary, out)
        return
    # Object stores have no folders to rename: file by file, the mark last.
    for uri in sorted(storage.list_files(temporary), key=lambda uri: uri.endswith(MARK)):
        storage.move(uri, storage.join(out, uri.rpartition("/")[2]))
    storage.delete(temporary)
