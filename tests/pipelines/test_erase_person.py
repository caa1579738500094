"""A real person, erased and shown again: new photographs of that person stay out, those of others come in."""

import shutil
from pathlib import Path

import pytest

from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.find_person import shown_in
from anchorface.pipelines.erasure.person import by_identity
from anchorface.pipelines.erasure.rows import face_rows, identity_rows
from anchorface.pipelines.find_faces import FaceSettings, find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.storage import list_files, read_table

NETWORK = "mobilefacenet_y1_ms1m_112"
PEOPLE, PHOTOS = 3, 5


def find(source: Path, out: Path) -> None:
    ingest(str(source), str(out), labels=False, concurrency=0)
    find_faces(str(out), settings=FaceSettings(
        embedder=NETWORK, detector="scrfd_2.5g_kps", crop_size=112), concurrency=0)


@pytest.mark.timeout(300)
def test_a_new_photograph_of_an_erased_person_is_kept_out(shared_data, tmp_path):
    people = shared_data / "photos" / "people"
    files: dict[str, list[Path]] = {}
    for path in sorted(p for p in people.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        files.setdefault(path.parent.name, []).append(path)
    chosen = [name for name in files if len(files[name]) > PHOTOS][:PEOPLE]
    source, out = tmp_path / "source", tmp_path / "out"
    for name in chosen:
        (source / name).mkdir(parents=True)
        for path in files[name][:PHOTOS]:
            shutil.copy(path, source / name)
    find(source, out)
    group(str(out), labels=False, threshold=0.4)
    photo = files[chosen[0]][PHOTOS]
    (found, *others) = shown_in(str(out), str(photo))
    mine = next(row["face_ids"] for row in identity_rows(str(out)) if row["identity"] == found.identity)
    uris = {row["uri"] for row in face_rows(str(out)).to_pylist() if row["face_id"] in mine}
    assert others == [] and len(uris) == PHOTOS and {Path(uri).parent.name for uri in uris} == {chosen[0]}
    assert len(found.near) == PHOTOS and found.cosine > 0.5 and found.false_match_rate == 0.0

    erase(str(out), by_identity(str(out), [found.identity], kind="face"))
    for name in chosen:
        shutil.copy(files[name][PHOTOS], source / name)
    find(source, out)

    left = {tuple(Path(row["uri"]).parts[-2:]) for row in face_rows(str(out)).to_pylist()}
    assert {name for name, _ in left} == set(chosen[1:])
    assert left >= {(name, files[name][PHOTOS].name) for name in chosen[1:]}
    causes = {(row["stage"], row["cause"]) for row in dropped(str(out)).to_pylist() if chosen[0] in row["uri"]}
    assert ("find_faces", "erased") in causes and ("ingest", "erased") in causes
    stones = Tombstones.open(str(out))
    vectors = [row for uri in list_files(str(out / "faces")) for row in read_table(uri)["embedding"].to_pylist()]
    assert stones.codes == 1 + PHOTOS and not stones.has_person(vectors, NETWORK).any()
