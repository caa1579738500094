"""Reports of erasures that an older version wrote: their ids become salted marks, here and wherever else they stand.

In: `erased/<id>.json` with plain ids of faces and photographs, by which whoever has a photograph could confirm that it
was erased. Out: the same report under a salted name, with marks; its tombstone under that name; the workspace's tables,
decisions above all, without the plain ids. Stopped anywhere, it is done again from the old report, which goes last.
"""

import json
from collections.abc import Mapping
from typing import Any

from anchorface.identity_index.tombstones import FOLDER as TOMBSTONES
from anchorface.identity_index.tombstones import erasure_mark, face_mark, open_salt, photo_mark
from anchorface.pipelines.erasure.erased import MARK, Erased
from anchorface.pipelines.erasure.tables import Markers, holding
from anchorface.records.erasures import FOLDER, reports
from anchorface.records.storage import delete, exists, join, read_bytes, write_atomic

MARKS = {"faces": face_mark, "photos": photo_mark, "photos_that_stay_for_others": photo_mark}
OF_PHOTOS = ("photo", "source", "withdrawn")
"""What was asked for where photographs went and their people stayed."""


def has_plain_ids(report: Mapping[str, Any]) -> bool:
    """Whether a report names faces or photographs by anything but salted marks."""
    return any(not MARK.fullmatch(name) for key in MARKS for name in report.get(key, ()))


def mark_old_reports(out: str) -> None:
    """Write every report with plain ids anew; nothing to do is no error. The caller is at work in the workspace."""
    for report in reports(out):
        if has_plain_ids(report):
            _mark(out, report, open_salt(out))


def _mark(out: str, report: Mapping[str, Any], salt: bytes) -> None:
    faces, photos = report.get("faces", ()), report.get("photos", ())
    erased = Erased(
        face_ids=frozenset(faces), photo_ids=frozenset(photos), uris=frozenset(), places=frozenset(), shared={},
        of_person=report.get("asked_for") not in OF_PHOTOS, salt=salt,
    )
    markers = Markers(out)
    for path in holding(out, erased):
        markers.rewrite(path, erased)
    markers.sum_up()
    old, new = str(report["id"]), erasure_mark(salt, [*sorted(faces), *sorted(photos)])
    marked = {key: sorted(name if MARK.fullmatch(name) else mark(salt, name) for name in report[key])
              for key, mark in MARKS.items() if key in report}
    text = json.dumps({**report, **marked, "id": new}, sort_keys=True, indent=1)
    write_atomic(join(out, FOLDER, f"{new}.json"), text.encode())
    if exists(join(out, TOMBSTONES, f"{old}.json")):
        write_atomic(join(out, TOMBSTONES, f"{new}.json"), read_bytes(join(out, TOMBSTONES, f"{old}.json")))
        delete(join(out, TOMBSTONES, f"{old}.json"))
    delete(join(out, FOLDER, f"{old}.json"))
