"""Metrics of films against values worked out by hand."""

import numpy as np
import pytest

from anchorface.evaluation.metrics import films
from anchorface.records import rng


def turned(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane at these angles, [T, 2]."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_likeness_is_the_cosine_frame_by_frame_and_unknown_where_no_face_was_seen() -> None:
    units = np.concatenate([turned(0, 60, 90), np.full((1, 2), np.nan)])
    np.testing.assert_allclose(films.likenesses(units, turned(0, 0, 90, 0)), [1, 0.5, 1, np.nan], atol=1e-9)
    np.testing.assert_allclose(films.likenesses(units[:2], turned(60)[0]), [0.5, 1])


def test_drift_is_the_slope_of_each_clips_line_and_what_lies_off_it() -> None:
    seconds = np.arange(8) / 4
    falling = np.array([1.0, 0.9, 0.8, 0.7] * 2)
    found = films.drift(falling, seconds, films.clips(8, 4))
    assert found.slope == pytest.approx(-0.4) and found.spread == pytest.approx(0)
    # one clip of both: the line of least squares through a saw tooth
    whole = films.drift(falling, seconds, films.clips(8, 8))
    assert whole.slope == pytest.approx(np.polyfit(seconds, falling, 1)[0]) and whole.spread > 0.08
    zigzag = films.drift(np.array([0.5, 0.7, 0.7, 0.5]), seconds[:4], films.clips(4, 4))
    assert zigzag.slope == pytest.approx(0) and zigzag.spread == pytest.approx(0.1)
    # a frame without a face is left out, a clip of two frames does not count
    holed = np.array([1.0, np.nan, 0.8, 0.7, 5.0, 9.0])
    assert films.drift(holed, seconds[:6], films.clips(6, 4)).slope == pytest.approx(-0.4)
    assert np.isnan(films.drift(falling[:2], seconds[:2], films.clips(2, 2)).slope)


def test_identity_distance_and_jump_by_hand() -> None:
    units = turned(0, 60, 60, 120)  # distances 0.5, 0, 0.5
    assert films.identity_distance(units) == pytest.approx(1 / 3)
    assert films.jump(units, films.clips(4, 2)) == pytest.approx(0 - 0.5)
    assert films.jump(turned(0, 0, 60, 60), films.clips(4, 2)) == pytest.approx(0.5)
    assert np.isnan(films.jump(units, films.clips(4, 4)))
    units[3] = np.nan
    assert films.identity_distance(units) == pytest.approx(0.25)


def test_clips_cover_a_film_once() -> None:
    assert films.clips(7, 3) == (slice(0, 3), slice(3, 6), slice(6, 7))


def shifted(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture, and the same one so many pixels further right."""
    coarse = np.kron(rng(0, "film").integers(40, 200, (9, 12, 3)), np.ones((8, 8, 1)))
    wide = films.cv2.GaussianBlur(coarse.astype(np.uint8), (0, 0), 4)
    return np.ascontiguousarray(wide[:, 16:80]), np.ascontiguousarray(wide[:, 16 - pixels:80 - pixels])


def test_a_film_that_follows_the_flow_has_no_warping_error() -> None:
    frame, following = shifted(3)
    flow = np.zeros((72, 64, 2), np.float32)
    flow[..., 0] = 3
    visible = np.ones((72, 64), bool)
    visible[:, -3:] = False
    assert films.warping_error(frame, following, flow, visible) == 0
    assert films.warping_error(frame, following, 0 * flow, visible) > 1e-4
    brighter = np.clip(following.astype(int) + 51, 0, 255).astype(np.uint8)
    assert films.warping_error(frame, brighter, flow, visible) == pytest.approx(0.04, rel=1e-5)
    assert np.isnan(films.warping_error(frame, following, flow, ~np.ones_like(visible)))
    holes = np.where(visible[..., None], flow, np.nan)
    assert films.warping_error(frame, following, holes, visible) == 0


def test_estimated_flow_finds_a_shift_and_says_what_is_hidden() -> None:
    frame, following = shifted(3)
    forth, back = films.optical_flow(frame, following), films.optical_flow(following, frame)
    inner = (slice(8, -8), slice(8, -12))
    assert np.abs(forth[inner] - (3, 0)).mean() < 0.3
    seen = films.seen_again(forth, back)
    assert seen[inner].mean() > 0.95
    straight = np.zeros((20, 20, 2), np.float32)
    straight[..., 0] = 4
    told = films.seen_again(straight, -straight)
    assert told[:, :16].all() and not told[:, 16:].any()
    assert not films.seen_again(straight, straight).any()


def test_flow_difference_flicker_and_landmark_distance_by_hand() -> None:
    flow = np.zeros((4, 4, 2), np.float32)
    other = flow.copy()
    other[:2] = (3, 4)
    assert films.flow_difference(other, flow) == pytest.approx(2.5)
    still, lighter = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 110, np.uint8)
    assert films.flicker(still, lighter, still, lighter) == 0
    assert films.flicker(still, lighter, lighter, lighter) == pytest.approx(10)
    assert films.flicker(lighter, still, still, lighter) == pytest.approx(20)
    truth = np.array([[0, 0], [40, 0], [20, 20], [5, 40], [35, 40]], float)
    assert films.landmark_distance(truth + np.array([0, 2]), truth) == pytest.approx(5)
