"""Guidance away from several things at once."""

import pytest
import torch
from small_films import BATCH, FRAMES, given_of, stirred_film

from anchorface.models.ip_fvr.negatives import ARTEFACTS, QUALITY, Negative, away_from
from anchorface.records import ConfigurationError
from anchorface.records.attributes import ATTRIBUTE_NAMES, attribute_row

BEARD = Negative(attributes=(("beard", 1.0), ("age", 80.0)), scale=0.5)


def test_a_negative_says_something_else_and_leaves_the_rest():
    _, _, given = given_of()
    other = BEARD.of(given)
    expected = torch.from_numpy(attribute_row({"age": 80, "beard": 1, "quality": 1})).expand(BATCH, -1)
    assert torch.equal(other.attributes.nan_to_num(-1), expected.nan_to_num(-1))
    assert other.faces is given.faces and other.references is given.references
    alone = QUALITY.of(given.with_attributes(None)).attributes
    assert not alone[:, ATTRIBUTE_NAMES.index("quality")].any() and alone.isnan().sum() == BATCH * (alone.shape[1] - 1)
    with pytest.raises(ConfigurationError, match="unknown attribute 'hat'"):
        Negative(attributes=(("hat", 1.0),))
    with pytest.raises(ConfigurationError, match="from 0 to 100"):
        Negative(attributes=(("age", 130.0),))


@torch.no_grad()
def test_several_streams_in_one_batch_are_the_formula_and_whole_clips_are_asked():
    model, (z, sigma, given) = stirred_film(), given_of()
    asked = []

    def predict(z, sigma, of, cache):
        asked.append(len(z))
        return model(z, sigma, of, cache)

    negatives = (QUALITY, Negative(attributes=ARTEFACTS.attributes, scale=0.0), BEARD)
    value, worse, bearded = (model(z, sigma, of) for of in (given, QUALITY.of(given), BEARD.of(given)))
    expected = value + (value - worse) + 0.5 * (value - bearded)
    assert not torch.allclose(expected, value, atol=1e-3)
    for most, calls in ((64, [3 * BATCH]), (2 * FRAMES + 1, [BATCH] * 3), (1, [FRAMES] * 6)):
        asked.clear()
        speed = away_from(predict, given, negatives, most=most)
        assert torch.allclose(speed(z, sigma), expected, atol=1e-4) and asked == calls
    assert torch.equal(away_from(predict, given, (), most=64)(z, sigma), value)
