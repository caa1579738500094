"""Which faces are of no use, and why: one value with all limits, asked for every face that was found.

In: what was measured of a face, or a photograph's size. Out: the cause and the measured value beside its limit, or
None. A filtered face, or photograph, becomes a dropped row; it is never embedded.

On by default is only what is clearly right: thumbnails, faces too small to hold a face, pictures that are black or
burnt out, and the small blurred bystander behind the person whom the photograph is of. All other limits are off until
they are set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from anchorface.records.errors import ConfigurationError

Refusal = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What filters ask of a face.

    side: of its FFHQ square, in photo pixels. largest: the side of the photograph's largest face. score: the
    detector's, 0..1. yaw, pitch: degrees. sharpness, brightness, clipped: as in records.Face.
    """

    side: float
    largest: float
    score: float
    yaw: float
    pitch: float
    sharpness: float
    brightness: float
    clipped: float


@dataclass(frozen=True, kw_only=True)
class FaceFilters:
    """Limits for faces; None switches one off. All numbers are our choice.

    smallest_photo: longer side of a photograph, in pixels; the smallest crop of a face alone has as many.
    smallest_side: of the FFHQ square, in photo pixels.
    smallest_score: detector's score. Median of 35 portraits .83 (95 % above .73); with a bar over the eyes .76, over
    nose and mouth .67, over one half .59 (95 % below .71): .7 keeps open faces and drops most half covered ones.
    smallest_sharpness: variance of the Laplacian of the 112 px crop. Of 123 clean portraits the least had 47, half of
    them above 550; shrunk to a third and enlarged again, half had below 45.
    largest_yaw, largest_pitch: degrees either way.
    darkest, brightest: mean of the crop, 0..255. largest_clipped: share of its pixels that are black or burnt out.
    bystander_side, bystander_sharpness: a face whose square is smaller than this share of the photograph's largest and
    which is less sharp than this is a bystander.
    """

    smallest_photo: float | None = 112.0
    smallest_side: float | None = 40.0
    smallest_score: float | None = None
    smallest_sharpness: float | None = None
    largest_yaw: float | None = None
    largest_pitch: float | None = None
    darkest: float | None = 8.0
    brightest: float | None = 247.0
    largest_clipped: float | None = 0.8
    bystander_side: float | None = 0.5
    bystander_sharpness: float | None = 30.0

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("smallest_score", "largest_clipped", "bystander_side")}
        wrong = [f"{name} {value}" for name, value in shares.items() if value is not None and not 0 <= value <= 1]
        wrong += [f"{name} {value}" for name, value in vars(self).items() if value is not None and not value >= 0]
        if wrong:
            raise ConfigurationError(f"face filters: {', '.join(wrong)}; shares are 0..1, the others are not negative")
        if (self.bystander_side is None) != (self.bystander_sharpness is None):
            raise ConfigurationError("filters: bystander_side and bystander_sharpness are one rule: set both or none")

    def thumbnail(self, width: int, height: int) -> Refusal | None:
        """The question before all others, asked before a photograph is opened. width, height: in pixels."""
        if self.smallest_photo is None or max(width, height) >= self.smallest_photo:
            return None
        return "photo too small", (f"its longer side has {max(width, height)} px; at least {self.smallest_photo:g} are "
                                   "needed")

    def too_small(self, side: float) -> Refusal | None:
        """The first question of a face, asked before any pixel is drawn."""
        if self.smallest_side is None or side >= self.smallest_side:
            return None
        least = self.smallest_side
        return "face too small", f"its square has {side:.0f} px a side in the photo; at least {least:g} are needed"

    def refuse(self, face: Measured) -> Refusal | None:
        """Why a face is of no use, the first cause that holds; None if it is of use."""
        return self.too_small(face.side) or next(self._causes(face), None)

    def _causes(self, face: Measured) -> Iterator[Refusal]:
        if (
            self.bystander_side is not None and self.bystander_sharpness is not None
            and face.side < self.bystander_side * face.largest and face.sharpness < self.bystander_sharpness
        ):
            yield "blurred bystander", (
                f"its side is {face.side / face.largest:.2f} of the photo's largest face, at least "
                f"{self.bystander_side:g} is needed where sharpness is below {self.bystander_sharpness:g}; "
                f"it is {face.sharpness:.1f}"
            )
        least = (
            ("low score", "its detector score", face.score, self.smallest_score, ".2f"),
            ("not sharp", "its sharpness", face.sharpness, self.smallest_sharpness, ".1f"),
            ("under-exposed", "its mean brightness", face.brightness, self.darkest, ".0f"),
        )
        for cause, what, value, limit, form in least:
            if limit is not None and value < limit:
                yield cause, f"{what} is {value:{form}}; at least {limit:g} is needed"
        most = (
            ("extreme pose", "its yaw", abs(face.yaw), self.largest_yaw, ".0f"),
            ("extreme pose", "its pitch", abs(face.pitch), self.largest_pitch, ".0f"),
            ("over-exposed", "its mean brightness", face.brightness, self.brightest, ".0f"),
            ("clipped", "its share of black or burnt out pixels", face.clipped, self.largest_clipped, ".2f"),
        )
        for cause, what, value, limit, form in most:
            if limit is not None and value > limit:
                yield cause, f"{what} is {value:{form}}; at most {limit:g} is allowed"


def asked_filters(words: Sequence[str]) -> FaceFilters:
    """The usual limits with others in their place.

    Args:
        words: `name=number`, or `name=off`.

    Raises:
        ConfigurationError: a limit that is not known, or no number.
    """
    known = [field.name for field in fields(FaceFilters)]
    values: dict[str, float | None] = {}
    for text in words:
        name, _, number = text.partition("=")
        if name not in known:
            raise ConfigurationError(f"no face filter {name!r}; known: {', '.join(known)}")
        try:
            values[name] = None if number == "off" else float(number)
        except ValueError as error:
            raise ConfigurationError(f"face filter {text}: write {name}=number or {name}=off") from error
    return FaceFilters(**values)
