"""Profiles of clips: RealBasicVSR, VFHQ, and two of our own. Lengths for 512 px; they scale with the frames' size,
but for a camera's own (`lens.sigma`), which are px of its sensor.

RealBasicVSR's numbers are those of its published configuration; VFHQ's order is published, its ranges are our choice,
and so are the two others. Their sensors, fields and bits are those of the pictures' profiles `cctv` and `video_call`:

    sensor.iso, .full_well, .read_noise    noise in linear light, new in every frame, as `operations.sensor_noise`: of
                                           every surveillance camera, and of a call's camera in a dim room
    interlace.offset                       px between the two fields, which drift apart as what is seen moves
    bits.bits                              per channel, of a cheap chip
"""

import math
from typing import Any

from anchorface.degradation.clip_plan import ClipOperation
from anchorface.degradation.clip_ranges import ClipDraws, ClipProfile
from anchorface.degradation.ranges import DECIMALS, REFERENCE_SIZE, Chance, Choice, LogUniform, Range, Uniform, Whole

Operations = list[ClipOperation]
HIGHEST = 3.1415
"""The highest cut-off, radians per pixel: pi, but not above it when rounded."""


def realbasicvsr(draws: ClipDraws) -> Operations:
    """Real-ESRGAN's second order with drifting numbers, and video coding after each stage.

    The last resize is to a quarter, as in the source; back to the full size after it is our choice.
    """
    operations = [drifting_blur(draws, "blur"), *drifting_stage(draws, ""), published_coding(draws, "codec")]
    if draws("blur2.chance"):
        operations.append(drifting_blur(draws, "blur2"))
    operations += drifting_stage(draws, "2")
    codec_first = draws("final.codec_first")
    if codec_first:
        operations.append(published_coding(draws, "codec2"))
    operations.append(ClipOperation.of("resize", side=draws.resized(REFERENCE_SIZE / draws("final.shrink")),
                                       interpolation=draws("final.interpolation")))
    if draws("final.sinc"):
        operations.append(ringing(draws, "final", wide=False))
    if not codec_first:
        operations.append(published_coding(draws, "codec2"))
    return [*operations, ClipOperation.of("resize", side=draws.size)]


def drifting_blur(draws: ClipDraws, step: str) -> ClipOperation:
    """One of the seven kinds of kernel; its widths, its angle and its shape drift."""
    drawn = draws(f"{step}.kind")
    if drawn == "sinc":
        return ringing(draws, step, wide=True)
    form, kind = drawn.split(" ")
    first = draws.drifting_length(f"{step}.sigma")
    second = first if form == "round" else draws.drifting_length(f"{step}.sigma")
    angle = 0.0 if form == "round" else draws.drift(f"{step}.angle")
    shape = {} if kind == "gaussian" else {"kind": kind, "beta": draws.drift(f"{step}.{kind}")}
    return ClipOperation.of("blur", sigma_x=first, sigma_y=second, angle=angle, kernel=odd_side(draws, step), **shape)


def ringing(draws: ClipDraws, step: str, *, wide: bool) -> ClipOperation:
    """The sinc filter with a drifting cut-off; wide: it may begin lower where the kernel has 13 px and more."""
    drawn = draws(f"{step}.kernel")
    cutoff = f"{step}.wide_cutoff" if wide and drawn >= 13 else f"{step}.cutoff"
    # A cut-off beyond the smaller picture's highest frequency stops there.
    scaled = tuple(min(HIGHEST, round(value / draws.grain, DECIMALS)) for value in draws.drift(cutoff))
    return ClipOperation.of("sinc", cutoff=scaled, kernel=scaled_side(draws, drawn))


def odd_side(draws: ClipDraws, step: str) -> int:
    """Side of a kernel stated for 512 px, drawn."""
    return scaled_side(draws, draws(f"{step}.kernel"))


def scaled_side(draws: ClipDraws, kernel: int) -> int:
    """Side of a kernel stated for 512 px, in px of the frames as they are."""
    return max(3, 2 * int(kernel * draws.grain / 2) + 1)


def drifting_stage(draws: ClipDraws, number: str) -> Operations:
    """Resize, noise, JPEG; leaves the side of the first frame in `draws.side`, as the codec after it makes it all."""
    way = draws(f"resize{number}.way")
    scale = draws.drift(f"resize{number}.scale", 1.0 if way == "keep" else draws(f"resize{number}.{way}"))
    before = draws.reference
    side = tuple(2 * int(draws.resized(before * one) / 2) for one in reversed(scale))[::-1]
    draws.side = side[0]  # and `reference` too is that of the first frame, as the codec makes all of them
    kind = draws(f"noise{number}.kind")
    level = "level" if kind == "noise" else "scale"
    return [
        ClipOperation.of("resize", side=side, interpolation=draws(f"resize{number}.interpolation")),
        ClipOperation.of(kind, **{level: draws.drift(f"{kind}{number}.{level}")}, seed=draws.seeds(),
                         grey=int(draws(f"noise{number}.grey"))),
        ClipOperation.of("jpeg", quality=draws.drift(f"jpeg{number}.quality")),
    ]


def published_coding(draws: ClipDraws, step: str) -> ClipOperation:
    """RealBasicVSR's stream: it tells the encoder one frame a second, so that the bit rate is bits per frame."""
    return ClipOperation.of("codec", codec=draws(f"{step}.name"), bit_rate=bits(draws, f"{step}.bit_rate"), rate=1.0)


def vfhq(draws: ClipDraws) -> Operations:
    """Blur, noise, shrink, noise, coding: one kernel for the clip, the noise's levels new in every frame."""
    is_round = draws("blur.round")
    first = draws.length("blur.sigma")
    second = first if is_round else draws.length("blur.sigma")
    return [
        ClipOperation.of("blur", sigma_x=first, sigma_y=second, angle=0.0 if is_round else draws("blur.angle"),
                         kernel=odd_side(draws, "blur")),
        fresh_noise(draws, "noise"),
        ClipOperation.of("resize", side=draws.resized(REFERENCE_SIZE / draws("resize.shrink")),
                         interpolation=draws("resize.interpolation")),
        fresh_noise(draws, "noise2"),
        ClipOperation.of("codec", codec=draws("codec.name"), quality=draws("codec.quality"), rate=draws.rate),
        ClipOperation.of("resize", side=draws.size),
    ]


def fresh_noise(draws: ClipDraws, step: str) -> ClipOperation:
    """White noise, its level and its field new in every frame."""
    return ClipOperation.of("noise", level=draws.anew(f"{step}.level"), seed=draws.seeds(),
                            grey=int(draws(f"{step}.grey")))


def video_call(draws: ClipDraws) -> Operations:
    """A small sensor in a room's light, a hurried encoder, a bad line, perhaps a server's encoder, a waiting viewer."""
    operations = [
        *camera(draws),
        ClipOperation.of("brightness", factor=draws.drift("light.factor")),
        sensor_noise(draws, 1) if draws("dim.chance") else
        ClipOperation.of("noise", level=draws.drift("noise.level"), seed=draws.seeds(), grey=0),
        *few_bits(draws),
        live_coding(draws, "line"),
    ]
    if draws("server.chance"):
        operations.append(live_coding(draws, "server"))
    return [*operations, shown(draws), ClipOperation.of("resize", side=draws.size)]


def camera(draws: ClipDraws) -> Operations:
    """What a camera makes of a scene: it adds up 2, 4 or 8 pixels a side, then its scaler goes to the size."""
    side = draws.resized(REFERENCE_SIZE / draws("camera.shrink"))
    binned = draws.size // 2 ** int(math.log2(draws.size / side))
    operations = [ClipOperation.of("resize", side=binned, interpolation="area")] if binned < draws.size else []
    return [*operations, ClipOperation.of("resize", side=side)]


def sensor_noise(draws: ClipDraws, every: int) -> ClipOperation:
    """Noise in linear light; where a plan has fewer pixels than the camera, each gathers the light of several.

    every: frames from one exposure to the next; a frame that stays is one exposure, so it keeps its noise.
    """
    binned = 1 / draws.grain**2
    return ClipOperation.of(
        "sensor_noise", iso=draws("sensor.iso"), seed=held(draws.seeds(), every),
        full_well=round(min(1e6, draws("sensor.full_well") * binned), DECIMALS),
        read_noise=round(min(1e3, draws("sensor.read_noise") * binned**0.5), DECIMALS))


def few_bits(draws: ClipDraws) -> Operations:
    """A cheap chip's few levels."""
    return [ClipOperation.of("bit_depth", bits=draws("bits.bits"))] if draws("bits.chance") else []


def held(values: tuple[Any, ...], every: int) -> tuple[Any, ...]:
    """Values per frame where only each `every`-th frame is a new one."""
    return tuple(values[place - place % every] for place in range(len(values)))


def live_coding(draws: ClipDraws, step: str) -> ClipOperation:
    """A quick encoder with a bit rate for 512 px, over a line that loses packets."""
    return ClipOperation.of(
        "codec", codec=draws(f"{step}.codec"), bit_rate=bits(draws, f"{step}.bit_rate"), rate=draws.rate,
        speed=draws(f"{step}.speed"), keyframes=draws(f"{step}.keyframes"), **damage(draws, step))


def bits(draws: ClipDraws, key: str) -> int:
    """A bit rate stated for a plan for 512 px; in others, so many bits per pixel."""
    return max(100, round(draws(key) * draws.grain**2))


def damage(draws: ClipDraws, step: str) -> dict[str, Any]:
    """Lost and damaged packets, if the line is a bad one."""
    if not draws(f"{step}.bad"):
        return {}
    return {"lost": draws(f"{step}.lost"), "corrupt": draws(f"{step}.corrupt"), "seed": draws.seed()}


def shown(draws: ClipDraws) -> ClipOperation:
    """Which frame is seen when: single frames dropped, and at times the picture stands still."""
    frame, still = [0], 0
    for place in range(1, draws.frames):
        if not still and draws("freeze.chance"):
            still = draws("freeze.length")
        kept = not still and not draws("drop.chance")
        frame.append(place if kept else frame[-1])
        still = max(still - 1, 0)
    return ClipOperation.of("show", frame=tuple(frame))


def cctv(draws: ClipDraws) -> Operations:
    """A far, dim, slow camera, its recorder, and perhaps the copy that somebody made of it."""
    step = draws("camera.every")
    operations = [
        ClipOperation.of("show", frame=held(tuple(range(draws.frames)), step)),
        *camera(draws),
        ClipOperation.of("blur", sigma_x=(sigma := draws("lens.sigma")), sigma_y=sigma, angle=0.0, kernel=7),
        ClipOperation.of("contrast", factor=draws("light.contrast")),
        ClipOperation.of("brightness", factor=draws("light.factor")),
    ]
    operations.append(sensor_noise(draws, step))
    if draws("night.chance"):
        operations.append(ClipOperation.of("grey"))
    if draws("interlace.chance"):
        operations.append(ClipOperation.of("interlace", offset=held(draws.drifting_length("interlace.offset"), step)))
    operations += [*few_bits(draws), recording(draws, "recorder", damage(draws, "recorder"))]
    if draws("copy.chance"):
        operations.append(recording(draws, "copy", {}))
    return [*operations, ClipOperation.of("resize", side=draws.size)]


def recording(draws: ClipDraws, step: str, harm: dict[str, Any]) -> ClipOperation:
    """A codec at a constant quality."""
    return ClipOperation.of(
        "codec", codec=draws(f"{step}.codec"), quality=draws(f"{step}.quality"), rate=draws.rate,
        speed=draws(f"{step}.speed"), keyframes=draws(f"{step}.keyframes"), **harm)


def drifting_ranges(number: str, *, sigma: float, up: float, down: float, resize_step: float, ways: tuple[float, ...],
                    level: float, scale: float) -> dict[str, Range]:
    """One of RealBasicVSR's stages; its step sizes are those of every frame."""
    blur = f"blur{number}"
    return {
        f"{blur}.kind": Choice(
            ("round gaussian", "oval gaussian", "round generalised", "oval generalised", "round plateau",
             "oval plateau", "sinc"), (0.405, 0.225, 0.108, 0.027, 0.108, 0.027, 0.1)),
        f"{blur}.kernel": Whole(7, 21, 2),
        f"{blur}.sigma": Uniform(0.2, sigma), f"{blur}.sigma_step": Uniform(-0.02, 0.02),
        f"{blur}.angle": Uniform(-180, 180), f"{blur}.angle_step": Uniform(-18, 18),
        f"{blur}.generalised": Uniform(0.5, 4), f"{blur}.generalised_step": Uniform(-0.05, 0.05),
        f"{blur}.plateau": Uniform(1, 2), f"{blur}.plateau_step": Uniform(-0.1, 0.1),
        **cutoffs(blur, "cutoff", math.pi / 3), **cutoffs(blur, "wide_cutoff", math.pi / 5),
        f"resize{number}.way": Choice(("up", "down", "keep"), ways),
        f"resize{number}.up": Uniform(1, up), f"resize{number}.down": Uniform(down, 1),
        f"resize{number}.scale": Uniform(down, up), f"resize{number}.scale_step": Uniform(-resize_step, resize_step),
        f"resize{number}.interpolation": Choice(("linear", "area", "cubic")),
        f"noise{number}.kind": Choice(("noise", "poisson")), f"noise{number}.grey": Chance(0.4),
        f"noise{number}.level": Uniform(1, level), f"noise{number}.level_step": Uniform(-0.1, 0.1),
        f"poisson{number}.scale": Uniform(0.05, scale), f"poisson{number}.scale_step": Uniform(-0.005, 0.005),
        f"jpeg{number}.quality": Whole(30, 95), f"jpeg{number}.quality_step": Uniform(-3, 3),
    }


def cutoffs(step: str, name: str, low: float) -> dict[str, Range]:
    """Radians per pixel."""
    return {f"{step}.{name}": Uniform(low, HIGHEST), f"{step}.{name}_step": Uniform(-0.0628, 0.0628)}


def chip_ranges(*, iso: tuple[float, float], full_well: tuple[float, float], few: float,
                bits: tuple[int, int]) -> dict[str, Range]:
    """A sensor and its converter; full wells and read noise in electrons."""
    return {"sensor.iso": LogUniform(*iso), "sensor.full_well": LogUniform(*full_well),
            "sensor.read_noise": Uniform(1.5, 5), "bits.chance": Chance(few), "bits.bits": Whole(*bits)}


def line_ranges(step: str, *codecs: str, low: float, high: float) -> dict[str, Range]:
    """A live encoder; bit rates for 512 px, bits per second."""
    return {
        f"{step}.codec": Choice(codecs), f"{step}.bit_rate": LogUniform(low, high),
        f"{step}.speed": Choice(("ultrafast", "veryfast")), f"{step}.keyframes": Whole(12, 120),
        f"{step}.bad": Chance(0.5), f"{step}.lost": Uniform(0, 0.1), f"{step}.corrupt": Uniform(0, 0.2),
    }


PROFILES = (
    ClipProfile(
        name="realbasicvsr", family=realbasicvsr,
        source="RealBasicVSR (arXiv 2111.12704) and its configuration realbasicvsr_wogan_c64b20",
        ranges={
            **drifting_ranges("", sigma=3, up=1.5, down=0.15, resize_step=0.015, ways=(0.2, 0.7, 0.1), level=30,
                              scale=3),
            "codec.name": Choice(("libx264", "h264", "mpeg4")), "codec.bit_rate": Whole(10_000, 100_000),
            "blur2.chance": Chance(0.8),
            **drifting_ranges("2", sigma=1.5, up=1.2, down=0.3, resize_step=0.03, ways=(0.3, 0.4, 0.3), level=25,
                              scale=2.5),
            "codec2.name": Choice(("libx264", "h264", "mpeg4")), "codec2.bit_rate": Whole(10_000, 100_000),
            "final.codec_first": Chance(0.5), "final.shrink": Uniform(4, 4),
            "final.interpolation": Choice(("linear", "area", "cubic")),
            "final.sinc": Chance(0.8), "final.kernel": Whole(7, 21, 2),
            **cutoffs("final", "cutoff", math.pi / 3),
        }),
    ClipProfile(
        name="vfhq", family=vfhq, source="VFHQ's blind setting as KEEP trains it (order); ranges our choice",
        ranges={
            "blur.round": Chance(0.5), "blur.sigma": Uniform(0.1, 10), "blur.angle": Uniform(0, 180),
            "blur.kernel": Whole(41, 41), "noise.level": Uniform(0, 10), "noise.grey": Chance(0.5),
            "resize.shrink": Choice((1, 2, 3, 4)), "resize.interpolation": Choice(("area", "linear", "cubic")),
            "noise2.level": Uniform(0, 10), "noise2.grey": Chance(0.5),
            "codec.name": Choice(("libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1")),
            "codec.quality": Whole(18, 35),
        }),
    ClipProfile(
        name="video_call_clip", family=video_call, source="our choice",
        ranges={
            "camera.shrink": Uniform(1, 4), "light.factor": Uniform(0.6, 1.2),
            "light.factor_step": Uniform(-0.01, 0.01), "noise.level": Uniform(1, 8),
            "noise.level_step": Uniform(-0.1, 0.1), "dim.chance": Chance(0.25),
            **chip_ranges(iso=(200, 3200), full_well=(4000, 10000), few=0.1, bits=(5, 7)),
            **line_ranges("line", "libx264", "libvpx-vp9", "libsvtav1", low=100_000, high=1_000_000),
            "server.chance": Chance(0.3),
            **line_ranges("server", "libx264", "libvpx-vp9", low=100_000, high=1_000_000),
            "drop.chance": Chance(0.05), "freeze.chance": Chance(0.01), "freeze.length": Whole(3, 12),
        }),
    ClipProfile(
        name="cctv_clip", family=cctv, source="our choice",
        ranges={
            "camera.every": Choice((1, 2, 3, 5), (4, 3, 2, 1)), "camera.shrink": Uniform(3, 12),
            "lens.sigma": Uniform(0.2, 1.2), "light.contrast": Uniform(0.6, 1.1),
            "light.factor": Uniform(0.5, 1.1), "night.chance": Chance(0.4),
            **chip_ranges(iso=(400, 6400), full_well=(4000, 12000), few=0.15, bits=(4, 6)),
            "interlace.chance": Chance(0.4), "interlace.offset": Uniform(-5, 5),
            "interlace.offset_step": Uniform(-0.5, 0.5),
            "recorder.codec": Choice(("libx264", "libx265", "mpeg4", "mjpeg"), (4, 2, 2, 1)),
            "recorder.quality": Whole(26, 42), "recorder.speed": Choice(("ultrafast", "veryfast")),
            "recorder.keyframes": Whole(12, 100), "recorder.bad": Chance(0.3), "recorder.lost": Uniform(0, 0.05),
            "recorder.corrupt": Uniform(0, 0.2), "copy.chance": Chance(0.5),
            "copy.codec": Choice(("libx264", "mpeg4")), "copy.quality": Whole(24, 36),
            "copy.speed": Choice(("veryfast", "medium")), "copy.keyframes": Whole(12, 250),
        }),
)
