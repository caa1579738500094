"""What people read under a picture: every operation in words and units, in the order carried out."""

import re

import pytest

from anchorface.degradation import Operation, Plan, explain, profiles
from anchorface.degradation.explain import in_words
from anchorface.degradation.operations import FUNCTIONS, WORDS
from tests.degradation.scene import plans


def test_explain_says_every_step_in_units():
    plan = Plan(profile="gfpgan", size=512, operations=(
        Operation.of("blur", sigma_x=8.25, sigma_y=3.0, angle=34.2, kernel=41), Operation.of("resize", side=64),
        Operation.of("noise", level=12.4, seed=1), Operation.of("jpeg", quality=63), Operation.of("resize", side=512),
        Operation.of("grey"), Operation.of("contrast", factor=0.7)))
    assert explain(plan) == (
        "gfpgan at 512 px: oval blur sigma 8.2 x 3.0 px at 34 degrees, shrunk 8.0 times to 64 px, "
        "noise of 12.4 levels, JPEG quality 63, enlarged 8.0 times to 512 px, grey, contrast times 0.70")


@pytest.mark.parametrize(("step", "said"), [
    (Operation.of("blur", sigma_x=2.0, sigma_y=2.0, angle=0.0, kernel=21), "round blur sigma 2.0 px"),
    (Operation.of("blur", sigma_x=2.0, sigma_y=1.0, angle=90.0, kernel=21, kind="plateau", beta=1.5),
     "oval plateau (beta 1.5) blur sigma 2.0 x 1.0 px at 90 degrees"),
    (Operation.of("resize", side=64), "shrunk 2.0 times to 64 px"),
    (Operation.of("resize", side=192, interpolation="area"), "enlarged 1.5 times to 192 px (area)"),
    (Operation.of("noise", level=7.06, seed=3, grey=1), "grey noise of 7.1 levels"),
    (Operation.of("shift_colour", red=-12.4, green=0.4, blue=19.6), "colour shifted by -12 +0 +20 levels"),
    (Operation.of("hue", turn=-20.3), "hue turned by -20 degrees"),
    (Operation.of("saturation", factor=0.333), "saturation times 0.33"),
])
def test_an_operation_in_words(step, said):
    assert in_words(step, 128) == said


def test_a_step_that_changes_no_size_is_not_told_and_an_empty_plan_does_nothing():
    plan = Plan(profile="mine", size=64, operations=(Operation.of("resize", side=64),))
    assert explain(plan) == "mine at 64 px: nothing"


def test_every_operation_has_words():
    assert set(WORDS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", profiles())
def test_every_profile_reads_as_a_sentence(name):
    for plan in plans(name, 40, 256):
        said = explain(plan)
        assert said.startswith(f"{plan.profile} at 256 px: ") and plan.profile.startswith(name.split("-")[0])
        told = said.partition(": ")[2]
        assert not re.search(r"\d\.\d{4}|[_{}\[\]=]|nan|inf\b|None|True|False|  |-0(\.0+)?(?![.\d])", told), told
        seeds = {str(step.values["seed"]) for step in plan.operations if step.values.get("seed", 0) > 99999}
        assert not any(seed in told for seed in seeds), "a seed tells a person nothing"
        assert len(said) < 1200
