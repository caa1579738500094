"""The audit pages: who stands on them and in which order, nothing from outside in or out, rebuilt whole."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anchorface.faces.images import encode_jpeg, read_photo
from anchorface.identity_index import INDEX_SCHEMA, IdentityIndex
from anchorface.identity_index.audit import write_audit
from anchorface.identity_index.audit.look import SCRIPT
from anchorface.identity_index.audit.thumbnails import MOST_BYTES, crop_picture, data_uri
from anchorface.identity_index.clustering.decisions import add_decision
from anchorface.records import DataError, rng
from anchorface.records.errors import ConfigurationError, PhotoError, StorageError
from anchorface.records.nouns import DROPPED_SCHEMA, IDENTITY_SCHEMA
from anchorface.records.storage import list_files, read_bytes, write_atomic, write_table

TRAP = '<script>alert("it ran")</script>'
PEOPLE, EACH, DIMENSION = 11, 4, 16
DOUBTS = {4: ("looks like two persons; perhaps the same person as p000009", 0.55), 7: ("one face far off", 0.8),
          2: (f"one face far off {TRAP}", 0.9)}


def face_id(person: int, number: int) -> str:
    return f"{person:020d}{number:04d}-0"


def identity(person: int) -> str:
    return f"p{person:06d}"


def face(person: int, number: int) -> dict[str, Any]:
    draws = rng(1, "face", person * EACH + number)
    # The last face of each person is the farthest from the others.
    noise = (2.0 if number == EACH - 1 else 0.3) * draws.standard_normal(DIMENSION)
    vector = 3 * rng(1, "person", person).standard_normal(DIMENSION) + noise
    return {
        "face_id": face_id(person, number), "photo_id": face_id(person, number)[:24],
        "uri": f"/photos/{TRAP}/{person} {number}.jpg", "number": 0, "subject": TRAP if person == 2 else None,
        "box": [0.0] * 4, "landmarks": [0.0] * 10, "score": 1.0, "crop_size": 160, "crop_landmarks": [0.0] * 10,
        "yaw": float(draws.uniform(-50, 50)), "pitch": 3.0, "roll": 0.0, "age": 30.0 + number if person % 2 else None,
        "age_source": "given", "sharpness": 90.0, "brightness": 120.0, "light_x": 0.0, "light_y": 0.0, "smile": 1.0,
        "clipped": 0.0, "split": "train", "crop_bytes": 1,
        "embedding": (vector / np.linalg.norm(vector)).tolist(), "norm": 20.0, "embedder": "small",
        "perceptual_hash": int(draws.integers(2**64, dtype=np.uint64)), "birth_date": None, "taken": None,
        "licence": f"CC0 {TRAP}", "consent": "signed", "source": "test", "identity": identity(person),
    }


def crop(person: int, number: int) -> bytes:
    pixels = np.full((160, 160, 3), 20 * person, np.uint8)
    pixels[:, : 20 + 30 * number] = (200, 30, 30)
    return encode_jpeg(pixels)


def fill(workspace: Path, people: range = range(1, PEOPLE + 1), *, turned: bool = False) -> None:
    """A grouped workspace: the tables that `group` leaves behind; `turned` writes all rows in another order."""
    places = [(person, number) for person in people for number in range(EACH)]
    places = places[::-1] if turned else places
    rows = [face(*place) for place in places]
    pictures = pa.array([crop(*place) for place in places], pa.binary())
    crops = pa.table({"face_id": [face_id(*place) for place in places], "crop": pictures})
    table = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
    IdentityIndex.create(str(workspace / "index"), table, crops=crops.to_batches())
    identities = [{
        "identity": identity(person), "split": "val" if person == 2 else "train",
        "subject": TRAP if person == 2 else None, "face_ids": [face_id(person, n) for n in range(EACH)],
        "purity": DOUBTS.get(person, ("", 1.0 - person / 1000))[1], "doubt": DOUBTS.get(person, ("", 1.0))[0],
        "doubtful": [face_id(person, 1)] if person in DOUBTS else [],
    } for person in people]
    identities = identities[::-1] if turned else identities
    write_table(str(workspace / "identities" / "part-00000.parquet"),
                pa.Table.from_pylist(identities, schema=IDENTITY_SCHEMA))
    report = {"threshold": 0.4, "threshold_reason": "a valley", "purity": 0.9, "doubts": {"far off": 2},
              "suspicious": [identity(7)] if 7 in people else []}
    write_atomic(str(workspace / "identities" / "report.json"), json.dumps(report).encode())


def no_photo(uri: str) -> np.ndarray:
    raise PhotoError("not an image", uri)


def write(workspace: Path, out: str | None = None, **values: Any) -> Path:
    values = {"dropped": DROPPED_SCHEMA.empty_table(), "read": no_photo, "per_page": 4} | values
    return Path(write_audit(str(workspace), out, **values)).parent


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("it's a workspace")
    fill(folder)
    add_decision(str(folder), kind="label", face_ids=[face_id(2, 0)], label=TRAP, note=TRAP, made="2026-01-01T00:00:00")
    return folder


@pytest.fixture(scope="module")
def pages(workspace: Path) -> Path:
    dropped = pa.Table.from_pylist(
        [{"stage": "ingest", "uri": f"/photos/{TRAP}.jpg", "row": -1, "cause": f"odd {TRAP}", "detail": TRAP}],
        schema=DROPPED_SCHEMA)
    return write(workspace, dropped=dropped)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [values for _, values in self.found if name in (values.get("class") or "").split()]


def people_of(page: Path) -> list[str]:
    return [str(values["id"]) for values in Elements(page.read_text()).of_class("person")]


def test_every_identity_stands_on_the_sheets_once_the_most_doubtful_first(pages: Path) -> None:
    shown = [name for page in sorted(pages.glob("identities-*.html")) for name in people_of(page)]
    calm = sorted(set(range(1, PEOPLE + 1)) - set(DOUBTS), reverse=True)
    assert shown == [identity(person) for person in (7, 4, 2, *calm)]
    assert len(people_of(pages / "identities-0001.html")) == 4


def test_only_as_many_identities_as_asked_for_get_a_sheet(workspace: Path, tmp_path: Path) -> None:
    out = write(workspace, str(tmp_path / "pages"), shown=5)
    shown = [name for page in sorted(out.glob("identities-*.html")) for name in people_of(page)]
    assert shown == [identity(person) for person in (7, 4, 2, 11, 10)]


def test_doubtful_faces_are_framed_and_lead_then_the_worst_fit(pages: Path) -> None:
    page = Elements((pages / "identities-0001.html").read_text())
    boxes = [str(values["value"]) for tag, values in page.found if tag == "input" and values["type"] == "checkbox"]
    assert boxes[0] == face_id(7, 1), "the face in doubt"
    assert boxes[1] == face_id(7, EACH - 1), "the face that lies farthest from the others"
    assert sorted(boxes[:EACH]) == [face_id(7, number) for number in range(EACH)]
    assert len(page.of_class("doubtful")) == len(DOUBTS)


def test_a_sheet_shows_the_identity_named_in_the_doubt_and_the_nearest_one(pages: Path) -> None:
    text = (pages / "identities-0001.html").read_text()
    first = text[text.index(f'id="{identity(4)}"') : text.index(f'id="{identity(2)}"')]
    assert "named in the doubt" in first and "p000009" in first
    means = np.stack([np.mean([face(person, n)["embedding"] for n in range(EACH)], axis=0)
                      for person in range(1, PEOPLE + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = {
        person: max(float(means[3] @ face(person, n)["embedding"]) for n in range(EACH))
        for person in range(1, PEOPLE + 1) if person != 4
    }
    best = max(cosines, key=lambda person: cosines[person])
    assert f"nearest other, cosine {cosines[best]:.2f}" in first and identity(best) in first


def test_nothing_that_came_from_outside_becomes_markup(pages: Path) -> None:
    seen = 0
    for path in pages.glob("*.html"):
        text = path.read_text()
        page = Elements(text)
        seen += text.count("&lt;script&gt;")
        assert page.scripts == ([SCRIPT] if path.name.startswith("identities") else []), path.name
        assert not [name for _, values in page.found for name in values if name.startswith("on") or name == "style"]
    assert seen > 20, "subjects, doubts, licences, file names, causes and labels are all on the pages"


def test_no_page_asks_for_anything_from_outside_and_every_link_leads_somewhere(pages: Path) -> None:
    for path in pages.glob("*.html"):
        text = path.read_text()
        assert "url(" not in text and "@import" not in text
        for tag, values in Elements(text).found:
            assert tag not in ("link", "iframe", "object", "embed", "form", "base")
            if "src" in values:
                assert tag == "img" and str(values["src"]).startswith("data:image/")
            if "href" in values:
                file, _, place = str(values["href"]).partition("#")
                assert (pages / file).is_file() and (not place or f'id="{place}"' in (pages / file).read_text())


def test_no_script_but_the_houses_own_may_run(pages: Path) -> None:
    text = (pages / "identities-0001.html").read_text()
    allowed = base64.b64encode(hashlib.sha256(Elements(text).scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text and "default-src 'none'" in text
    for name in ("index", "dropped", "distributions", "references"):
        assert "script-src" not in (pages / f"{name}.html").read_text()


def test_the_commands_are_whole_words_of_a_shell(workspace: Path, pages: Path) -> None:
    page = Elements((pages / "identities-0001.html").read_text())
    texts = [str(values["data-text"]) for values in page.of_class("command") if values.get("data-text")]
    assert ["anchorface", "merge", str(workspace), "p000004", "p000009"] in [shlex.split(text) for text in texts]
    starts = [str(values["data-start"]) for values in page.of_class("command") if "data-start" in values]
    assert ["anchorface", "split", str(workspace), "p000007", "--faces"] in [shlex.split(text) for text in starts]
    labelled = [words for text in texts if (words := shlex.split(text))[1] == "label"]
    assert labelled and all(words[-1] == TRAP for words in labelled), "a labelled identity gives its label"


def test_the_same_data_give_the_same_bytes_in_any_order_of_rows(pages: Path, tmp_path: Path) -> None:
    fill(tmp_path / "turned", turned=True)
    again = write(tmp_path / "turned")
    place = str(tmp_path / "turned")
    for path in [*sorted(pages.glob("identities-*.html")), pages / "distributions.html", pages / "references.html"]:
        theirs = path.read_text().replace(_shown(str(pages.parent)), _shown(place))
        assert (again / path.name).read_text() == theirs, path.name


def _shown(place: str) -> str:
    return shlex.quote(place).replace("'", "&#x27;").replace('"', "&quot;")


def test_who_is_gone_is_on_no_page_any_more(tmp_path: Path) -> None:
    fill(tmp_path)
    folder = write(tmp_path)
    assert (folder / "identities-0003.html").exists()
    fill(tmp_path, range(1, 4))
    write(tmp_path)
    assert not (folder / "identities-0002.html").exists()
    assert not (tmp_path / "audit.unfinished").exists()
    for path in folder.rglob("*"):
        assert face_id(7, 0) not in path.read_text() and identity(7) not in path.read_text()


def test_a_folder_that_no_audit_wrote_is_left_alone(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("mine")
    with pytest.raises(StorageError, match="no audit wrote it"):
        write(workspace, str(tmp_path / "letters"))
    assert (tmp_path / "letters" / "dear.txt").read_text() == "mine"


def test_pages_stand_on_any_filesystem(workspace: Path) -> None:
    for _ in range(2):
        first = write_audit(str(workspace), "memory://audit-pages", dropped=DROPPED_SCHEMA.empty_table(), read=no_photo)
    assert b"Who is who" in read_bytes(first)
    assert len(list_files("memory://audit-pages")) == 6


def test_what_was_dropped_is_counted_and_shown_with_a_picture_or_the_reason(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "whole.jpg").write_bytes(encode_jpeg(np.full((900, 600, 3), 90, np.uint8)))
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    rows = [("find_faces", str(tmp_path / "whole.jpg"), "no face"), ("ingest", str(tmp_path / "half.jpg"), "truncated")]
    rows += [("group", f"/photos/{n}.jpg", f"near-duplicate of {face_id(1, n)}") for n in range(9)]
    rows += [("ingest", f"/photos/{n} again.jpg", f"duplicate of /photos/{n}.jpg") for n in range(2)]
    rows += [("ingest", "/photos/of the person who left.jpg", "erased")]
    asked = []

    def read(uri: str) -> np.ndarray:
        asked.append(uri)
        return read_photo(uri)[0]

    dropped = pa.Table.from_pylist(
        [{"stage": stage, "uri": uri, "row": -1, "cause": cause, "detail": ""} for stage, uri, cause in rows],
        schema=DROPPED_SCHEMA)
    text = (write(workspace, str(tmp_path / "pages"), dropped=dropped, read=read) / "dropped.html").read_text()
    plain = re.sub(r"<[^>]+>", " ", text)
    assert re.search(r"group\s+near-duplicate of …\s+9", plain) and re.search(r"ingest\s+erased\s+1", plain)
    assert re.search(r"ingest\s+duplicate of …\s+2", plain)
    assert text.count("data:image/jpeg") == 1 and "no picture: truncated" in text
    assert "6 of 9" in plain
    assert "the person who left" not in text and not any("who left" in uri for uri in asked)


def test_a_picture_is_never_larger_than_it_may_be() -> None:
    noise = rng(0, "noise").integers(0, 256, (700, 500, 3), dtype=np.uint8)
    content = base64.b64decode(data_uri(noise).partition(",")[2])
    assert len(content) <= MOST_BYTES
    assert read_photo(content)[0].shape == (132, 94, 3)
    assert "unreadable crop" in crop_picture(encode_jpeg(noise)[:900], "a face")
    assert "no crop" in crop_picture(None, "a face")


def test_what_cannot_be_shown_is_told(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        write(workspace, per_page=0)
    with pytest.raises(DataError, match="part-00000"):
        write(tmp_path)
    fill(tmp_path / "old", range(1, 3))
    place = str(tmp_path / "old" / "identities" / "part-00000.parquet")
    old = pa.Table.from_pylist([{"identity": "p000001", "split": "train", "subject": None, "face_ids": ["a-0"]}])
    write_table(place, old)
    with pytest.raises(DataError, match="purity"):
        write(tmp_path / "old")
