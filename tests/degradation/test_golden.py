"""Plans of the past replay: `golden.json` holds plans of every profile and hashes of what they make of a scene.

    python -m tests.degradation.test_golden     adds profiles that are not in it; what stands there is never touched

Pixels are bound to the pinned OpenCV, simplejpeg and codecs: if one of those is raised and hashes differ, look at
the pictures, and raise `degradation.plan.VERSION` if the difference can be seen.

Hashes were recorded with AVX-512, and have come out with AVX2 alone. What may differ between processors says
`degradation.apply`; cubic resizes do not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anchorface.degradation import Plan, apply, draw, explain, profiles
from anchorface.degradation.clip import apply_clip, clip_profiles, draw_clip
from anchorface.degradation.clip_plan import ClipPlan
from anchorface.records import rng
from tests.degradation.scene import clip, picture, sha

GOLDEN = Path(__file__).with_name("golden.json")
SIZES = (128, 64, 300)
FRAMES = 5


def cases() -> list[dict[str, Any]]:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else []


def _name(case: dict[str, Any]) -> str:
    return f"{case['drawn']}-{case['position']}"


PICTURES = [case for case in cases() if "frames" not in case["plan"]]
CLIPS = [case for case in cases() if "frames" in case["plan"]]


@pytest.mark.parametrize("case", PICTURES, ids=_name)
def test_a_golden_plan_is_drawn_and_replayed_bit_for_bit(case):
    plan = Plan.from_json(json.dumps(case["plan"]))
    assert plan.digest == case["digest"]
    assert draw(case["drawn"], rng(0, "golden", case["position"]), plan.size) == plan
    assert sha(apply(picture(plan.size), plan)) == case["sha256"], explain(plan)


@pytest.mark.parametrize("case", CLIPS, ids=_name)
def test_a_golden_clip_is_drawn_and_replayed_bit_for_bit(case):
    plan = ClipPlan.from_json(json.dumps(case["plan"]))
    assert plan.digest == case["digest"]
    assert draw_clip(case["drawn"], rng(0, "golden", case["position"]), FRAMES, plan.size) == plan
    assert sha(apply_clip(clip(FRAMES, plan.size), plan)) == case["sha256"], explain(plan)


@pytest.mark.parametrize("library", ["sse42", "disabled"])
def test_golden_plans_replay_without_what_other_processors_lack(library):
    """With NumPy's optional instructions off, OpenCV's for AVX-512 too, and of Intel's library in OpenCV other code."""
    core = np._core._multiarray_umath
    optional = " ".join(name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name))
    less = {"NPY_DISABLE_CPU_FEATURES": optional, "OPENCV_IPP": library, "OPENCV_CPU_DISABLE": "AVX512-SKX"}
    program = "from tests.degradation.test_golden import replayed; replayed()"
    done = subprocess.run([sys.executable, "-c", program], cwd=GOLDEN.parents[2], env=os.environ | less, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {_name(case): case["sha256"] for case in _telling()}


def _telling() -> list[dict[str, Any]]:
    """All with a cubic resize and without a blur, whose last bits another processor may set otherwise."""
    names = {_name(case): {name for name, _ in case["plan"]["operations"]} for case in PICTURES}
    return [case for case in PICTURES if not names[_name(case)] & {"sinc", "blur"} and any(
        values.get("interpolation") == "cubic" for _, values in case["plan"]["operations"])]


def replayed() -> None:
    """Print the hash of each of these plans' pictures, as JSON."""
    plans = {_name(case): Plan.from_json(json.dumps(case["plan"])) for case in _telling()}
    print(json.dumps({name: sha(apply(picture(plan.size), plan)) for name, plan in plans.items()}))


def test_every_profile_has_golden_plans():
    assert {case["drawn"] for case in PICTURES} == set(profiles())
    assert {case["drawn"] for case in CLIPS} == set(clip_profiles())


def record() -> list[str]:
    """Add what is missing, and say what."""
    known = cases()
    there = {case["drawn"] for case in known}
    added = [name for name in (*profiles(), *clip_profiles()) if name not in there]
    for name in added:
        for position, size in enumerate(SIZES if name in profiles() else SIZES[:1]):
            numbers = rng(0, "golden", position)
            if name in profiles():
                plan = draw(name, numbers, size)
                said, made = explain(plan), apply(picture(size), plan)
            else:
                plan = draw_clip(name, numbers, FRAMES, size)
                said, made = explain(plan), apply_clip(clip(FRAMES, size), plan)
            known.append({"drawn": name, "position": position, "explained": said, "digest": plan.digest,
                          "sha256": sha(made), "plan": json.loads(plan.to_json())})
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(case) for case in known) + "\n]\n")
    return added


if __name__ == "__main__":
    print("added:", ", ".join(record()) or "nothing")
