"""A film's clips, blended while they are drawn."""

import gc
import math

import pytest
import torch

from anchorface.models.flow import shift_schedule
from anchorface.models.ip_fvr.blending import BlendingSettings, clips, sample_clips
from anchorface.models.sampler import initial_noise, sample
from anchorface.records import ConfigurationError

SHAPE = (3, 2)
SIGMAS = shift_schedule(4, 64)


def film(frames, settings, speed=None):
    """Velocity function and noise of each clip; a clip's velocity depends on the clip and on the tokens."""
    for number, seeds in enumerate(clips(range(frames), settings)):
        rate = torch.linspace(-1, 1, len(seeds))[:, None, None] + number
        yield (speed or (lambda z, sigma, rate=rate: 0.3 * z + rate)), initial_noise(seeds, SHAPE)


def drawn(frames, settings):
    return torch.cat(list(sample_clips(film(frames, settings), SIGMAS, settings)))


def test_frames_are_cut_into_clips_that_overlap_and_the_last_takes_what_is_left():
    settings = BlendingSettings(length=4, stride=3)
    assert list(clips(range(8), settings)) == [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7)]
    assert list(clips(range(7), settings)) == [(0, 1, 2, 3), (3, 4, 5, 6)]
    assert list(clips(range(2), settings)) == [(0, 1)] and list(clips(range(0), settings)) == []
    apart = BlendingSettings(length=2, stride=2)
    assert list(clips(range(5), apart)) == [(0, 1), (2, 3), (4,)]


def test_each_frame_comes_once_whatever_the_length():
    for frames in (1, 3, 4, 5, 7, 8, 13):
        for stride in (1, 2, 3, 4):
            assert drawn(frames, BlendingSettings(length=4, stride=stride)).shape == (frames, *SHAPE)
    assert list(sample_clips([], SIGMAS, BlendingSettings())) == []


def test_blending_is_what_its_formula_says():
    """Two clips of three frames that share two, two steps from noise 0; velocities are -1 and -3 everywhere."""
    settings = BlendingSettings(length=3, stride=1, beta=math.log(2))  # a = 1/2, 1/4
    noise = torch.zeros(3, 1, 1)
    speeds = [lambda z, sigma: torch.full_like(z, -1.0), lambda z, sigma: torch.full_like(z, -3.0)]
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    found = torch.cat(list(sample_clips([(speed, noise) for speed in speeds], sigmas, settings))).flatten()
    # First clip: 0.5, then 1. Second: 1.5, with 0.5 blended to 1 and 1.25; then 2.5, 2.75, 3, with 1 to 1.75, 2.3125.
    assert torch.allclose(found, torch.tensor([1.0, 1.75, 2.3125, 3.0]))
    early = BlendingSettings(length=3, stride=1, beta=math.log(2), window=(0.0, 0.5))
    found = torch.cat(list(sample_clips([(speed, noise) for speed in speeds], sigmas, early))).flatten()
    assert torch.allclose(found, torch.tensor([1.0, 2.5, 2.75, 3.0]))
    late = BlendingSettings(length=3, stride=1, beta=math.log(2), window=(0.5, 1.0))
    found = torch.cat(list(sample_clips([(speed, noise) for speed in speeds], sigmas, late))).flatten()
    assert torch.allclose(found, torch.tensor([1.0, 2.0, 2.5, 3.0]))


def test_at_a_large_beta_clips_are_independent_and_at_none_the_clip_before_decides():
    for beta, window in ((1e9, (0.0, 1.0)), (0.5, (0.0, 0.0))):
        settings = BlendingSettings(length=5, stride=3, beta=beta, window=window)
        alone = [sample(speed, noise, SIGMAS) for speed, noise in film(11, settings)]
        expected = torch.cat([*(clip[:3] for clip in alone), alone[-1][3:]])
        assert torch.equal(drawn(11, settings), expected)
    settings = BlendingSettings(length=5, stride=3, beta=0.0)
    found, alone = drawn(8, settings), [sample(speed, noise, SIGMAS) for speed, noise in film(8, settings)]
    assert torch.equal(found[:5], alone[0]) and torch.equal(found[5:], alone[1][2:])
    between = drawn(8, BlendingSettings(length=5, stride=3, beta=0.7))
    assert not torch.allclose(between[3:5], alone[0][3:], atol=1e-3)
    assert not torch.allclose(between[3:5], alone[1][:2], atol=1e-3)


def test_memory_is_flat_in_the_number_of_clips():
    settings = BlendingSettings(length=6, stride=4)

    def most(frames):
        """Numbers in tensors, the most at the last step of any clip but the first."""
        counts = []

        def speed(z, sigma):
            if sigma[0] == SIGMAS[-2]:
                counts.append(sum(thing.numel() for thing in gc.get_objects() if type(thing) is torch.Tensor))
            return 0.3 * z

        for tokens in sample_clips(film(frames, settings, speed), SIGMAS, settings):
            del tokens
        return max(counts[1:])

    assert most(12 * 4 + 2) == most(3 * 4 + 2)


def test_settings_and_clips_that_do_not_fit_are_refused():
    for wrong, why in (({"stride": 25}, "stride is 25"), ({"window": (0.6, 0.5)}, "its start comes first"),
                       ({"beta": -1.0}, "beta"), ({"window": (0.0, 1.5)}, "window"), ({"length": 0}, "length")):
        with pytest.raises(ConfigurationError, match=why):
            BlendingSettings(**wrong)
    settings = BlendingSettings(length=3, stride=2)
    noise, long = torch.zeros(2, *SHAPE), torch.zeros(4, *SHAPE)
    with pytest.raises(ConfigurationError, match="not 3 frames long"):
        list(sample_clips([(lambda z, s: z, noise), (lambda z, s: z, noise)], SIGMAS, settings))
    with pytest.raises(ConfigurationError, match="a clip of 4 frames"):
        list(sample_clips([(lambda z, s: z, long)], SIGMAS, settings))
