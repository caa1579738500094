"""How far references are believed: the chance that they are the person's own, as two normal distributions tell it."""

import numpy as np
import pytest

from anchorface.models.trust import LEAST_SPREAD, OWN, Trust, fitted
from anchorface.records import ConfigurationError


def test_the_share_is_the_chance_of_two_normal_distributions() -> None:
    own, strangers = np.array([0.2, 0.4, 0.6, 0.4]), np.array([-0.2, 0.0, 0.2, 0.0])
    found = fitted(own, strangers)
    assert found is not None and (found.middle, found.pictures) == (pytest.approx(0.2), 4)
    assert found.auc == pytest.approx((15 + 0.5) / 16)  # one pair is equal
    variance = (own.var() + strangers.var()) / 2
    cosines = np.array([-0.1, 0.2, 0.35])
    density = [share * np.exp(-((cosines - mean) ** 2) / (2 * variance))
               for share, mean in ((OWN, 0.4), (1 - OWN, 0.0))]
    np.testing.assert_allclose(found.share(cosines), density[0] / sum(density), atol=1e-12)
    assert Trust.from_dict(found.to_dict()) == found


def test_what_tells_little_is_not_heard() -> None:
    even = np.linspace(-1, 1, 50)
    assert fitted(even, even) is None and fitted(even, even + 0.5) is None
    assert fitted(np.array([0.4]), np.array([0.0, 0.1])) is None


def test_a_few_samples_that_agree_make_no_cliff() -> None:
    found = fitted(np.array([0.3, 0.3]), np.array([0.1, 0.1]))
    assert found is not None and found.slope == pytest.approx(0.2 / LEAST_SPREAD**2)


@pytest.mark.parametrize("values", [{"middle": np.nan}, {"slope": 0.0}, {"slope": "much"}])
def test_what_is_no_trust_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="trust"):
        Trust(**{"middle": 0.1, "slope": 9.0, "pictures": 3, "auc": 0.9} | values)
