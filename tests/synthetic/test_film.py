"""Promises about synthetic films: exact flow, smooth paths, and folders that judge and ingest read."""

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anchorface.degradation.film import read_film
from anchorface.pipelines.sources.sidecars import normal, said_rows
from anchorface.records.film_truth import FilmTruth
from anchorface.synthetic import Frame, State, film, identity, motion, render, seed_of, write_films
from anchorface.synthetic.features import lip_edges
from anchorface.synthetic.flow import BODY, HEAD, view_of
from anchorface.synthetic.render import look_of

SIZE = 160
PLAIN = State(age=30.0, ambient=0.9, background=5)
BALD = replace(identity(5), hair_style="bald", beard_style="none", moles=())


@pytest.fixture(autouse=True)
def _one_thread():
    cv2.setNumThreads(1)


def first_of_two(head, one: State, other: State, size: int = SIZE) -> Frame:
    return next(film(head, (one, other), size))


def test_a_zoom_moves_every_point_of_the_person_straight_away_from_the_middle():
    frame = first_of_two(BALD, PLAIN, replace(PLAIN, scale=1.06))
    kind = view_of(look_of(BALD, PLAIN, SIZE)).kind.reshape(SIZE, SIZE)
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    expected = 0.06 * np.stack([x - 0.5 * SIZE, y - 0.485 * SIZE], axis=2)
    person = frame.visible & ((kind == HEAD) | (kind == BODY))
    assert person.sum() > 0.2 * SIZE * SIZE
    assert np.abs(frame.flow - expected)[person].max() < 0.06
    behind = frame.visible & ~person
    assert behind.any() and not frame.flow[behind].any()


@pytest.mark.parametrize("change", [{"yaw": 9.0}, {"pitch": -6.0, "roll": 5.0}, {"mouth_open": 0.5, "yaw": 3.0}])
def test_flow_carries_eyes_and_nose_to_where_they_are_in_the_next_frame(change):
    head, other = identity(9), replace(PLAIN, **change)
    frame = first_of_two(head, PLAIN, other)
    now, then = render(head, PLAIN, SIZE).landmarks, render(head, other, SIZE).landmarks
    for before, after in zip(now[:3], then[:3], strict=True):
        column, row = before.astype(int)
        assert frame.visible[row, column]
        # the pixel's middle is up to 0.7 px away from the landmark
        assert np.abs(frame.flow[row, column] - (after - before)).max() < 0.12


def test_lips_go_with_the_mouth_as_it_opens_and_its_inside_has_no_flow():
    before, after = replace(PLAIN, mouth_open=0.3), replace(PLAIN, mouth_open=0.7)
    frame = first_of_two(BALD, before, after, 320)
    looks = [look_of(BALD, state, 320) for state in (before, after)]
    spots = []
    for look in looks:
        x = np.array([0.3 * look.surface.mouth.half_width], np.float32)
        _, _, inner, outer = lip_edges(look.surface, x)
        lip = np.array([x[0], 0.5 * (inner[0] + outer[0])])
        hole = np.array([0.0, look.surface.mouth.centre - 0.3 * look.surface.mouth.lower_gap])
        spots.append(look.camera.project(look.surface.lifted(np.stack([lip, hole])).astype(np.float64)))
    (column, row), (hole_x, hole_y) = spots[0].astype(int)
    assert spots[1][0, 1] - spots[0][0, 1] > 3
    assert np.abs(frame.flow[row, column] - (spots[1] - spots[0])[0]).max() < 0.3
    assert not frame.visible[hole_y, hole_x]


def test_the_next_frame_brought_back_along_the_flow_is_this_frame():
    other = replace(PLAIN, yaw=4.0, pitch=2.0)
    frame = first_of_two(BALD, PLAIN, other)
    then = render(BALD, other, SIZE).image
    x, y = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    back = cv2.remap(then, x + frame.flow[..., 0], y + frame.flow[..., 1], cv2.INTER_LINEAR)
    head = frame.visible & (view_of(look_of(BALD, PLAIN, SIZE)).kind.reshape(SIZE, SIZE) == HEAD)
    moved, still = (np.abs(image.astype(float) - frame.shot.image)[head].mean() for image in (back, then))
    assert moved < 0.4 * still
    assert head.sum() > 0.8 * (frame.shot.cover > 0.99)[: SIZE // 2].sum()


def test_what_a_turning_head_hides_is_not_visible():
    frame = first_of_two(BALD, replace(PLAIN, yaw=-40.0), replace(PLAIN, yaw=0.0))
    covers = render(BALD, replace(PLAIN, yaw=0.0), SIZE).cover == 1
    hidden = (frame.shot.cover == 0) & covers
    assert hidden.sum() > 50 and not frame.visible[hidden].any()
    far_side = first_of_two(BALD, PLAIN, replace(PLAIN, yaw=60.0)).visible
    eyes = render(BALD, PLAIN, SIZE).landmarks[:2].astype(int)
    edge = (int(eyes[1][0] + 0.9 * (eyes[1] - eyes[0])[0]), eyes[1][1])  # on the right temple
    assert far_side[eyes[0][1], eyes[0][0]] and not far_side[edge[1], edge[0]]


def test_a_film_with_glasses_is_refused():
    with pytest.raises(ValueError, match="glasses"):
        next(film(BALD, (replace(PLAIN, glasses=True), PLAIN), 64))


def test_a_path_is_smooth_ages_as_asked_and_does_not_depend_on_its_length():
    for seed in range(4):
        path = motion(seed, 100, rate=25.0, age=40.0, years=10.0)
        assert path[:7] == motion(seed, 7, rate=25.0, age=40.0, years=10.0)
        assert path[-1].age - path[0].age == pytest.approx(10.0 * 99 / 25)
        for key, most in (("yaw", 3.0), ("pitch", 1.5), ("roll", 1.0), ("mouth_open", 0.35), ("smile", 0.1)):
            steps = np.abs(np.diff([getattr(state, key) for state in path]))
            assert 0 < steps.max() < most, key
        assert {state.background for state in path} == {path[0].background}
        assert max(state.mouth_open for state in path) - min(state.mouth_open for state in path) > 0.15
    with pytest.raises(ValueError, match="frames 0"):
        motion(0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's films of three frames."""
    root = tmp_path_factory.mktemp("films")
    assert write_films(root, 2, 3, seed=3, size=64, references=1) == 2
    return root


def test_a_film_holds_the_rendered_frames_bit_for_bit_and_its_truth(folder: Path):
    person = seed_of(3, 1)
    frames = list(film(identity(person), motion(seed_of(person, 0), 3), 64))
    pictures, seconds = read_film(str(folder / "gt" / "s000001-00.mkv"))
    assert (pictures == np.stack([frame.shot.image for frame in frames])).all()
    assert seconds.tolist() == [0, 0.04, 0.08]
    truth = FilmTruth.open(str(folder / "truth" / "s000001-00.npz"))
    assert (truth.landmarks == np.stack([frame.shot.landmarks for frame in frames])).all()
    for field, frame in zip(truth.flows(), frames[:2], strict=True):
        assert (np.isfinite(field).all(axis=2) == frame.visible).all()
        assert (field[frame.visible] == frame.flow[frame.visible]).all()
    assert frames[-1].flow is None


def test_one_and_two_workers_write_the_same_films(folder: Path, tmp_path: Path):
    write_films(tmp_path, 2, 3, seed=3, size=64, references=1, workers=2)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((folder / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


def test_ingest_reads_who_is_in_a_film(folder: Path):
    with (folder / "metadata.jsonl").open("rb") as file:
        rows = {row["file"]: normal(row) for _, row in said_rows("metadata.jsonl", file)}
    said, problems = rows["gt/s000000-00.mkv"]
    assert not problems and said["subject"] == "s000000" and said["consent"] == "synthetic"
    assert [sorted(face) for face in said["faces"]] == [["age", "subject"]]
    assert rows["references/s000000-00/0.jpg"][0]["faces"][0]["subject"] == "s000000"
    assert all((folder / file).exists() for file in rows)
    with av.open(str(folder / "gt" / "s000000-00.mkv")) as film_file:
        assert film_file.streams.video[0].codec_context.name == "ffv1"
    assert len(json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])) == 8


def test_films_of_nobody_are_refused(tmp_path: Path):
    for wrong in ({"identities": 0}, {"frames": 1}, {"size": 65}):
        with pytest.raises(ValueError, match="at least"):
            write_films(tmp_path, **{"identities": 1, "frames": 2, "seed": 0, "size": 64, **wrong})
