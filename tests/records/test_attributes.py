"""What is said of a face, as a row of numbers."""

import numpy as np
import pytest

from anchorface.records.attributes import ATTRIBUTE_NAMES, ATTRIBUTES, attribute_row
from anchorface.records.errors import ConfigurationError


def test_what_is_said_stands_in_its_place_between_0_and_1_and_the_rest_is_unknown() -> None:
    row = attribute_row({"age": 17, "beard": 1, "smile": 0.25})
    assert row.dtype == np.float32 and row.shape == (len(ATTRIBUTES),)
    said = {name: value for name, value in zip(ATTRIBUTE_NAMES, row, strict=True) if not np.isnan(value)}
    assert said == {"age": np.float32(0.17), "beard": 1.0, "smile": 0.25}
    assert np.isnan(attribute_row({})).all()
    assert len({*ATTRIBUTE_NAMES}) == len(ATTRIBUTES) and all(entry.low != entry.high for entry in ATTRIBUTES)


@pytest.mark.parametrize(("name", "value", "why"), [
    ("beerd", 1.0, "unknown attribute 'beerd'; known are age"), ("age", 170, "from 0 to 100"),
    ("beard", -0.1, "from 0 to 1 "), ("smile", float("nan"), "smile is nan"), ("age", float("inf"), "age is inf"),
])
def test_what_cannot_be_is_refused(name: str, value: float, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        attribute_row({name: value})
