"""Faces of frames linked to tracks, and landmarks along them."""

import numpy as np
import pytest

from anchorface.faces.align import ARCFACE_TEMPLATE
from anchorface.faces.boxes import shared
from anchorface.faces.tracks import Linker, LinkSettings, Sighting, bridge, link, smooth, steadied
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.seeds import rng

ANNA, BERTA = np.eye(4)[0], np.eye(4)[1]
RATE = 25.0


def seen(frame: int, x: float, who: np.ndarray | None = None, y: float = 0.0, side: float = 100.0) -> Sighting:
    points = np.asarray(ARCFACE_TEMPLATE) * side / 112 + (x, y)
    return Sighting(frame=frame, seconds=frame / RATE, box=(x, y, x + side, y + side), landmarks=points, embedding=who)


def test_overlap_by_hand() -> None:
    np.testing.assert_allclose(shared((0, 0, 2, 2), [(1, 0, 3, 2), (0, 0, 2, 2), (5, 5, 6, 6)]), [1 / 3, 1, 0])


def test_two_faces_that_move_are_two_tracks_and_every_sighting_is_in_one() -> None:
    film = [one for t in range(10) for one in (seen(t, 5.0 * t), seen(t, 400 - 5.0 * t))]
    tracks = link(film)
    assert tracks == [tuple(range(0, 20, 2)), tuple(range(1, 20, 2))]


def test_a_missed_frame_is_bridged_and_a_long_absence_is_not() -> None:
    short, long = [0, 1, 2, 8, 9], [0, 1, 2, 30, 31]
    assert link([seen(t, 0.0) for t in short]) == [(0, 1, 2, 3, 4)]
    assert link([seen(t, 0.0) for t in long]) == [(0, 1, 2), (3, 4)]
    assert link([seen(t, 0.0) for t in long], LinkSettings(gap=2.0)) == [(0, 1, 2, 3, 4)]


def test_neighbouring_frames_are_linked_however_slow_the_film() -> None:
    assert link([seen(0, 0.0), seen(1, 0.0)], LinkSettings(gap=0.0)) == [(0, 1)]


def test_another_person_at_the_same_place_is_another_track() -> None:
    """As after a cut, where boxes overlap and embeddings do not."""
    assert link([seen(0, 0, ANNA), seen(1, 0, ANNA), seen(2, 0, BERTA), seen(3, 0, BERTA)]) == [(0, 1), (2, 3)]


def test_a_fast_face_is_followed_by_its_embedding_but_not_across_the_picture() -> None:
    assert link([seen(0, 0, ANNA), seen(1, 90, ANNA)]) == [(0, 1)]
    assert link([seen(0, 0, ANNA), seen(1, 500, ANNA)]) == [(0,), (1,)]
    assert link([seen(0, 0), seen(1, 90)]) == [(0,), (1,)]
    assert link([seen(0, 0, ANNA), seen(1, 90, ANNA, side=250.0)]) == [(0,), (1,)]


def test_faces_that_pass_each_other_keep_their_tracks_by_their_embeddings() -> None:
    film = [one for t in range(21) for one in (seen(t, 10.0 * t, ANNA), seen(t, 200 - 10.0 * t, BERTA))]
    tracks = link(film)
    assert len(tracks) == 2
    for track in tracks:
        assert len({film[place].embedding.argmax() for place in track}) == 1


def test_one_assignment_serves_all_faces_of_a_frame() -> None:
    """Greedily, the middle face would take the nearest track and leave the other without one."""
    tracks = link([seen(0, 0.0), seen(0, 60.0), seen(1, 35.0), seen(1, 95.0)], LinkSettings(overlap=0.2))
    assert tracks == [(0, 2), (1, 3)]


def test_frames_that_do_not_rise_are_refused() -> None:
    linker = Linker()
    linker.add([seen(3, 0.0)])
    for wrong in ([seen(3, 0.0)], [seen(2, 0.0)], [seen(4, 0.0), seen(5, 0.0)]):
        with pytest.raises(DataError, match="frame"):
            linker.add(wrong)
    with pytest.raises(ConfigurationError, match="overlap"):
        LinkSettings(overlap=0.0)


def test_a_linker_remembers_open_tracks_alone() -> None:
    linker = Linker()
    for t in range(500):
        linker.add([seen(t, 1000.0 * (t % 7))])
    assert len(linker._open) <= 14


def test_smoothing_keeps_steady_motion_and_takes_the_shaking_away() -> None:
    times = np.cumsum(0.03 + 0.02 * rng(0, "times").random(200))
    steady = np.asarray(ARCFACE_TEMPLATE) + np.stack([30 * times, -12 * times], axis=1)[:, None]
    np.testing.assert_allclose(smooth(times, steady), steady, atol=1e-9)
    shaking = steady + rng(0, "shaking").standard_normal(steady.shape)
    after = np.sqrt(np.mean((smooth(times, shaking) - steady) ** 2))
    assert after < 0.5
    turning = np.stack([40 * np.sin(2 * np.pi * 0.5 * times)] * 2, axis=1)[:, None] + np.asarray(ARCFACE_TEMPLATE)
    assert np.abs(smooth(times, turning) - turning)[20:-20].max() < 0.06 * 40


def test_smoothing_by_hand() -> None:
    """Three points: at the first, the weighted line through them."""
    times, values = np.array([0.0, 0.1, 0.2]), np.array([0.0, 1.0, 0.0])
    points = np.repeat(values, 10).reshape(3, 5, 2)
    for place, time in enumerate(times):
        weight = np.exp(-0.5 * ((times - time) / 0.1) ** 2)
        line = np.polyfit(times, values, 1, w=np.sqrt(weight))
        np.testing.assert_allclose(smooth(times, points, 0.1)[place], np.polyval(line, time), atol=1e-9)
    np.testing.assert_array_equal(smooth(times[:1], points[:1]), points[:1])
    np.testing.assert_array_equal(smooth(times, points, 0.0), points)
    with pytest.raises(DataError, match="rising"):
        smooth(times[::-1], points)


def test_a_head_that_is_shaken_is_followed_and_a_detector_that_shakes_is_not() -> None:
    times, calm = np.arange(100) / 25, np.tile(np.asarray(ARCFACE_TEMPLATE), (100, 1, 1))
    shaking = calm + 0.3 * rng(0, "shaking").standard_normal(calm.shape)
    shaken = shaking + np.stack([30 * np.sin(2 * np.pi * 6 * times)] * 2, axis=1)[:, None]
    np.testing.assert_allclose(steadied(times, shaking), smooth(times, shaking), atol=0.05)
    away = np.linalg.norm(steadied(times, shaken) - shaken, axis=-1).mean(axis=-1)
    assert np.median(away) < 0.1 < 10 < np.median(np.abs(smooth(times, shaken) - shaken))
    np.testing.assert_array_equal(steadied(times[:1], calm[:1]), calm[:1])


def test_a_gap_is_bridged_in_a_line() -> None:
    points = np.stack([np.zeros((5, 2)), np.full((5, 2), 3.0), np.full((5, 2), 4.0)])
    frames, filled = bridge([2, 5, 6], points)
    assert frames.tolist() == [2, 3, 4, 5, 6]
    np.testing.assert_allclose(filled[:, 0, 0], [0, 1, 2, 3, 4])
