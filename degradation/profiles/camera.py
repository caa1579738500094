"""Taken badly: what lens, hand, light and sensor do, as steps that the families of photographs share.

Ranges are stated for a face of 512 px. All numbers are our choice: mild more often than strong (logarithmic ranges),
and the strong ends where a face can just be known.
"""

from anchorface.degradation.operations.resize import INTERPOLATIONS
from anchorface.degradation.plan import Operation, Value
from anchorface.degradation.profiles.limits import limits
from anchorface.degradation.profiles.steps import enlarged_back, length, resized
from anchorface.degradation.ranges import (
    DECIMALS,
    REFERENCE_SIZE,
    Chance,
    Choice,
    Draws,
    Family,
    LogUniform,
    Profile,
    Range,
    Uniform,
    Whole,
)

FULL = float(REFERENCE_SIZE)
BLURS = ("none", "defocus", "motion")


def camera(draws: Draws) -> list[Operation]:
    """Lens, light, sensor, the camera's JPEG, and back to size."""
    operations = lens(draws)
    reference = FULL / draws("size.shrink")
    operations += resized(draws, reference, "area")
    operations += light(draws, reference) + sensor(draws, reference)
    operations.append(stored(draws, "jpeg", draws("jpeg.quality"), reference))
    return operations + enlarged_back(draws, "linear")


def stored(draws: Draws, codec: str, quality: int, reference: float) -> Operation:
    """A codec at a quality stated for the reference side.

    Where the plan's picture is a times smaller, a pixel stands for the mean of a^2 of the larger one's. So the loss
    100 - quality is a times smaller (above 50 JPEG's errors are in proportion to it), and from a = 1.5 on JPEG leaves
    the chroma whole, which the larger picture halves no further.
    """
    smaller = times_smaller(draws, reference)
    whole = {"subsampling": "444"} if codec == "jpeg" and smaller >= 1.5 else {}
    return Operation.of(codec, quality=round(100 - (100 - quality) / smaller), **whole)


def times_smaller(draws: Draws, reference: float) -> float:
    """How much smaller the picture is in this plan than in one for 512 px; at least 1."""
    return max(1.0, int(reference) / draws.side)


def lens(draws: Draws) -> list[Operation]:
    """Blur, colour fringes, dark corners, at the picture's full size."""
    operations, blur = [], draws("lens.blur")
    if blur == "defocus":
        operations.append(defocus(draws, "defocus", FULL))
    elif blur == "motion":
        operations.append(Operation.of("motion", length=length(draws, draws("motion.length"), FULL),
                                       angle=draws("motion.angle")))
    if draws("fringe.chance"):
        red, blue = (length(draws, draws(f"fringe.{channel}"), FULL) for channel in ("red", "blue"))
        operations.append(Operation.of("fringe", red=red, blue=blue))
    if draws("vignette.chance"):
        operations.append(Operation.of("vignette", field_angle=draws("vignette.field_angle")))
    return operations


def defocus(draws: Draws, step: str, reference: float) -> Operation:
    """A disc of blur; the key is `<step>.radius`."""
    return Operation.of("defocus", radius=length(draws, draws(f"{step}.radius"), reference))


def light(draws: Draws, reference: float) -> list[Operation]:
    """Flickering, too much or too little light, of the wrong colour; reference: the picture's side in a 512 px plan."""
    operations = []
    if draws("banding.chance"):
        period = length(draws, draws("banding.period") * reference / FULL, reference)
        operations.append(Operation.of("banding", period=max(2.0, period), amplitude=draws("banding.amplitude"),
                                       phase=draws("banding.phase")))
    operations += exposed(draws)
    if draws("white_balance.chance"):
        operations.append(Operation.of("white_balance", temperature=draws("white_balance.temperature"),
                                       tint=draws("white_balance.tint")))
    return operations


def exposed(draws: Draws) -> list[Operation]:
    """Too much or too little light."""
    return [Operation.of("exposure", stops=draws("exposure.stops"))] if draws("exposure.chance") else []


def sensor(draws: Draws, reference: float) -> list[Operation]:
    """Noise of a sensor with as many pixels as the reference; where a plan has fewer, each gathers those of several."""
    if not draws("sensor.chance"):
        return []
    binned = times_smaller(draws, reference) ** 2
    return [Operation.of("sensor_noise", iso=draws("sensor.iso"), seed=draws.seed(),
                         full_well=round(min(1e6, draws("sensor.full_well") * binned), DECIMALS),
                         read_noise=round(min(1e3, draws("sensor.read_noise") * binned**0.5), DECIMALS))]


LIGHT: dict[str, Range] = {
    # Mains of 50 Hz flicker 100 times a second; a sensor read in 10 to 30 ms shows one to three bands on a whole
    # picture, of which a face is a part.
    "banding.chance": Chance(0.06), "banding.period": Uniform(60, 300), "banding.amplitude": Uniform(0.05, 0.3),
    "banding.phase": Uniform(0, 360),
    "exposure.chance": Chance(0.5), "exposure.stops": Uniform(-2.5, 1.1),
    # What automatic white balance leaves of lamps (low) and of open shade (high).
    "white_balance.chance": Chance(0.5), "white_balance.temperature": LogUniform(4000, 11000),
    "white_balance.tint": Uniform(-0.2, 0.2),
}
RANGES: dict[str, Range] = {
    "lens.blur": Choice(BLURS, (0.35, 0.4, 0.25)), "defocus.radius": LogUniform(0.8, 6),
    "motion.length": LogUniform(2, 18), "motion.angle": Uniform(0, 180),
    # Telephones and zooms leave two or three px where a face is near the corner.
    "fringe.chance": Chance(0.25), "fringe.red": Uniform(-2.5, 2.5), "fringe.blue": Uniform(-2.5, 2.5),
    "vignette.chance": Chance(0.3), "vignette.field_angle": Uniform(15, 40),
    **LIGHT,
    "sensor.chance": Chance(0.8), "sensor.iso": LogUniform(200, 12800), "sensor.full_well": LogUniform(5000, 50000),
    "sensor.read_noise": Uniform(1.5, 5),
    "size.shrink": LogUniform(1, 4),
}

BOUNDS: dict[str, tuple[Value, ...]] = {
    "amplitude": (0, 1), "amount": (0, 10), "angle": (-360, 360), "beat": (2, 1e4), "bend": (-100, 100),
    "bits": (1, 8), "block": (1, 64), "count": (0, 2000), "cyan": (0, 1), "day": (1, 31), "density": (0, 3),
    "depth": (0, 1), "drop": (0, 90), "field": (0, 80), "full": (100, 1e6), "grain": (1, 1000), "hardness": (0.1, 100),
    "height": (0.1, 1e4), "iso": (25, 1e6), "length": (0, 100), "level": (0, 255), "lines": (1, 1000),
    "magenta": (0, 1), "month": (1, 12), "number": (1, 8), "offset": (-50, 50), "period": (4, 1e4),
    "phase": (-360, 360), "position": (-1, 1), "radius": (0, 60), "read": (0, 1000), "shrink": (1, 32),
    "share": (0, 1), "side": (1, 512), "sigma": (0.3, 64), "silver": (0, 1), "spread": (0, 180), "stops": (-8, 8),
    "strength": (0, 1), "temperature": (1667, 25000), "tint": (-2, 2), "veil": (0, 1), "width": (0.1, 1e4),
    "x": (-2, 3), "y": (-2, 3), "year": (0, 9999), "yellow": (0, 1), "along": (-1, 1), "across": (-1, 1),
}
"""Lowest and highest number by a parameter's first word; lengths in px at 512."""
EXCEPTIONS: dict[str, tuple[Value, ...]] = {
    "lens.blur": BLURS, "scratches.length": (0, 2000), "stamp.radius": (1, 1000), "dust.radius": (0, 200),
    "halftone.lines": (1, 10000),
    "fringe.red": (-20, 20), "fringe.blue": (-20, 20), "film.strength": (0, 128),
    "fold.width": (0, 100), "scratches.width": (0, 100), "glare.strength": (0, 10),
    "back.interpolation": tuple(INTERPOLATIONS),
}


def photograph(name: str, family: Family, ranges: dict[str, Range],
               words: dict[str, tuple[Value, ...]] | None = None) -> Profile:
    """A profile within the bounds of photographs; words: key -> all that it may draw."""
    special = {key: bound for key, bound in (EXCEPTIONS | (words or {})).items() if key in ranges}
    return Profile(name=name, family=family, ranges=ranges, limits={**limits(ranges, **BOUNDS), **special},
                   source="our choice")


PROFILES = (photograph("camera", camera, {**RANGES, "jpeg.quality": Whole(50, 96)}),)
