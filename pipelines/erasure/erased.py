"""What an erasure takes, and texts without it.

In: ids of faces and photographs, files, places of faces and labels. Out: texts that name none of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from anchorface.identity_index.tombstones import face_mark, photo_mark
from anchorface.pipelines.sources.address import film_of

UNTOLD = "erased"
IDS, MARK = re.compile(r"[0-9a-f]{24}(?:-[0-9]+)?"), re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What goes, as in selection.Selection. of_person: people go, and not only photographs. salt: of the tombstones."""

    face_ids: frozenset[str]
    photo_ids: frozenset[str]
    uris: frozenset[str]
    places: frozenset[tuple[str, int]]
    shared: Mapping[str, list[dict[str, Any]]]
    subjects: frozenset[str] = frozenset()
    of_person: bool = False
    salt: bytes = field(default=b"", repr=False)

    def untold(self, text: str) -> str:
        """A text without the ids and files of what goes, and without the person's labels."""
        text = IDS.sub(lambda found: UNTOLD if found[0] in self.face_ids or found[0] in self.photo_ids else found[0],
                       text)
        for word in self.uris if any(uri in text for uri in self.uris) else ():
            text = text.replace(word, UNTOLD)
        return self._labels.sub(UNTOLD, text) if self.subjects else text

    def marked(self, text: str) -> str:
        """A text of a run with salted marks for ids, and without the files and labels of what goes."""
        text = IDS.sub(lambda found: (
            face_mark(self.salt, found[0]) if found[0] in self.face_ids else
            photo_mark(self.salt, found[0]) if found[0] in self.photo_ids else found[0]), text)
        for word in self._files:
            text = text.replace(word, UNTOLD)
        return self._quoted.sub(UNTOLD, text) if self.subjects else text

    def has_file(self, name: str) -> bool:
        """Whether a path below some folder is that of a photograph that goes, or of a film of which a frame goes."""
        files = (film_of(uri) or uri for uri in self.uris)
        return any(file == name or file.endswith(f"/{name}") for file in files)

    @cached_property
    def _files(self) -> list[str]:
        """The files, as they are and as JSON writes them, longest first."""
        return sorted({way for uri in self.uris for way in (uri, json.dumps(uri)[1:-1])}, key=len)[::-1]

    @cached_property
    def _quoted(self) -> re.Pattern[str]:
        words = {way for each in self.subjects for way in (each, json.dumps(each)[1:-1])}
        return re.compile("|".join(rf"(?<=[\"'/]){re.escape(word)}(?=[\"'/])" for word in sorted(words, key=len)[::-1]))

    def names_person(self, uri: str) -> bool:
        """Whether a folder or file of this place is called as the person."""
        return bool(self.subjects) and bool(self.subjects & set(re.split(r"[/#\\]", uri)))

    @cached_property
    def _labels(self) -> re.Pattern[str]:
        return re.compile("|".join(rf"(?<!\w){re.escape(each)}(?!\w)" for each in sorted(self.subjects, key=len)[::-1]))
