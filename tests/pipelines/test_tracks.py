"""Films at their own rate: faces become tracks, a track is one person, and its crops do not shake."""

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
from conftest import FRAMES, RATE, film_line, passing

from anchorface.degradation.film import film_bytes
from anchorface.faces.align import apply_matrix, ffhq_matrix, warp
from anchorface.faces.images import decode_jpeg, encode_jpeg
from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.erased import Erased
from anchorface.pipelines.erasure.person import by_identity
from anchorface.pipelines.erasure.tables import without
from anchorface.pipelines.identities.tracks import SLOWEST, link_tracks, tracks_of
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.pipelines.versions.steady import steady
from anchorface.records.nouns import FACE_SCHEMA, TRACK_SCHEMA, Track
from anchorface.records.seeds import rng
from anchorface.records.storage import list_files, read_table

FACE = np.array([[40.0, 50], [72, 50], [56, 70], [44, 88], [68, 88]])
NOBODY = Erased(face_ids=frozenset(), photo_ids=frozenset(), uris=frozenset(), places=frozenset(), shared={})
SALT = b"of the tests of tracks, 32 bytes"


def faces(version: Path) -> list[dict]:
    return read_table(str(version / "faces.parquet")).to_pylist()


def film_of(row: dict) -> str:
    return row["uri"].rpartition("/")[2].partition("#t=")[0]


def seen(film: str, second: float, moved: float = 0.0, number: int = 0) -> dict:
    """A face in a film's frame, as the stage reads it."""
    points = FACE + moved
    return {"face_id": f"{film}{second:.3f}-{number}", "uri": f"/films/{film}#t={second:.3f}",
            "box": [20 + moved, 20 + moved, 90 + moved, 100 + moved], "landmarks": points.ravel().tolist(),
            "embedding": [1.0, 0.0] if not number else [0.0, 1.0]}


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema([FACE_SCHEMA.field(name) for name in rows[0]]))


def test_every_frame_of_a_film_is_there_and_in_its_track(filmed):
    rows = faces(filmed.version)
    for film in ("0-0.mp4", "3-1.mp4", "two.mp4"):
        tracks = Counter(row["track"] for row in rows if film_of(row) == film)
        assert tracks.keys() - {""} == tracks.keys() and len(tracks) == (2 if film == "two.mp4" else 1)
        for track, count in tracks.items():
            mine = sorted((row["frame"], row["uri"]) for row in rows if row["track"] == track)
            assert count == FRAMES and [frame for frame, _ in mine] == [*range(FRAMES)]
            assert [uri.partition("#t=")[2] for _, uri in mine] == [f"{n / RATE:.3f}" for n in range(FRAMES)]
    assert all((row["track"], row["frame"]) == ("", -1) for row in rows if row["uri"].endswith(".png"))


def test_a_track_is_one_person_of_one_split_and_stands_in_one_piece(filmed):
    rows = faces(filmed.version)
    for track in {row["track"] for row in rows} - {""}:
        mine = [number for number, row in enumerate(rows) if row["track"] == track]
        assert len({(rows[n]["identity"], rows[n]["split"], rows[n]["shard"]) for n in mine}) == 1
        assert mine == [*range(mine[0], mine[0] + FRAMES)]
    split = {row["identity"]: row["split"] for row in rows}
    assert {(row["identity"], row["split"]) for row in rows} == set(split.items()) and set(split.values()) == {
        "train", "val", "test"}
    # Nobody labelled the film of two: its tracks were recognised, and it is on their side of the split.
    assert {row["identity"] for row in rows if film_of(row) == "two.mp4"} == {
        row["identity"] for row in rows if film_of(row) in ("0-0.mp4", "1-0.mp4")}


def test_frames_are_numbered_by_the_films_usual_step_and_films_of_few_frames_have_no_track():
    found = [*tracks_of(table(*(seen("a", second) for second in (0.0, 0.04, 0.08, 0.2, 0.24, 0.281))))]
    assert [track.frames for track in found] == [(0, 1, 2, 5, 6, 7)]
    assert found[0].face_ids[3] == "a0.200-0" and len(found[0].landmarks) == 60
    slow = [seen("b", number * SLOWEST) for number in range(4)]
    assert not [*tracks_of(table(*slow))]
    assert not [*tracks_of(table(seen("c", 0.04)))], "a face in a single frame is no track"
    photograph = seen("d", 0.0) | {"uri": "/photographs/d.jpg"}
    assert len([*tracks_of(table(photograph, seen("a", 0.0), seen("a", 0.04)))]) == 1


def test_two_faces_side_by_side_are_two_tracks_whatever_the_order_of_the_rows():
    rows = [seen("a", n / 25, 200.0 * number, number) for n in range(4) for number in (0, 1)]
    one, other = tracks_of(table(*rows))
    assert {face[-1] for face in one.face_ids} == {"0"} and {face[-1] for face in other.face_ids} == {"1"}
    assert [*tracks_of(table(*rows[::-1]))] == [one, other]


def test_photographs_alone_make_no_stage_of_tracks(line, tmp_path):
    assert link_tracks(str(line.out), concurrency=0) == {} and not (line.out / "done" / "tracks").exists()
    assert {(row["track"], row["frame"]) for row in faces(line.version)} == {("", -1)}


def test_equal_frames_of_a_film_stay_where_equal_photographs_go(shared_data, films, embedder_name, tmp_path):
    (tmp_path / "in").mkdir()
    picture = cv2.imread(str(films / "0-2.png"))[..., ::-1]
    (tmp_path / "in" / "still.mp4").write_bytes(film_bytes(np.stack([picture] * 6), RATE))
    for number in range(2):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), np.roll(picture, number, 1)[..., ::-1])
    version = film_line(tmp_path / "in", tmp_path / "out", embedder_name)
    rows = faces(version)
    assert Counter(film_of(row) for row in rows)["still.mp4"] == 6
    assert sum(row["uri"].endswith(".png") for row in rows) == 1
    assert len({row["identity"] for row in rows if row["track"]}) == 1


def test_a_steadied_crop_is_the_one_that_the_smoothed_landmarks_cut():
    photo = cv2.GaussianBlur(rng(1, "steady").integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 3)
    points = FACE * 1.2 + 30
    shaken = points + rng(2, "steady").normal(0, 1.5, (5, 2))
    row = {"landmarks": shaken.ravel().tolist(), "track_landmarks": points.ravel().tolist(), "crop_size": 160}
    crop = encode_jpeg(warp(photo, ffhq_matrix(shaken, 160), 160), 95)
    made, placed = steady(crop, row)
    wanted = warp(photo, ffhq_matrix(points, 160), 160)[16:-16, 16:-16].astype(float)
    apart = [float(np.abs(decode_jpeg(each)[16:-16, 16:-16] - wanted).mean()) for each in (crop, made)]
    assert apart[1] < 1.5 < 3 * apart[1] < apart[0]
    assert np.allclose(placed, apply_matrix(ffhq_matrix(points, 160), points), atol=1e-4)


def test_crops_along_a_track_shake_less_than_what_was_detected(filmed):
    """Of the index's crops and the version's: how far the landmarks' places leave a straight line, in pixels."""
    rows = [row for row in faces(filmed.version) if film_of(row) == "0-0.mp4"]
    wanted = ", ".join(f"'{row['face_id']}'" for row in rows)
    before = IdentityIndex.open(str(filmed.out / "index")).faces(
        ["landmarks", "track_landmarks", "frame"], f"face_id IN ({wanted})").sort_by("frame").to_pylist()

    def bend(name: str) -> float:
        points = np.array([row[name] for row in before])
        return float(np.abs(points[2:] - 2 * points[1:-1] + points[:-2]).mean())

    assert bend("track_landmarks") < 0.7 * bend("landmarks")
    assert all(np.isfinite(row["crop_landmarks"]).all() for row in rows)


def test_who_is_erased_goes_with_all_frames(filmed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(filmed.out, out)
    rows = faces(filmed.version)
    person = next(row["identity"] for row in rows if film_of(row) == "1-0.mp4")
    gone = {row["face_id"] for row in rows if row["identity"] == person}
    other = {row["face_id"] for row in rows if film_of(row) == "two.mp4"} - gone
    erase(str(out), by_identity(str(out), [person]), salt=SALT)
    left = {row["face_id"] for row in faces(out / "dataset" / (out / "dataset" / "latest").read_text().strip())}
    assert left == {row["face_id"] for row in rows} - gone and other < left
    tracked = {face for uri in list_files(f"{out}/tracks") for row in read_table(uri).to_pylist()
               for face in row["face_ids"]}
    assert tracked and not gone & tracked
    for place in filter(Path.is_file, out.rglob("*")):
        content = place.read_bytes()
        assert not any(face.encode() in content for face in gone), place


def test_a_frame_that_is_erased_leaves_a_gap_in_its_track():
    track = Track(track="t", face_ids=("a", "b", "c"), frames=(4, 5, 6), landmarks=tuple(float(n) for n in range(30)))
    rows = pa.Table.from_pylist([track.to_row()], schema=TRACK_SCHEMA)
    (left,) = without(rows, replace(NOBODY, face_ids=frozenset("b"))).to_pylist()
    assert Track.from_row(left) == replace(
        track, face_ids=("a", "c"), frames=(4, 6), landmarks=(*track.landmarks[:10], *track.landmarks[20:]))
    assert without(rows, NOBODY) is rows
    assert not len(without(rows, replace(NOBODY, face_ids=frozenset("abc"))))


def test_a_film_whose_consent_was_withdrawn_is_in_no_version(shared_data, films, embedder_name, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("0-0.mp4", "1-0.mp4"):
        shutil.copy(films / name, tmp_path / "in" / name)
    said = [{"file": "0-0.mp4", "subject": "f0", "consent": "withdrawn"}, {"file": "1-0.mp4", "subject": "f1"}]
    (tmp_path / "in" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    version = film_line(tmp_path / "in", tmp_path / "out", embedder_name)
    assert {film_of(row) for row in faces(version)} == {"1-0.mp4"}
    causes = Counter(row["cause"] for row in dropped(str(tmp_path / "out")).to_pylist())
    assert causes["consent withdrawn"] == FRAMES


def test_films_that_are_none_or_end_early_are_rows_and_stop_nothing(shared_data, films, embedder_name, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    portrait = cv2.imread(str(films / "0-2.png"))[..., ::-1]
    shutil.copy(films / "1-0.mp4", source / "fine.mp4")
    empty = np.full((4, 128, 128, 3), 120, np.uint8)
    (source / "nobody.mp4").write_bytes(film_bytes(empty, RATE))
    once = np.repeat(passing(portrait, frames=1), 5, axis=0)
    once[[0, 1, 3, 4]] = 90
    (source / "once.mp4").write_bytes(film_bytes(once, RATE))
    (source / "odd.mp4").write_bytes(film_bytes(passing(portrait, frames=4)[:, :-1, :-1], RATE))
    described_first(film_bytes(np.concatenate([passing(portrait)] * 2), 5), source / "cut.mp4")
    whole = (source / "cut.mp4").read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "zero.mp4").write_bytes(b"")
    (source / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{films}/0-0.mp4\n")
    version = film_line(source, tmp_path / "out", embedder_name)
    rows, lost = faces(version), dropped(str(tmp_path / "out")).to_pylist()
    causes = {(film_of(row), row["cause"]): row for row in lost}
    counts = Counter(film_of(row) for row in rows)
    assert counts["fine.mp4"] == FRAMES and counts["odd.mp4"] == 4 and not counts["nobody.mp4"]
    assert 1 < counts["cut.mp4"] < 2 * FRAMES and ("cut.mp4", "truncated") in causes
    assert sum(row["cause"] == "no face found" and film_of(row) == "nobody.mp4" for row in lost) == 4
    assert counts["once.mp4"] == 1 and {row["track"] for row in rows if film_of(row) == "once.mp4"} == {""}
    assert ("list.mp4", "not a film") in causes
    assert any(film_of(row) == "zero.mp4" for row in lost)
    assert not {"list.mp4", "zero.mp4"} & counts.keys()


def described_first(film: bytes, place: Path) -> None:
    """The same film with its description before its pictures, as on the web: what is cut off is missed at the end."""
    with av.open(io.BytesIO(film)) as source, av.open(str(place), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def test_the_rate_of_films_is_a_setting(films, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(films / "two.mp4", tmp_path / "in" / "two.mp4")
    for seconds, frames in ((0.0, FRAMES), (0.4, 2), (1.0, 1)):
        assert ingest(str(tmp_path / "in"), str(tmp_path / "out"), frame_seconds=seconds, concurrency=0)[
            "photos"] == frames
