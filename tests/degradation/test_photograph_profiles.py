"""The profiles of photographs draw what their tables say, at any size, and their codecs are the real ones."""

import io
from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, features
from scipy import stats

from anchorface.degradation import apply, draw, profile
from anchorface.degradation.operations.compression import avif, jpeg, webp
from anchorface.degradation.profiles.wild import WEIGHTS
from anchorface.records import ConfigurationError, DataError, rng
from tests.degradation.drawn import chance_of, seen
from tests.degradation.scene import damage_apart, picture, plans

NAMES = ("camera", "old_print", "cctv", "video_call", "messenger", "screen", "wild")
SOFT = cv2.GaussianBlur(picture(160, 150), (7, 7), 1.5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_follows_the_table(name):
    ranges, drawn = profile(name).ranges, seen(profile(name), 400)
    assert set(drawn) <= set(ranges)
    unlikely = {key: p for key, values in drawn.items() if (p := chance_of(values, ranges[key])) < 1e-5}
    assert not unlikely
    if name != "wild":
        assert set(drawn) == set(ranges), "no range that nothing is drawn from"


# Operation and parameter of the key whose number it holds as drawn.
AS_DRAWN = {
    "camera": {"vignette.field_angle": "vignette.field_angle", "banding.amplitude": "banding.amplitude",
               "exposure.stops": "exposure.stops", "white_balance.temperature": "white_balance.temperature",
               "sensor_noise.iso": "sensor.iso", "jpeg.quality": "jpeg.quality", "motion.angle": "motion.angle"},
    "old_print": {"fade.magenta": "fade.magenta", "yellow.density": "yellow.density", "halftone.lines":
                  "halftone.lines", "scratches.count": "scratches.count", "dust.count": "dust.count",
                  "fold.position": "fold.position", "stains.density": "stains.density"},
    "cctv": {"bit_depth.bits": "bits.bits", "blocks.share": "blocks.share", "sensor_noise.iso": "sensor.iso"},
    "video_call": {"sharpen.amount": "sharpen.amount", "webp.quality": "video.quality"},
    "messenger": {},
    "screen": {"moire.depth": "moire.depth", "moire.bend": "moire.bend", "glare.veil": "glare.veil"},
    "wild": {"occlude.y": "occlude.y", "moire.depth": "screen.moire.depth", "dust.count": "old_print.dust.count"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_holds_the_numbers_drawn(name):
    ranges, found = profile(name).ranges, defaultdict(list)
    for plan in plans(name, 300, 512):
        for step in plan.operations:
            for parameter, value in step.parameters:
                found[f"{step.name}.{parameter}"].append(value)
    for where, key in AS_DRAWN[name].items():
        low, high = ranges[key].low, ranges[key].high
        if where == "fade.magenta":
            high = max(high, ranges["fade.silver"].high)
        assert found[where] and low - 1e-4 <= min(found[where]) and max(found[where]) <= high + 1e-4, where


def test_lengths_scale_with_the_picture_and_angles_do_not():
    for position in range(200):
        large, small = (draw("camera", rng(0, "scaled", position), size).operations for size in (512, 256))
        for one, other in zip(large, small, strict=False):
            if one.name != other.name or one.name in ("resize", "jpeg"):
                break
            for key, value in one.values.items():
                if key in ("radius", "length", "red", "blue"):
                    assert abs(other.values[key] - value / 2) < 1e-3
                else:
                    assert other.values[key] == value


@pytest.mark.parametrize("name", NAMES)
def test_a_smaller_face_is_as_damaged(name):
    assert abs(damage_apart(name, cv2.GaussianBlur(picture(512), (9, 9), 2.0), 12)) < 2


@pytest.mark.parametrize("name", NAMES)
def test_most_pictures_are_damaged_and_still_known(name):
    image = np.full((256, 256, 3), (150, 165, 180), np.uint8)
    for place, axes, colour in (((128, 270), (110, 70), (90, 40, 50)), ((128, 130), (62, 84), (215, 165, 140)),
                                ((128, 75), (66, 45), (50, 35, 30)), ((105, 125), (11, 6), (40, 40, 45)),
                                ((151, 125), (11, 6), (40, 40, 45)), ((128, 178), (24, 8), (150, 70, 75))):
        cv2.ellipse(image, place, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    def coarse(one: np.ndarray) -> np.ndarray:
        return cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA).ravel()

    results = [apply(image, plan) for plan in plans(name, 30, 256)]
    alike = [np.corrcoef(coarse(result), coarse(image))[0, 1] for result in results]
    assert np.mean(np.array(alike) > 0.85) > 0.75
    assert np.mean([np.abs(result.astype(float) - image).mean() > 0.5 for result in results]) > 0.9


def test_a_message_only_gets_smaller_and_worse_until_it_is_shown():
    codecs = set()
    for plan in plans("messenger", 300):
        qualities = [step.values["quality"] for step in plan.operations if step.name != "resize"]
        sides = [512] + [step.values["side"] for step in plan.operations if step.name == "resize"]
        codecs |= {step.name for step in plan.operations}
        assert 1 <= len(qualities) <= 4 and qualities == sorted(qualities, reverse=True) and qualities[-1] >= 10
        assert sides[:-1] == sorted(sides[:-1], reverse=True) and sides[-1] == 512
    assert codecs == {"jpeg", "webp", "avif", "resize"}


def test_the_mix_holds_every_kind_and_can_be_asked_for_one():
    kinds = seen(profile("wild"), 500)["kind"]
    assert stats.chisquare([kinds.count(kind) for kind in WEIGHTS],
                           [500 * weight / sum(WEIGHTS.values()) for weight in WEIGHTS.values()]).pvalue > 1e-4
    only = {"kind": {"cctv": 1}, "occlude.chance": 0, "passed_on.chance": 0, "cctv.jpeg.quality": [17, 17],
            "cctv.recorder.chance": 0}
    for position in range(20):
        plan = draw("wild", rng(0, "asked", position), overrides=only)
        assert [step.values["quality"] for step in plan.operations if step.name == "jpeg"] == [17]
    for overrides, said in (({"kind": {"cctv": 1, "polaroid": 1}}, "kind.*polaroid"),
                            ({"cctv.jpeg.quality": [0, 200]}, r"cctv\.jpeg\.quality.*0 to 200"),
                            ({"screen.moire.depht": [0, 0.1]}, r"screen\.moire\.depth")):
        with pytest.raises(ConfigurationError, match=said):
            draw("wild", rng(0, "asked"), overrides=overrides)


@pytest.mark.parametrize(("name", "key", "given"), [
    ("camera", "sensor.iso", [-5, 100]), ("camera", "lens.blur", {"twirl": 1}), ("old_print", "fade.cyan", [0, 2]),
    ("old_print", "paper.surface", {"velvet": 1}), ("screen", "moire.depth", [0, 3]),
    ("cctv", "bits.bits", [0, 20]), ("messenger", "hop.codec", {"gif": 1}), ("messenger", "hop.shrink", [0.1, 1])])
def test_ranges_beyond_what_can_be_are_refused(name, key, given):
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")):
        draw(name, rng(0, "x"), overrides={key: given})


def pillow(image: np.ndarray, form: str, **options: Any) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, form, **options)
    return np.asarray(Image.open(io.BytesIO(stored.getvalue())).convert("RGB")).astype(float)


@pytest.mark.parametrize(("subsampling", "code"), [("444", 0), ("422", 1), ("420", 2)])
@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpeg_is_libjpegs(subsampling, code, quality):
    error = np.abs(jpeg(SOFT, quality=quality, subsampling=subsampling)
                   - pillow(SOFT, "JPEG", quality=quality, subsampling=code))
    assert error.mean() <= 0.5 and np.percentile(error, 99.9) <= 3


def test_jpeg_halves_chroma_unless_told_otherwise():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200

    def loss(**options: Any) -> float:
        return float(np.abs(jpeg(stripes, quality=95, **options).astype(float) - stripes).mean())

    assert loss(subsampling="444") < 5 < 50 < loss(subsampling="422")
    assert loss() == loss(subsampling="420")


@pytest.mark.parametrize("codec", [webp, avif])
def test_webp_and_avif_lose_more_at_lower_quality_and_keep_the_colours(codec):
    def psnr(quality: int) -> float:
        return 10 * np.log10(255**2 / np.mean((codec(SOFT, quality=quality).astype(float) - SOFT) ** 2))

    steps = [psnr(quality) for quality in (5, 30, 60, 95)]
    assert steps == sorted(steps) and steps[0] > 18 and steps[-1] > 33
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 230
    assert np.abs(codec(red, quality=90).astype(float) - red).mean() < 6, "channels are not swapped"


@pytest.mark.parametrize("codec", [jpeg, webp, avif])
def test_codecs_take_every_size_and_give_the_same_bytes_for_any_thread_count(codec):
    random = rng(0, "codec sizes")
    for shape in ((1, 1), (1, 7), (9, 1), (2, 3), (17, 33)):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        result = codec(image, quality=40)
        assert result.dtype == np.uint8 and result.shape == image.shape
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            results.append(codec(SOFT, quality=40))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*results)
    with pytest.raises(DataError, match=codec.__name__):
        codec(np.zeros((1, 70000, 3), np.uint8), quality=50)
    for quality in (0, 101, float("nan"), "good"):
        with pytest.raises(DataError, match=f"{codec.__name__}.quality"):
            codec(SOFT, quality=quality)
    with pytest.raises(DataError, match=r"jpeg\.subsampling.*123"):
        jpeg(SOFT, quality=50, subsampling="123")


@pytest.mark.parametrize("codec", [webp, avif])
def test_a_codec_that_pillow_lacks_is_named(codec, monkeypatch):
    monkeypatch.setattr(features, "check", lambda form: False)
    with pytest.raises(ConfigurationError, match=codec.__name__):
        codec(SOFT, quality=50)
