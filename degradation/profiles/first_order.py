"""The first-order face formula and its named profiles.

    y = up( JPEG_q( (x (*) k_sigma) down_r + n_delta ) )

Ranges are stated for 512 px and uniform. For another size, blur and kernel scale by size/512 and so does the
shrink factor r (not below 1), so that a 128 px face is as damaged as the 512 px one; noise and JPEG stay as they are.
"""

from collections.abc import Mapping

from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles.limits import Limits, limits
from anchorface.degradation.ranges import DECIMALS, Chance, Draws, Profile, Range, Uniform, Whole


def first_order(draws: Draws) -> list[Operation]:
    """Blur, shrink, noise, JPEG, back to size, then colour."""
    size = draws.size
    return [
        gaussian(draws),
        Operation.of("resize", side=shrunk_side(draws("resize.shrink"), size)),
        Operation.of("noise", level=draws("noise.level"), seed=draws.seed()),
        Operation.of("jpeg", quality=draws("jpeg.quality")),
        Operation.of("resize", side=size),
        *colour(draws),
    ]


def gaussian(draws: Draws) -> Operation:
    """A round or an oval Gaussian."""
    is_round = draws("blur.round")
    first = draws.length("blur.sigma")
    second = first if is_round else draws.length("blur.sigma")
    # A Gaussian is its own mirror image, so half a turn covers all directions.
    angle = 0.0 if is_round else draws("blur.angle")
    kernel = max(3, 2 * int(draws("blur.kernel") * draws.scale / 2) + 1)
    return Operation.of("blur", sigma_x=first, sigma_y=second, angle=angle, kernel=kernel)


def shrunk_side(factor: float, size: int) -> int:
    """Side after shrinking by a factor stated for 512 px."""
    # Below 1 the factor enlarges (GFPGAN's 0.8): kept as published at 512 px, never made larger for smaller images.
    scaled = max(factor * size / 512, min(factor, 1.0))
    return max(4, int(size / scaled))


def colour(draws: Draws) -> list[Operation]:
    """Constant shift, grey, and the four jitters in random order, each with its chance."""
    operations: list[Operation] = []
    if draws("shift.chance"):
        red, green, blue = (draws("shift.level") for _ in range(3))
        operations.append(Operation.of("shift_colour", red=red, green=green, blue=blue))
    if draws("grey.chance"):
        operations.append(Operation.of("grey"))
    if draws("jitter.chance"):
        jitters = [Operation.of(name, factor=draws(f"jitter.{name}")) for name in
                   ("brightness", "contrast", "saturation")] + [Operation.of("hue", turn=draws("jitter.hue"))]
        operations += [jitters[place] for place in draws.order(4)]
    return operations


def extended(draws: Draws) -> list[Operation]:
    """RestoreFormer++: the formula, perhaps on a crop that missed, with haze, or with two draws side by side.

    For a target: the operation `shift` moves the degraded picture only. As we read the source, it moves and greys the
    true face along with it, so that the pair stays aligned; a plan knows of the degraded picture alone. A model trained
    on pairs as they are learns to move a face back by up to `misplaced.shift` px: for an aligned pair apply the plan's
    `shift` to the target too, or set `misplaced.chance` to 0. No other operation of this profile moves anything.
    """
    operations: list[Operation] = []
    if draws("misplaced.chance"):
        x, y = (round(draws("misplaced.shift") * draws.scale) for _ in range(2))
        operations.append(Operation.of("shift", x=x, y=y))
    if draws("uneven.chance"):
        operations.append(uneven(draws))
    else:
        blurred, veil, shrunk, *rest = branch(draws)
        operations += [blurred, *([] if veil.values["alpha"] == 1 else [veil]), shrunk, *rest,
                       Operation.of("resize", side=draws.size)]
    return operations + ([Operation.of("grey")] if draws("grey.chance") else [])


def branch(draws: Draws) -> list[Operation]:
    """One draw of the formula up to JPEG: blur, haze (alpha 1 if there is none), resize, noise, JPEG."""
    blurred = gaussian(draws)
    alpha = draws("haze.alpha") if draws("haze.chance") else 1.0
    return [blurred, Operation.of("haze", alpha=alpha),
            Operation.of("resize", side=shrunk_side(draws("resize.shrink"), draws.size)),
            Operation.of("noise", level=draws("noise.level"), seed=draws.seed()),
            Operation.of("jpeg", quality=draws("jpeg.quality"))]


def uneven(draws: Draws) -> Operation:
    """Two draws of the formula, one inside a square that lies in the picture, one around it."""
    values: dict[str, float] = {}
    for where in ("inside", "outside"):
        for operation in branch(draws):
            given = operation.values
            if operation.name == "resize":
                given = {"shrink": round(draws.size / given["side"], DECIMALS)}
            values |= {f"{where}_{key}": value for key, value in given.items()}
    side = min(draws.size, max(1, round(draws("uneven.side") * draws.scale)))
    x, y = (int(draws("uneven.place") * (draws.size - side + 1)) for _ in range(2))
    return Operation.of("uneven", x=min(x, draws.size - side), y=min(y, draws.size - side), side=side,
                        edge=draws.length("uneven.edge"), **values)


def formula(name: str, source: str, *, sigma: tuple[float, float], shrink: tuple[float, float],
            noise: tuple[float, float], quality: tuple[int, int], grey: float = 0.0, shift: float = 0.0,
            jitter: float = 0.0, kernel: tuple[int, int] = (41, 41)) -> Profile:
    """A profile of the plain formula. Lengths in px at 512, noise in 8-bit levels; grey to jitter are probabilities."""
    ranges: dict[str, Range] = {
        "blur.round": Chance(0.5), "blur.sigma": Uniform(*sigma), "blur.angle": Uniform(0, 180),
        "blur.kernel": Whole(*kernel, 2), "resize.shrink": Uniform(*shrink), "noise.level": Uniform(*noise),
        "jpeg.quality": Whole(*quality), "shift.chance": Chance(shift), "shift.level": Uniform(-20, 20),
        "grey.chance": Chance(grey), "jitter.chance": Chance(jitter), "jitter.brightness": Uniform(0.5, 1.5),
        "jitter.contrast": Uniform(0.5, 1.5), "jitter.saturation": Uniform(0, 1.5), "jitter.hue": Uniform(-36, 36),
    }
    return Profile(name=name, family=first_order, source=source, ranges=ranges, limits=_limits(ranges))


def _limits(ranges: Mapping[str, Range]) -> Limits:
    """The bounds, where a colour's shift has either sign."""
    return {**limits(ranges), "shift.level": (-255, 255), "misplaced.shift": (-512, 512)}


_RESTOREFORMER = formula("restoreformer", "RestoreFormer, configs/RestoreFormer.yaml", sigma=(0.1, 10), shrink=(0.8, 8),
                         noise=(0, 20), quality=(60, 100), kernel=(39, 41))
_EXTENDED: dict[str, Range] = (
    {key: value for key, value in _RESTOREFORMER.ranges.items() if not key.startswith(("shift.", "jitter."))} | {
        "misplaced.chance": Chance(0.2), "misplaced.shift": Whole(-32, 32), "uneven.chance": Chance(0.1),
        "uneven.side": Whole(128, 256), "uneven.place": Uniform(0, 1), "uneven.edge": Uniform(0, 0),
        "haze.chance": Chance(0.008), "haze.alpha": Uniform(0.75, 0.95), "grey.chance": Chance(0.008)})
_RESTOREFORMER_EXTENDED = Profile(
    name="restoreformer++", family=extended, ranges=_EXTENDED, limits=_limits(_EXTENDED),
    source="RestoreFormer++, configs/RestoreFormer++.yaml; soft edge: our choice")

PROFILES = (
    formula("gfpgan", "GFPGAN v1, options/train_gfpgan_v1.yml", sigma=(0.1, 10), shrink=(0.8, 8), noise=(0, 20),
            quality=(60, 100), grey=0.01, shift=0.3, jitter=0.3),
    formula("codeformer", "CodeFormer stage III", sigma=(0.1, 10), shrink=(1, 12), noise=(0, 15), quality=(60, 100)),
    formula("codeformer-large", "CodeFormer stage II", sigma=(1, 15), shrink=(4, 30), noise=(0, 20), quality=(30, 80)),
    _RESTOREFORMER,
    _RESTOREFORMER_EXTENDED,
    formula("difface", "DifFace, swinir_ffhq512.yaml", sigma=(0.1, 15), shrink=(0.8, 32), noise=(0, 20),
            quality=(30, 100), grey=0.01),
    formula("diffbir", "DiffBIR v2", sigma=(0.1, 12), shrink=(1, 12), noise=(0, 15), quality=(30, 100)),
    formula("faceme", "FaceMe, dataset.py", sigma=(0.2, 10), shrink=(1, 16), noise=(0, 15), quality=(30, 100)),
    formula("refldm-train", "ReF-LDM training", sigma=(0, 16), shrink=(1, 32), noise=(0, 20), quality=(30, 100)),
    formula("refldm-moderate", "ReF-LDM Moderate", sigma=(0, 8), shrink=(1, 8), noise=(0, 15), quality=(60, 100)),
    formula("refldm-severe", "ReF-LDM Severe", sigma=(8, 16), shrink=(8, 32), noise=(0, 20), quality=(30, 100)),
)
