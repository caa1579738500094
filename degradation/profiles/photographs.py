"""Old prints, surveillance, video calls, messengers and photographed screens.

Lengths are stated for 512 px; where a picture has shrunk, those of its own pixels (interlacing) are stated at the side
that it has in a plan for 512 px, and coding blocks stay as they are. All numbers are our choice.
"""

import math

from anchorface.degradation.operations.screen import EDGES
from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles.camera import (
    FULL,
    RANGES,
    defocus,
    exposed,
    lens,
    light,
    photograph,
    sensor,
    stored,
)
from anchorface.degradation.profiles.steps import INTERPOLATIONS, enlarged_back, length, odd_side, resized
from anchorface.degradation.ranges import DECIMALS, Chance, Choice, Draws, LogUniform, Range, Uniform, Whole

SURFACES = ("plain", "fibre", "silk", "halftone")
CODECS = ("jpeg", "webp", "avif")
FINEST = 2.0
"""A regular pattern of fewer px cannot be seen in the picture, and is left out."""


def old_print(draws: Draws) -> list[Operation]:
    """Film, printing, ageing, wear, and a scan."""
    operations = [defocus(draws, "defocus", FULL)] if draws("defocus.chance") else []
    monochrome = draws("grey.chance")
    if monochrome:
        operations.append(Operation.of("grey"))
    if draws("film.chance"):
        operations.append(grained(draws, "film_grain", "film"))
    operations += exposed(draws)
    surface = draws("paper.surface")
    if surface == "halftone":
        # Lines per height are the same for every size, but dots must be large enough to be dots.
        lines = draws("halftone.lines")
        printed = Operation.of("halftone", lines=lines, angle=draws("halftone.angle"),
                               hardness=draws("halftone.hardness"))
        if draws.side / lines >= FINEST:
            operations.append(printed)
    operations += aged(draws, monochrome)
    if surface in ("fibre", "silk"):
        texture = grained(draws, "paper", surface, kind=surface)
        if surface == "fibre" or texture.values["grain"] >= FINEST:
            operations.append(texture)
    operations += worn(draws)
    if not monochrome and draws("date.chance"):
        day, month, year = (draws(f"date.{part}") for part in ("day", "month", "year"))
        operations.append(Operation.of(
            "date_imprint", text=f"'{year % 100:02d} {month:2d} {day:2d}", strength=0.9, red=255, green=130, blue=40,
            height=max(1.0, length(draws, draws("date.side"), FULL))))
    reference = FULL / draws("scan.shrink")
    operations += resized(draws, reference, "area")
    operations.append(stored(draws, "jpeg", draws("jpeg.quality"), reference))
    return operations + enlarged_back(draws, "linear")


def grained(draws: Draws, name: str, step: str, **more: str) -> Operation:
    """An operation with a strength and a grain; grain finer than a pixel is averaged by it, and so much fainter."""
    grain = length(draws, draws(f"{step}.grain"), FULL)
    return Operation.of(name, strength=round(draws(f"{step}.strength") * min(1.0, grain), DECIMALS),
                        grain=max(1.0, grain), seed=draws.seed(), **more)


def aged(draws: Draws, monochrome: bool) -> list[Operation]:
    """Fading, yellowing, stains."""
    operations = []
    if draws("fade.chance"):
        # Silver fades alike in all channels; of dyes, cyan goes first in the dark and magenta in light.
        lost = [draws("fade.silver")] * 3 if monochrome else [draws(f"fade.{dye}") for dye in
                                                              ("cyan", "magenta", "yellow")]
        operations.append(Operation.of("fade", cyan=lost[0], magenta=lost[1], yellow=lost[2]))
    if draws("yellow.chance"):
        operations.append(Operation.of("yellow", density=draws("yellow.density")))
    if draws("stains.chance"):
        operations.append(Operation.of("stains", density=draws("stains.density"), seed=draws.seed(),
                                       grain=max(1.0, length(draws, draws("stains.grain"), FULL))))
    return operations


def worn(draws: Draws) -> list[Operation]:
    """A fold, scratches, dust, a stamp."""
    operations = []
    if draws("fold.chance"):
        operations.append(Operation.of(
            "fold", position=draws("fold.position"), angle=draws("fold.angle"), strength=draws("fold.strength"),
            width=length(draws, draws("fold.width"), FULL), seed=draws.seed(),
            spread=max(0.5, length(draws, draws("fold.spread"), FULL))))
    if draws("scratches.chance"):
        operations.append(Operation.of(
            "scratches", count=draws("scratches.count"), length=length(draws, draws("scratches.length"), FULL),
            width=length(draws, draws("scratches.width"), FULL), angle=draws("scratches.angle"),
            spread=draws("scratches.spread"), level=draws("scratches.level"), strength=draws("scratches.strength"),
            seed=draws.seed()))
    if draws("dust.chance"):
        operations.append(Operation.of(
            "dust", count=draws("dust.count"), size=length(draws, draws("dust.radius"), FULL),
            level=draws("dust.level"), strength=draws("dust.strength"), seed=draws.seed()))
    if draws("stamp.chance"):
        operations.append(stamp(draws))
    return operations


def stamp(draws: Draws) -> Operation:
    """Ink somewhere, mostly reaching in from a corner's side of the picture."""
    red, green, blue = STAMP_INKS[draws("stamp.ink")]
    x, y = (from_either_side(draws, "stamp", axis) for axis in "xy")
    return Operation.of(
        "stamp", kind=draws("stamp.kind"), x=x, y=y,
        radius=max(1.0, length(draws, draws("stamp.radius"), FULL)), angle=draws("stamp.angle"),
        strength=draws("stamp.strength"), red=red, green=green, blue=blue, seed=draws.seed())


def from_either_side(draws: Draws, step: str, axis: str) -> float:
    """A place from the one or from the other side, share of the picture."""
    place = draws(f"{step}.{axis}")
    return round(1 - place, DECIMALS) if draws(f"{step}.{axis}_opposite") else place


STAMP_INKS = {"violet": (88, 52, 140), "blue": (40, 60, 150), "red": (175, 40, 50), "black": (40, 40, 44)}


def cctv(draws: Draws) -> list[Operation]:
    """A cheap lens far away, few pixels, much noise, two fields, hard coding."""
    operations = lens(draws)
    reference = FULL / draws("size.shrink")
    operations += resized(draws, reference, "area")
    operations += light(draws, reference) + sensor(draws, reference)
    if draws("grey.chance"):  # infrared light at night
        operations.append(Operation.of("grey"))
    if draws("interlace.chance"):
        operations.append(Operation.of("interlace", offset=length(draws, draws("interlace.offset"), reference)))
    if draws("bits.chance"):
        operations.append(Operation.of("bit_depth", bits=draws("bits.bits")))
    operations.append(stored(draws, "jpeg", draws("jpeg.quality"), reference))
    operations += lost_blocks(draws)
    if draws("recorder.chance"):
        operations.append(stored(draws, "jpeg", draws("recorder.quality"), reference))
    return operations + enlarged_back(draws, draws("back.interpolation"))


def lost_blocks(draws: Draws) -> list[Operation]:
    """Blocks of which a coder kept the mean."""
    if not draws("blocks.chance"):
        return []
    return [Operation.of("blocks", block=draws("blocks.block"), share=draws("blocks.share"), seed=draws.seed())]


def video_call(draws: Draws) -> list[Operation]:
    """A webcam in a room's light, sharpened by its chip, through a thin line."""
    operations = lens(draws)
    reference = FULL / draws("size.shrink")
    operations += resized(draws, reference, "area")
    operations += light(draws, reference) + sensor(draws, reference)
    if draws("sharpen.chance"):
        sigma = max(0.3, length(draws, draws("sharpen.sigma"), reference))
        operations.append(Operation.of("sharpen", amount=draws("sharpen.amount"), sigma=sigma, threshold=0,
                                       kernel=odd_side(draws, 9, reference)))
    # A still of VP8 is what WebP stores; other coders' blocks are nearer to JPEG's.
    operations.append(stored(draws, draws("video.codec"), draws("video.quality"), reference))
    operations += lost_blocks(draws)
    return operations + enlarged_back(draws, "linear")


def messenger(draws: Draws) -> list[Operation]:
    """Sent on and on: each time a little smaller and stored a little worse."""
    operations: list[Operation] = []
    reference, quality = FULL, draws("first.quality")
    for _ in range(draws("hops.number")):
        reference /= draws("hop.shrink")
        operations += resized(draws, reference, draws("hop.interpolation"))
        operations.append(stored(draws, draws("hop.codec"), quality, reference))
        quality = max(LOWEST_QUALITY, quality - draws("hop.drop"))
    return operations + enlarged_back(draws, "linear")


LOWEST_QUALITY = 10


def screen(draws: Draws) -> list[Operation]:
    """Shown on a display, photographed with a phone."""
    operations = resized(draws, FULL / draws("shown.shrink"), "area") + enlarged_back(draws, "linear")
    if draws("moire.chance"):
        operations.append(moire(draws))
    if draws("glare.chance"):
        operations.append(Operation.of(
            "glare", x=draws("glare.x"), y=draws("glare.y"), width=length(draws, draws("glare.width"), FULL),
            height=length(draws, draws("glare.height"), FULL), strength=draws("glare.strength"),
            veil=draws("glare.veil"), kind=draws("glare.kind")))
    operations += lens(draws)
    reference = FULL / draws("size.shrink")
    operations += resized(draws, reference, "area")
    operations += light(draws, reference) + sensor(draws, reference)
    operations.append(stored(draws, "jpeg", draws("jpeg.quality"), reference))
    return operations + enlarged_back(draws, "linear")


def moire(draws: Draws) -> Operation:
    """The screen that beats with the picture's pixels in waves of the drawn lengths along and across.

    So the waves, not the pitch that makes them, scale with the picture; the bend, in rows of the screen, does not.
    """
    along, across = ((-1 if draws(f"moire.finer_{way}") else 1)
                     / max(2.5, length(draws, draws(f"moire.beat_{way}"), FULL)) for way in ("along", "across"))
    return Operation.of(
        "moire", pitch=round(1 / math.hypot(1 + along, across), 6), depth=draws("moire.depth"),
        angle=round(math.degrees(math.atan2(across, 1 + along)), 4), bend=draws("moire.bend"))


def _chances(**probabilities: float) -> dict[str, Range]:
    return {f"{step}.chance": Chance(probability) for step, probability in probabilities.items()}


OLD_PRINT: dict[str, Range] = {
    **_chances(defocus=0.7, grey=0.5, film=0.6, exposure=0.3, fade=0.9, yellow=0.7, stains=0.2, fold=0.25,
               scratches=0.5, dust=0.6, stamp=0.06, date=0.12),
    "defocus.radius": LogUniform(0.6, 3), "film.strength": Uniform(3, 14), "film.grain": Uniform(1, 2.2),
    "exposure.stops": Uniform(-0.8, 0.6),
    "paper.surface": Choice(SURFACES, (0.5, 0.22, 0.13, 0.15)),
    "fibre.strength": Uniform(0.02, 0.08), "fibre.grain": Uniform(1.5, 5),
    "silk.strength": Uniform(0.04, 0.16), "silk.grain": Uniform(5, 11),
    # A newspaper's 65 to 85 dots to the inch, a face of one to two inches.
    "halftone.lines": Uniform(70, 170), "halftone.angle": Uniform(0, 90), "halftone.hardness": LogUniform(1.2, 4),
    "fade.silver": Uniform(0.05, 0.5), "fade.cyan": Uniform(0.05, 0.55), "fade.magenta": Uniform(0, 0.3),
    "fade.yellow": Uniform(0, 0.4), "yellow.density": Uniform(0.03, 0.35),
    "stains.density": Uniform(0.05, 0.3), "stains.grain": Uniform(50, 200),
    "fold.position": Uniform(-0.8, 0.8), "fold.angle": Uniform(0, 180), "fold.strength": Uniform(0.2, 0.8),
    "fold.width": LogUniform(0.4, 2.2), "fold.spread": Uniform(3, 25),
    "scratches.count": Whole(1, 25), "scratches.length": Uniform(60, 400), "scratches.width": LogUniform(0.5, 1.6),
    "scratches.angle": Uniform(0, 180), "scratches.spread": Uniform(5, 60), "scratches.level": Uniform(200, 250),
    "scratches.strength": Uniform(0.3, 0.95),
    "dust.count": Whole(5, 120), "dust.radius": LogUniform(0.8, 3.5), "dust.level": Uniform(215, 250),
    "dust.strength": Uniform(0.4, 1),
    "stamp.kind": Choice(("ring", "rosette")), "stamp.ink": Choice(tuple(STAMP_INKS)),
    # Over a corner of the portrait, as on papers.
    "stamp.x": Uniform(0.05, 0.2), "stamp.x_opposite": Chance(0.5), "stamp.y": Uniform(0.05, 0.2),
    "stamp.y_opposite": Chance(0.75), "stamp.radius": Uniform(60, 130),
    "stamp.angle": Uniform(0, 360), "stamp.strength": Uniform(0.35, 0.85),
    "date.day": Whole(1, 28), "date.month": Whole(1, 12), "date.year": Whole(1979, 2007), "date.side": Uniform(14, 22),
    "scan.shrink": LogUniform(1, 4), "jpeg.quality": Whole(45, 95),
}

CCTV: dict[str, Range] = {
    **RANGES, **_chances(grey=0.35, interlace=0.4, bits=0.15, blocks=0.12, recorder=0.5, sensor=0.9),
    # Faces of 57 to 205 px, as cameras in shops and streets give them.
    "size.shrink": LogUniform(2.5, 9), "exposure.stops": Uniform(-2, 1),
    "sensor.iso": LogUniform(400, 6400), "sensor.full_well": LogUniform(4000, 12000),
    "interlace.offset": Uniform(-5, 5), "bits.bits": Whole(4, 6), "jpeg.quality": Whole(10, 50),
    "blocks.block": Whole(8, 8, 8), "blocks.share": Uniform(0.02, 0.15), "recorder.quality": Whole(25, 80),
    "back.interpolation": Choice((*INTERPOLATIONS[1:], "nearest"), (0.6, 0.3, 0.1)),
}

VIDEO_CALL: dict[str, Range] = {
    **RANGES, **_chances(sharpen=0.4, blocks=0.12, fringe=0.1, vignette=0.2, banding=0.12, exposure=0.6,
                                  white_balance=0.7),
    "size.shrink": LogUniform(1.5, 6), "exposure.stops": Uniform(-1.5, 1.2), "defocus.radius": LogUniform(0.6, 4),
    "motion.length": LogUniform(2, 15), "sensor.iso": LogUniform(200, 3200),
    "sensor.full_well": LogUniform(4000, 10000), "sharpen.amount": Uniform(0.3, 1.5),
    "sharpen.sigma": Uniform(0.7, 1.5), "video.codec": Choice(CODECS[:2]), "video.quality": Whole(8, 50),
    "blocks.block": Whole(8, 16, 8),
    "blocks.share": Uniform(0.02, 0.2),
}

MESSENGER: dict[str, Range] = {
    # Messengers begin near 80 and do not ask again; AVIF is still rare, and eight times as dear as JPEG here.
    "hops.number": Whole(1, 4), "hop.shrink": LogUniform(1, 1.8), "first.quality": Whole(50, 90),
    "hop.drop": Whole(0, 22), "hop.codec": Choice(CODECS, (0.8, 0.16, 0.04)),
    "hop.interpolation": Choice(INTERPOLATIONS),
}

SCREEN: dict[str, Range] = {
    **RANGES, **_chances(moire=0.85, glare=0.5, fringe=0.1, vignette=0.3, banding=0.2, white_balance=0.7),
    "shown.shrink": LogUniform(1, 2.5), "moire.depth": LogUniform(0.03, 0.25), "moire.bend": Uniform(-5, 5),
    # From fine weave to broad rainbows.
    "moire.beat_along": LogUniform(8, 150), "moire.beat_across": LogUniform(8, 150),
    "moire.finer_along": Chance(0.5), "moire.finer_across": Chance(0.5),
    "glare.x": Uniform(-0.1, 1.1), "glare.y": Uniform(-0.1, 1.1), "glare.width": LogUniform(30, 200),
    "glare.height": LogUniform(30, 200), "glare.strength": LogUniform(0.05, 0.5), "glare.veil": Uniform(0, 0.06),
    "glare.kind": Choice(tuple(EDGES)),
    "lens.blur": Choice(("none", "defocus", "motion"), (0.4, 0.45, 0.15)), "defocus.radius": LogUniform(0.6, 2.5),
    "motion.length": LogUniform(2, 8), "exposure.stops": Uniform(-1.2, 0.5),
    # Displays are bluish, the camera sets itself for the room.
    "white_balance.temperature": LogUniform(5500, 13000), "sensor.iso": LogUniform(100, 3200),
    "size.shrink": LogUniform(1, 3), "jpeg.quality": Whole(55, 95),
}

PROFILES = (
    photograph("old_print", old_print, OLD_PRINT, {
        "paper.surface": SURFACES, "stamp.kind": ("ring", "rosette"), "stamp.ink": tuple(STAMP_INKS)}),
    photograph("cctv", cctv, CCTV),
    photograph("video_call", video_call, VIDEO_CALL, {"video.codec": CODECS}),
    photograph("messenger", messenger, MESSENGER, {"hop.codec": CODECS}),
    photograph("screen", screen, SCREEN, {"glare.kind": tuple(EDGES)}),
)
