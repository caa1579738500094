"""The smallest sweep."""

from dataclasses import replace

import pytest

from anchorface.training.recipes import Recipe
from anchorface.training.validation_settings import ValidationSettings


@pytest.fixture(scope="session")
def swept_recipe(micro_recipe: Recipe) -> Recipe:
    """Eight steps, validated and saved at every second one."""
    return replace(micro_recipe, checkpoint_every=8, log_every=4,
                   validation=ValidationSettings(every=8, samples=4, sigmas=(0.3, 0.7), pictures=0, kept=0,
                                                 trusted=0))
