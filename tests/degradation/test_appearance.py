"""Appearance: a pipeline of albumentations declared in a file, drawn once into a plan, the same bytes ever after."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from anchorface.degradation import ClipPlan, Operation, Plan, apply, apply_clip, draw, draw_clip, explain
from anchorface.degradation.appearance import MOST_TRANSFORMS, Appearance
from anchorface.degradation.arrow import from_arrow, to_arrow
from anchorface.degradation.operations.appearance import NUMBERS, SEEDS, VERSION, albumentations, drawn_values, library
from anchorface.records import ConfigurationError, DataError, StorageError, rng
from tests.degradation.scene import clip, picture

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "AdditiveNoise": [{"spatial_mode": "per_pixel"}],
    "CoarseDropout": [{"fill": "random", "num_holes_range": [1, 20]}, {"num_holes_range": [180, 200]},
                      {"fill": "inpaint_telea"}, {"fill": [255, 0, 12]}],
    "Illumination": [{"mode": "corner"}, {"mode": "gaussian"}],
    "MultiplicativeNoise": [{"elementwise": True, "per_channel": True}],
    "PixelDropout": [{"drop_value": None}],
    "RandomBrightnessContrast": [{"brightness_by_max": False}, {"ensure_safe_range": True}],
    "RandomSnow": [{"method": "texture"}],
    "RandomSunFlare": [{"method": "physics_based"}],
    "RandomToneCurve": [{"per_channel": True}],
    "Sharpen": [{"method": "gaussian"}],
    "Spatter": [{"mode": "mud"}],
    "XYMasking": [{"num_masks_x": [1, 3], "mask_x_length": [5, 9], "num_masks_y": 1, "mask_y_length": 4}],
}
"""Settings beside a transform's own that draw or look in another way."""


def ten() -> dict[str, Any]:
    """A pipeline of ten transforms, as the library writes it down."""
    A = library()
    return A.to_dict(A.Compose([
        A.OneOf([A.RandomGamma(p=0.5), A.RandomBrightnessContrast(p=1.0), A.CLAHE(p=0.5)], p=0.9),
        A.SomeOf([A.HueSaturationValue(p=1.0), A.RGBShift(p=0.7), A.PlanckianJitter(p=0.7)], n=2),
        A.Sequential([A.RandomShadow(p=0.5), A.GaussNoise(p=0.6)], p=0.8),
        A.CoarseDropout(p=0.5, fill="random"), A.ISONoise(p=0.5)]))


def leaf(name: str, p: float = 1.0, /, **settings: Any) -> dict[str, Any]:
    return {"__class_fullname__": name, "p": p, **settings}


def pipeline(*transforms: dict[str, Any], name: str = "Compose", **more: Any) -> dict[str, Any]:
    return {"__version__": VERSION, "transform": leaf(name, 1.0, transforms=list(transforms), **more)}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("pipelines") / "ten.json"
    place.write_text(json.dumps(ten()))
    return place


@pytest.mark.parametrize("name", sorted(NUMBERS | SEEDS))
def test_every_transform_replays_from_its_plan_to_the_bytes_of_the_library_itself(name):
    A = library()
    for settings in ({}, *SETTINGS.get(name, [])):
        image, made = picture(61, 90), getattr(A, name)(**settings, p=1.0)
        written = json.loads(json.dumps(A.to_dict(made)["transform"]))
        text = json.dumps({key: value for key, value in written.items() if key not in ("__class_fullname__", "p")})
        for seed in range(3):
            values = drawn_values(name, text, seed, image.shape[:2])
            assert len(json.dumps(values)) < 3000 and all(isinstance(value, int | str) for value in values.values())
            expected = A.Compose([getattr(A, name)(**settings, p=1.0)], seed=seed)(image=image.copy())["image"]
            before = image.copy()
            assert np.array_equal(albumentations(image, transform=name, settings=text, **values), expected)
            assert np.array_equal(image, before)


@pytest.mark.parametrize("name", sorted(NUMBERS | SEEDS))
def test_small_and_narrow_pictures_are_taken_or_refused(name):
    for shape in ((1, 1), (1, 40), (5, 7), (300, 17)):
        image = picture(*shape)
        try:
            step = Operation.of("albumentations", transform=name, settings="{}", **drawn_values(name, "{}", 1, shape))
            assert apply(image, Plan(profile="made", size=1, operations=(step,))).shape == image.shape
        except DataError:
            assert min(shape) < 16


def test_a_pipeline_of_ten_replays_to_the_same_bytes_in_other_processes_and_orders(file):
    plans = [Appearance.read(str(file)).draw(rng(5, "appearance", n), 64, 64) for n in range(24)]
    names = {step.values["transform"] for plan in plans for step in plan.operations}
    assert len(names) == 10 and len({plan.digest for plan in plans}) == 24
    made = {plan.digest: hashlib.sha256(apply(picture(64), plan).tobytes()).hexdigest() for plan in plans}
    script = ("import hashlib, json, sys\n"
              "from anchorface.degradation import Plan, apply\n"
              "from tests.degradation.scene import picture\n"
              "for line in sys.stdin:\n"
              "    plan = Plan.from_json(line)\n"
              "    print(plan.digest, hashlib.sha256(apply(picture(64), plan).tobytes()).hexdigest())\n"
              "print(*(name in sys.modules for name in ('torch', 'torchvision')))\n")
    for order, seed in ((plans[::-1], "0"), (plans[7:] + plans[:7], "99")):
        answer = subprocess.run(
            [sys.executable, "-c", script], input="".join(f"{plan.to_json()}\n" for plan in order), text=True,
            capture_output=True, check=True, cwd=Path(__file__).parents[2],
            env={key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
            | {"PYTHONHASHSEED": seed})
        *lines, imported = answer.stdout.splitlines()
        assert dict(line.split() for line in lines) == made and imported == "False False" and not answer.stderr


def test_json_yaml_and_the_librarys_own_dictionary_are_one_pipeline(file, tmp_path):
    one = Appearance.read(str(file))
    (tmp_path / "ten.yaml").write_text(yaml.safe_dump(json.loads(file.read_text())))
    assert Appearance.read(str(tmp_path / "ten.yaml")) == one == Appearance.parse(ten()) == Appearance.parse(
        json.loads(one.text))
    other = ten()
    other["transform"]["p"] = 0.5
    assert Appearance.parse(other).digest != one.digest
    assert one.draw(rng(0, "a"), 64, 64) == one.draw(rng(0, "a"), 64, 64) != one.draw(rng(1, "a"), 64, 64)


def test_groups_choose_by_the_librarys_rules():
    def shares(*transforms: dict[str, Any], **group: Any) -> list[str]:
        made = Appearance.parse(pipeline(*transforms, **group))
        return ["".join(step.values["transform"][0] for step in made.draw(rng(0, "groups", n), 16, 16).operations)
                for n in range(400)]
    inverted, posterised, sepia = leaf("InvertImg", 0.2), leaf("Posterize", 0.6), leaf("ToSepia", 0.0)
    chosen = shares(inverted, posterised, sepia, name="OneOf")
    assert set(chosen) == {"I", "P"} and 0.18 < chosen.count("I") / 400 < 0.32, "p is a weight"
    assert set(shares(inverted, posterised, name="OneOrOther")) == {"I"}
    certain = [leaf("InvertImg"), leaf("Posterize"), leaf("ToSepia")]
    assert set(shares(*certain, name="SomeOf", n=2)) == {"IP", "IT", "PT"}
    assert set(shares(*certain, name="RandomOrder", n=2)) == {"IP", "PI", "IT", "TI", "PT", "TP"}
    assert set(shares(*certain, name="SomeOf", n=2, replace=True)) == {"IP", "IT", "PT", "II", "PP", "TT"}
    alone = shares(*certain, name="Compose") + shares(*certain, name="Sequential")
    assert set(alone) == {"IPT"}
    assert 0.5 < shares(posterised).count("P") / 400 < 0.7, "a transform's own p"


def test_an_appearance_before_a_degradation_is_one_plan_that_is_kept_and_said():
    shown = Appearance.parse(pipeline(leaf("RandomGamma"), leaf("GaussNoise")))
    worse = draw("gfpgan", rng(0, "degradation"), 64)
    plan = shown.before(worse, rng(0, "appearance"), 64, 64)
    alone = shown.draw(rng(0, "appearance"), 64, 64)
    assert np.array_equal(apply(picture(64), plan), apply(apply(picture(64), alone), worse))
    assert Plan.from_json(plan.to_json()) == plan == from_arrow(to_arrow([plan]))[0]
    assert plan.profile == f"gfpgan after albumentations {shown.digest}"
    assert explain(alone).startswith(f"albumentations {shown.digest} at 64 px: albumentations' RandomGamma (gamma ")
    of_film = shown.before(draw_clip("video_call_clip", rng(0, "c"), 3, 64), rng(0, "appearance"), 64, 64)
    assert isinstance(of_film, ClipPlan) and ClipPlan.from_json(of_film.to_json()) == of_film
    assert "RandomGamma" in explain(of_film) and apply_clip(clip(3, 64), of_film).shape == (3, 64, 64, 3)


@pytest.mark.parametrize(("given", "said"), [
    (pipeline(leaf("HorizontalFlip")), "HorizontalFlip: it moves pixels.*leave it out"),
    (pipeline(leaf("Morphological")), "moves pixels"),
    (pipeline(leaf("Lambda", name="mine")), "Lambda: it runs code of its own.*no seed repeats"),
    (pipeline(leaf("FDA", reference_images=["/etc/passwd"])), "needs other pictures"),
    (pipeline(leaf("Erasing")), "write CoarseDropout"),
    (pipeline(leaf("ToFloat")), "no 8-bit"),
    (pipeline(leaf("FancyPCA")), "not sure to be the same"),
    (pipeline(leaf("os.system")), "no transform of that name"),
    (pipeline(leaf("library")), "no transform of that name"),
    (pipeline(leaf("subprocess.Popen", args=["touch", "/tmp/x"])), "no transform of that name"),
    (pipeline(leaf("albumentations.augmentations.pixel.transforms.RandomGamma")), "without a module"),
    (pipeline(leaf("RandomGama")), "no transform of that name"),
    (pipeline(leaf("RandomGamma", gamma_limit="much")), "RandomGamma does not take"),
    (pipeline(leaf("RandomGamma", gama_limit=[80, 120])), "RandomGamma does not take.*gama_limit"),
    (pipeline(leaf("MedianBlur", blur_limit=10**9)), "MedianBlur has 1000000000"),
    (pipeline(leaf("RandomGamma", 2)), "p is 2"),
    (pipeline({"__class_fullname__": "RandomGamma"}), "p is None"),
    (pipeline(leaf("ToGray", num_output_channels=1)), "ToGray makes uint8"),
    (pipeline(leaf("RandomGamma"), name="ReplayCompose"), "write Compose"),
    (pipeline(leaf("RandomGamma"), name="SelectiveChannelTransform"), "SelectiveChannelTransform"),
    (pipeline(leaf("RandomGamma"), bbox_params={"format": "coco"}), "bbox_params"),
    (pipeline(leaf("RandomGamma"), seed=3), "seed"),
    (pipeline(leaf("RandomGamma", 0.0), name="OneOf"), "none can be chosen"),
    (pipeline(leaf("RandomGamma"), name="SomeOf", n=10**6), "n is 1000000"),
    (pipeline(), "at least one"),
    (pipeline(*[leaf("NoOp")] * (MOST_TRANSFORMS + 1)), f"at most {MOST_TRANSFORMS}"),
    (pipeline(leaf("RandomGamma", gamma_limit=[float("nan"), 1])), "JSON"),
    ({"__version__": "1.3.0", "transform": leaf("RandomGamma")}, "1.3.0.*this reads 2.0.8"),
    ({"transform": leaf("RandomGamma")}, "save it with that version"),
    ([], "no pipeline"), ("RandomGamma", "no pipeline"), ({"__version__": VERSION}, "no pipeline"),
])
def test_what_cannot_be_in_a_pipeline_is_told_with_what_to_do(given, said):
    with pytest.raises(ConfigurationError, match=f"(?s)my file: .*{said}|my file: {said}"):
        Appearance.parse(given, "my file")


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.json", b"{", "neither JSON"), ("a.json", b"\xff\xfe", "neither JSON"), ("a.json", b"[" * 50_000, "neither"),
    ("a.json", b" " * 60_000, "60,000 bytes"), ("a.yaml", b"a: !!python/object/apply:os.system [ls]", "neither JSON"),
    ("a.yaml", b"a: &a [1]\nb: [*a, *a]", "neither JSON"), ("a.yml", b"[" * 40_000, "neither JSON")])
def test_a_file_that_is_none_is_told_and_nothing_in_it_runs(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{name}: {said}"):
        Appearance.read(str(tmp_path / name))
    with pytest.raises(StorageError):
        Appearance.read(str(tmp_path / "absent.json"))


@pytest.mark.parametrize("values", [
    {}, {"drawn": "{}", "seed": 1}, {"seed": -1}, {"seed": 2**40}, {"seed": "x"}, {"drawn": "{"}, {"drawn": "[]"},
    {"drawn": "{}"}, {"drawn": '{"gamma": "x"}'}, {"drawn": '{"shape": [1, 1, 3], "gamma": 1}'}, {"drawn": 7},
    {"drawn": '{"gamma": {"dtype": "object", "shape": [], "values": 1}}'}, {"drawn": '{"gamma": null}'},
    {"drawn": '{"gamma": {"dtype": "float32", "shape": [9], "values": [1]}}'},
    {"seed": 1, "transform": "HorizontalFlip"}, {"seed": 1, "transform": "Compose"},
    {"seed": 1, "settings": '{"p": 0.1}'}, {"seed": 1, "settings": "[]"},
    {"seed": 1, "settings": '{"gamma_limit": [1, 1e99]}'}, {"seed": 1, "settings": "{" * 9000},
    {"seed": 1, "settings": f'{{"x": {"[" * 950}{"]" * 950}}}'}, {"drawn": f'{{"gamma": {"[" * 950}{"]" * 950}}}'},
    {"transform": "Defocus", "drawn": '{"radius": 100000, "alias_blur": 0.1}'}])
def test_a_damaged_plan_is_refused(values):
    step = {"transform": "RandomGamma", "settings": "{}"} | values
    plan = Plan(profile="made", size=64, operations=(Operation.of("albumentations", **step),))
    with pytest.raises(DataError, match="albumentations"):
        apply(picture(64), plan)
