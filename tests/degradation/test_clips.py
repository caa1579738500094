"""Clips: a plan whose numbers drift is data like any plan; codecs in memory do what codecs do, and never crash."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import kstest

from anchorface.degradation import ClipPlan, Operation, Plan, apply, apply_clip, codecs, draw, draw_clip, explain
from anchorface.degradation.clip import clip_profile, clip_profiles, show, stages
from anchorface.degradation.clip_plan import ClipOperation
from anchorface.degradation.clip_ranges import ClipDraws
from anchorface.degradation.codecs import codec, decode, encode, to_picture, to_planes
from anchorface.records import ConfigurationError, DataError, rng
from tests.degradation.drawn import chance_of
from tests.degradation.scene import clip, picture, sha

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 6
RARE = 1e-4
"""Below this probability a drawn sample contradicts its distribution; about 150 are judged, with a fixed seed."""

APART = """
import sys
import cv2
from anchorface.degradation import ClipPlan, apply_clip
from tests.degradation.scene import clip, sha
cv2.setNumThreads(4)
for line in sys.stdin:
    plan = ClipPlan.from_json(line)
    print(sha(apply_clip(clip(plan.frames, 96), plan)))
"""

def drawn(name: str, position: int, frames: int = FRAMES, size: int = 96, **overrides: object) -> ClipPlan:
    return draw_clip(name, rng(0, "clips", position), frames, size, overrides)


def plan_of(*operations: ClipOperation, frames: int = FRAMES) -> ClipPlan:
    return ClipPlan(profile="mine", size=96, frames=frames, rate=25.0, operations=operations)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize("name", clip_profiles())
def test_a_clip_plan_survives_json(name):
    plans = [drawn(name, position) for position in range(20)]
    for plan in plans:
        again = ClipPlan.from_json(plan.to_json())
        assert again == plan and again.digest == plan.digest and hash(again) == hash(plan)
        assert again.to_json() == plan.to_json()
        assert drawn(name, plans.index(plan)) == plan
    assert len({plan.digest for plan in plans}) == 20


def test_another_process_gives_the_same_bytes():
    plans = [drawn(name, position) for name in clip_profiles() for position in range(2)]
    # A bad line for each decoder's concealment.
    plans += [plan_of(ClipOperation.of("codec", codec=name, quality=30, keyframes=4, lost=0.2, corrupt=0.5, seed=seed,
                                       speed="ultrafast"), frames=9) for name in codecs.available() for seed in (1, 2)]
    result = subprocess.run(
        [sys.executable, "-c", APART], input="\n".join(plan.to_json() for plan in plans), capture_output=True,
        text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    here = [sha(apply_clip(clip(plan.frames, 96), plan)) for plan in plans]
    assert here == result.stdout.split()


@pytest.mark.parametrize("name", clip_profiles())
@pytest.mark.parametrize("shape", [(1, 96, 96), (FRAMES, 97, 55), (FRAMES, 1, 1)])
def test_a_clip_of_any_size_and_length_keeps_its_shape_and_is_left_alone(name, shape):
    frames, height, width = shape
    clean = np.repeat(picture(height, width)[None], frames, axis=0)
    before = clean.copy()
    made = apply_clip(clean, drawn(name, 0, frames))
    assert made.shape == clean.shape and made.dtype == np.uint8 and not np.shares_memory(made, clean)
    assert np.array_equal(clean, before)


def test_a_plan_for_another_count_of_frames_is_refused():
    with pytest.raises(DataError, match=r"clip of 5 frames: .* 6 frames"):
        apply_clip(clip(5, 96), drawn("vfhq", 0))


@pytest.mark.parametrize(("frames", "said"), [
    (clip(6, 32).astype(np.float32), "float32"), (clip(6, 32)[..., :2], r"\[32, 32, 2\]"),
    (clip(6, 32)[0], r"\[32, 32, 3\]"), (clip(6, 32)[:0], r"\[0, 32, 32, 3\]"), ([], "list"), (None, "NoneType")])
def test_clips_of_another_kind_are_refused_and_described(frames, said):
    with pytest.raises(DataError, match=said):
        apply_clip(frames, drawn("vfhq", 0))


@pytest.mark.parametrize(("text", "said"), [
    ("no json", "not a clip plan"), ("[]", "not a clip plan"), ("{}", "version"),
    ('{"version":1,"profile":"p","size":64,"frames":1,"rate":25,"operations":[]}', "version 1"),
    ('{"version":2,"profile":"p","size":64,"rate":25,"operations":[]}', "frames"),
    ('{"version":2,"profile":"p","size":0,"frames":1,"rate":25,"operations":[]}', "size is 0"),
    ('{"version":2,"profile":"p","size":64,"frames":2.5,"rate":25,"operations":[]}', "frames is 2.5"),
    ('{"version":2,"profile":"p","size":64,"frames":2,"rate":0,"operations":[]}', "rate is 0"),
    ('{"version":2,"profile":"p","size":64,"frames":3,"rate":25,"operations":[["noise",{"level":[1,2]}]]}',
     r"noise\.level has 2 values for 3 frames"),
    ('{"version":2,"profile":"p","size":64,"frames":2,"rate":25,"operations":[["noise",{"level":[1,NaN]}]]}',
     r"noise\.level is nan"),
    ('{"version":2,"profile":"p","size":64,"frames":1,"rate":25,"operations":[["jpeg",{"quality":[[1]]}]]}',
     r"jpeg\.quality is \[1\]"),
    ('{"version":2,"profile":"p","size":64,"frames":1,"rate":25,"operations":[["jpeg"]]}', "not a clip plan")])
def test_what_is_no_clip_plan_is_refused_and_the_field_named(text, said):
    with pytest.raises(DataError, match=said):
        ClipPlan.from_json(text)


def test_a_plan_for_pictures_is_no_clip_plan_and_the_other_way_round():
    with pytest.raises(DataError, match="frames"):
        ClipPlan.from_json(draw("gfpgan", rng(0, "x")).to_json())
    with pytest.raises(DataError):
        Plan.from_json(drawn("realbasicvsr", 0).to_json())


@pytest.mark.parametrize("step", [
    ClipOperation.of("sharper"), ClipOperation.of("jpeg", loss=3), ClipOperation.of("codec", quality=3),
    ClipOperation.of("codec", codec="mpeg4", bitrate=3), ClipOperation.of("codec", codec="mpeg4"),
    ClipOperation.of("codec", codec="mpeg4", quality=3, bit_rate=3),
    ClipOperation.of("codec", codec="mpeg4", quality=52),
    ClipOperation.of("codec", codec="mpeg4", quality=9, lost=2), ClipOperation.of("codec", codec="mpeg4", bit_rate="x"),
    ClipOperation.of("codec", codec="mpeg4", quality=9, speed="fast"), ClipOperation.of("show", frame=(0,) * 5 + (6,)),
    ClipOperation.of("show", frame=0), ClipOperation.of("resize", side=48)])
def test_an_operation_that_cannot_be_carried_out_is_named(step):
    with pytest.raises(DataError, match=f"{step.name}|ends at"):
        apply_clip(clip(FRAMES, 96), plan_of(step))


def test_a_lacking_codec_is_named_and_those_there_are_listed():
    with pytest.raises(ConfigurationError, match=r"'libtheora'.*libx264.*mpeg4"):
        apply_clip(clip(FRAMES, 96), plan_of(ClipOperation.of("codec", codec="libtheora", quality=20)))
    with pytest.raises(ConfigurationError, match="libtheora"):
        drawn("vfhq", 0, **{"codec.name": {"libtheora": 1}})
    assert {"libx264", "h264", "mpeg4", "libx265", "libvpx-vp9", "libsvtav1", "mjpeg"} == set(codecs.available())


@pytest.mark.parametrize("name", codecs.available())
def test_a_codec_leaves_the_process_its_priority(name):
    """SVT-AV1 makes a process of root's a real-time one, and with it all that it begins."""
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    codecs.codec(list(clip(6, 96)), codec=name, quality=30)
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before


def test_unknown_profiles_ranges_and_lengths_are_refused_with_the_reason():
    for wrong, said in (({"name": "vfqh"}, r"vfqh.*did you mean vfhq"), ({"frames": 0}, "0 frames"),
                        ({"size": 8}, "smallest size"), ({"overrides": {"codec.qualty": [1, 2]}}, r"codec\.quality"),
                        ({"overrides": {"codec.quality": [9, 2]}}, r"codec\.quality")):
        with pytest.raises(ConfigurationError, match=said):
            draw_clip(**{"name": "vfhq", "rng": rng(0, "x"), "frames": 3, **wrong})


@pytest.mark.parametrize("name", clip_profiles())
def test_drawn_numbers_follow_the_stated_distributions(name):
    chosen, generator = clip_profile(name), rng(0, "clip ranges")
    values: dict[str, list[Any]] = defaultdict(list)
    for _ in range(1500):
        draws = ClipDraws(chosen.ranges, generator, 512, 6, 25.0)
        chosen.family(draws)
        for key, value in draws.seen:
            values[key].append(value)
    # These only hold a drift that starts at a draw of `.up` or `.down`, or at 1.
    ends = {"resize.scale", "resize2.scale"} if name == "realbasicvsr" else set()
    assert set(chosen.ranges) - set(values) == ends
    for key, drawn_values in values.items():
        assert chance_of(drawn_values, chosen.ranges[key]) > RARE, f"{key}: {chosen.ranges[key]}"


def test_numbers_drift_by_even_steps_of_the_published_size():
    steps: dict[str, list[float]] = {"jpeg": [], "noise": [], "poisson": []}
    fields = {"jpeg": ("quality", 30, 95, 3), "noise": ("level", 1, 25, 0.1), "poisson": ("scale", 0.05, 2.5, 0.005)}
    for position in range(200):
        for operation in drawn("realbasicvsr", position, 24, 512).operations:
            if operation.name in fields:
                field, low, high, step = fields[operation.name]
                values = np.array(operation.values[field])
                assert values.min() >= low
                free = (values[:-1] >= low + step) & (values[:-1] <= high - step)  # the ends hold back the others
                steps[operation.name].extend(np.diff(values)[free])
    assert np.abs(steps["jpeg"]).max() == 3 and {-3, 0, 3} <= set(steps["jpeg"])
    assert kstest(steps["noise"], "uniform", (-0.1, 0.2)).pvalue > 1e-3
    # Rounded to four decimals, so 101 values of which a one in a hundred lies at each.
    assert np.abs(steps["poisson"]).max() <= 0.0051 and abs(np.std(steps["poisson"]) - 0.01 / 12**0.5) < 1e-4
    assert min(len(found) for found in steps.values()) > 1000


def test_blur_drifts_slowly_and_the_frames_sides_with_it():
    for position in range(40):
        plan = drawn("realbasicvsr", position, 24, 512)
        for operation in plan.operations:
            values = {key: np.array(value) for key, value in operation.values.items() if isinstance(value, tuple)}
            if operation.name == "blur":
                assert np.abs(np.diff(values["sigma_x"])).max() <= 0.02 * 1.6, "a larger picture, a larger step"
            if operation.name == "resize" and values:
                assert np.abs(np.diff(values["side"])).max() <= 0.03 * 512 * 1.5 + 2 and not (values["side"] % 2).any()


def test_vfhq_has_one_kernel_a_clip_and_new_noise_in_every_frame():
    plans = [drawn("vfhq", position, 24, 512) for position in range(60)]
    levels = []
    for plan in plans:
        assert [step.name for step in plan.operations] == ["blur", "noise", "resize", "noise", "codec", "resize"]
        blur, first, _, second, *_ = plan.operations
        assert not any(isinstance(value, tuple) for value in blur.values.values())
        seeds = [*first.values["seed"], *second.values["seed"]]
        assert len(set(seeds)) == len(seeds)
        levels += [*first.values["level"], *second.values["level"]]
    assert kstest(levels, "uniform", (0, 10)).pvalue > 1e-3
    assert {plan.operations[4].values["codec"] for plan in plans} == {
        "libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1"}


def test_realbasicvsrs_codecs_are_equally_likely_and_bits_even():
    plans = [drawn("realbasicvsr", position, 1, 512) for position in range(300)]
    coded = [[step.values for step in plan.operations if step.name == "codec"] for plan in plans]
    assert all(len(passes) == 2 for passes in coded)
    names = [one["codec"] for passes in coded for one in passes]
    assert all(150 < names.count(name) < 250 for name in ("libx264", "h264", "mpeg4"))
    first = [passes[0]["bit_rate"] / 1e5 for passes in coded]
    assert 0.1 <= min(first) < 0.12 and max(first) > 0.97
    ends = [[step.name for step in plan.operations if step.name in ("codec", "resize")][-2] for plan in plans]
    assert 110 < ends.count("codec") < 190, "half of the second passes come after the last shrinking"


@pytest.mark.parametrize("name", codecs.available())
def test_quality_falls_with_bit_rate_and_with_quality(name):
    sharp = cv2.resize(picture(512), (128, 128), interpolation=cv2.INTER_AREA)
    clean = [np.roll(sharp, 2 * place, axis=1) for place in range(16)]
    wanted = [to_picture(to_planes(one), 128, 128) for one in clean]
    for asked in ("bit_rate", "quality"):
        good, bad = ({"bit_rate": (3_000_000, 30_000), "quality": (12, 45)}[asked])
        results = [np.stack(codec(clean, codec=name, speed="ultrafast", **{asked: value})) for value in (good, bad)]
        fine, coarse = (psnr(one, np.stack(wanted)) for one in results)
        assert fine > coarse + 3, asked
        assert fine > 34, asked


@pytest.mark.parametrize("name", codecs.available())
@pytest.mark.parametrize("seed", range(6))
def test_a_bad_line_never_crashes_and_spares_the_first_picture(name, seed):
    clean = list(clip(8, 70))
    whole = codec(clean, codec=name, quality=28, speed="ultrafast", keyframes=5)
    made = codec(clean, codec=name, quality=28, speed="ultrafast", keyframes=5, lost=0.4, corrupt=0.8, seed=seed)
    assert len(made) == 8 and {one.shape for one in made} == {(70, 70, 3)}
    assert not np.array_equal(np.stack(made), np.stack(whole))
    repeated = codec(clean, codec=name, quality=28, speed="ultrafast", keyframes=5, lost=0.4, corrupt=0.8, seed=seed)
    assert np.array_equal(np.stack(made), np.stack(repeated))


def test_when_all_packets_but_the_first_are_lost_the_picture_stays():
    made = codec(list(clip(8, 64)), codec="mpeg4", quality=20, lost=1.0, seed=1)
    assert all(np.array_equal(one, made[0]) for one in made)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (33, 47), (64, 66), (170, 170), (106, 90)])
@pytest.mark.parametrize("name", codecs.available())
def test_frames_of_any_size_come_back_in_place_and_colour(name, shape):
    clean = np.stack([cv2.resize(picture(256), shape[::-1], interpolation=cv2.INTER_AREA)] * 2)
    made = np.stack(codec(list(clean), codec=name, quality=4, speed="ultrafast"))
    assert made.shape == clean.shape
    direct = np.stack([to_picture(to_planes(one), *shape) for one in clean])
    assert np.abs(made.astype(int) - direct).mean() < 6, "chroma at its place, planes in order"


def test_planes_are_the_textbooks_bt601_with_mean_chroma():
    image = picture(32, 48)
    red, green, blue = np.moveaxis(image.astype(float), 2, 0)
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    u = 128 + (-37.797 * red - 74.203 * green + 112 * blue) / 255
    v = 128 + (112 * red - 93.786 * green - 18.214 * blue) / 255
    planes = to_planes(image)
    assert np.abs(planes[:32] - luma).max() <= 1
    chroma = planes.reshape(-1)[32 * 48:].reshape(2, 16, 24)
    for plane, wanted in zip(chroma, (u, v), strict=True):
        assert np.abs(plane - wanted.reshape(16, 2, 24, 2).mean((1, 3))).max() <= 1.6


def test_frames_of_other_sizes_are_brought_to_the_first_ones():
    frames = [picture(side) for side in (64, 66, 60)]
    assert {one.shape for one in codec(frames, codec="libx264", quality=20)} == {(64, 64, 3)}


def test_fewer_keyframes_fewer_bytes_and_frames_in_order():
    planes = [to_planes(one) for one in clip(12, 128)]
    sizes = {}
    for keyframes in (1, 12):
        packets = encode(planes, codecs.CODECS["libx264"], bit_rate=0, quality=28, rate=25, speed="medium",
                         keyframes=keyframes)
        sizes[keyframes] = sum(packet.size for packet in packets)
        shown = decode(packets, codecs.CODECS["libx264"], planes[0].shape, 12)
        nearest = [int(np.argmin([np.abs(one.astype(int) - other).mean() for other in planes])) for one in shown]
        assert nearest == list(range(12))
    assert sizes[12] < sizes[1] / 2


def test_frames_are_dropped_and_repeated_as_the_plan_says():
    frames = clip(4, 32)
    made = apply_clip(frames, plan_of(ClipOperation.of("show", frame=(0, 0, 3, 2)), frames=4))
    assert np.array_equal(made, frames[[0, 0, 3, 2]])
    assert show(list(frames), frame=(1, 1, 1, 1))[0] is not None
    orders = [step.values["frame"] for position in range(40)
              for step in drawn("video_call_clip", position, 24).operations if step.name == "show"]
    assert all(one[0] == 0 and list(one) == sorted(one) for one in orders), "time does not run backwards"
    assert any(len(set(one)) < 24 for one in orders)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_frame_that_a_camera_holds_keeps_its_noise_and_its_fields(interlaced):
    plan = drawn("cctv_clip", 0, 6, 96, **{"camera.every": {3: 1}, "interlace.chance": interlaced, "bits.chance": 1})
    names = [step.name for step in plan.operations]
    assert ("interlace" in names) == interlaced and {"sensor_noise", "bit_depth"} < set(names)
    before_codec = next(stage.before for stage in stages(list(clip(6, 96)), plan)
                        if stage.operation is not None and stage.operation.name == "codec")
    assert np.array_equal(before_codec[0], before_codec[2]) and not np.array_equal(before_codec[2], before_codec[3])


def test_a_camera_makes_new_noise_in_linear_light_for_every_frame():
    plans = [drawn("video_call_clip", position, 24, 512, **{"dim.chance": 1}) for position in range(20)]
    noises = [step for plan in plans for step in plan.operations if step.name == "sensor_noise"]
    assert len(noises) == 20 and all(len(set(step.values["seed"])) == 24 for step in noises)
    # As many photons fall on a smaller plan's face: fewer pixels, each with the light of several.
    small = [drawn("cctv_clip", position, 4, 128) for position in range(20)]
    large = [drawn("cctv_clip", position, 4, 512) for position in range(20)]
    for one, other in zip(small, large, strict=True):
        wells, sides = zip(*[(next(step for step in plan.operations if step.name == "sensor_noise").values["full_well"],
                              [step for step in plan.operations if step.name == "resize"][-2].values["side"])
                             for plan in (one, other)], strict=True)
        assert wells[0] * sides[0] ** 2 == pytest.approx(wells[1] * sides[1] ** 2, rel=0.1)


def test_frames_are_resized_to_within_a_level_of_pictures():
    image = picture(200, 170)
    for side in (96, 63, 200, 301):
        plan = plan_of(ClipOperation.of("resize", side=side), ClipOperation.of("resize", side=96), frames=1)
        single = Plan(profile="mine", size=96, operations=tuple(step.at(0) for step in plan.operations))
        difference = np.abs(apply_clip(image[None], plan)[0].astype(int) - apply(image, single))
        assert difference.max() <= 2 and difference.mean() <= 0.5


def test_a_frame_shown_again_is_what_it_is_alone():
    order, levels, seeds = (0, 0, 0, 3, 3, 5), (5.0, 5.0, 5.0, 5.0, 9.0, 9.0), (1, 1, 2, 2, 2, 2)
    frames = clip(FRAMES, 96)
    made = apply_clip(frames, plan_of(ClipOperation.of("show", frame=order), ClipOperation.of("grey"),
                                      ClipOperation.of("noise", level=levels, seed=seeds)))
    for place, (shown, level, seed) in enumerate(zip(order, levels, seeds, strict=True)):
        single = Plan(profile="mine", size=96, operations=(
            Operation.of("grey"), Operation.of("noise", level=level, seed=seed)))
        assert np.array_equal(made[place], apply(frames[shown], single)), place
    still = [codec([frames[place] for place in order], codec="libx264", quality=20)]
    still.append(codec([frames[place].copy() for place in order], codec="libx264", quality=20))
    assert np.array_equal(*map(np.stack, still))


def test_each_frame_is_what_a_plan_for_pictures_makes_of_it():
    levels, seeds = (1.0, 5.0, 9.0), (3, 4, 5)
    plan = plan_of(ClipOperation.of("blur", sigma_x=2.0, sigma_y=2.0, angle=0.0, kernel=13),
                   ClipOperation.of("noise", level=levels, seed=seeds), frames=3)
    frames = clip(3, 96)
    for made, frame, level, seed in zip(apply_clip(frames, plan), frames, levels, seeds, strict=True):
        single = Plan(profile="mine", size=96, operations=(
            Operation.of("blur", sigma_x=2.0, sigma_y=2.0, angle=0.0, kernel=13),
            Operation.of("noise", level=level, seed=seed)))
        assert np.array_equal(made, apply(frame, single))


def test_a_clip_plan_is_explained_in_words_and_units():
    said = explain(drawn("realbasicvsr", 0, 24, 512))
    assert said.startswith("realbasicvsr, 24 frames at 512 px and 25 a second: ") and "kbit a frame" in said
    assert "(at the end " in said
    said = explain(plan_of(ClipOperation.of("codec", codec="mpeg4", quality=30, lost=0.1, corrupt=0.2, seed=1),
                           ClipOperation.of("show", frame=(0, 0, 2, 2, 4, 5))))
    assert "mpeg4 at quality 30 of 51, 10% of packets lost, 20% of packets damaged, 2 of 6 frames repeated" in said
