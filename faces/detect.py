"""Faces in photographs, with five landmarks, by a network (SCRFD's, or MTCNN's three) that looks at them.

In: photographs uint8 [H, W, 3] RGB of any sizes. Out: per photograph a list of Detection, best first,
boxes and landmarks in the photograph's pixels.

A photograph is looked at with its longer side at 320 px, at the top left of the smallest rectangle whose sides are
multiples of 32, the rest black. It is looked at again in its own size, at most 640 px, and both looks are merged, if it
is larger than 640 px, or if the first look leaves a doubt: no face, a weak sign of another face, or a face below 32 px,
beside which others may be too small to be seen. Smaller pictures are enlarged to 320 px, no more. (One look at 640 px
alone misses faces that fill the picture: 24 of 24.) Looks of one shape, of whatever photographs, are one batch; files
that fix their batch to one are run row by row.

A face whose landmarks do not fit its box is none. Where nothing was found, a copy with a wide margin (for a face that
fills the frame) and copies turned by 90, 180 and 270 degrees are looked at with their longer side at 320 px; where the
best face lies on its side, a copy in which it stands; where it is weak, as one that stands on its head is, a copy
turned by 180 degrees. The faces of the copy are taken if they are surer than those before. (Of 22 people turned by
180 degrees all are found at scores of .50 to .73, with the points of a face that stands; unturned, one in twenty is as
weak.)

Beside two looks at fixed squares of 640 and 320 px (scrfd_2.5g_kps), on shared photographs; points: largest distance
from the index's, in eye distances, median (95 %); pixels: what the network sees of a photograph, in millions:

                      faces: squares, here    points: squares, here      pixels: squares, here
    people   (95)          95         95      .033 (.060)  .034 (.062)        .51      .19
    congress (94)          94         94      .034 (.054)  .032 (.055)        .51      .08
    london   (68)          68         68      .031 (.048)  .038 (.066)        .51      .10
    degraded (40)          54         54                                      .51      .17

Of faces pasted into 32 portraits of 640 px both find all of 40, 56 and 80 px height; of 32 px 32 and 31; of 24 px 32
and 23, which find_faces drops as too small.

The sizes are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from anchorface.faces.align import ARCFACE_TEMPLATE, halved
from anchorface.faces.boxes import shared, suppress
from anchorface.faces.runtime import Floats
from anchorface.faces.scrfd import SCRFD, Candidates
from anchorface.faces.weights import find, present, weight
from anchorface.records.errors import ConfigurationError

CHUNK = 16

BLACK = np.float32(-127.5 / 128)
Look = tuple[int, int]
"""A photograph's number, and the length of its longer side in the look."""
BEST = ("scrfd_2.5g_kps", "mtcnn")
"""The default detector is the first that is at hand; the last one is installed with this package."""
DOUBT = 0.1
"""Score from which a candidate is a sign of a face."""
SMALL = 32.0
"""Shorter side of a face's box, in pixels of a look, below which other faces may go unseen."""

SIDEWAYS, SURER = 60.0, 0.03
"""Degrees of roll from which a face lies on its side; by how much the best face of a turned copy must be surer (our
choice)."""
FIT_SCALE, FIT_REST, FIT_PLACE = (0.6, 1.7), 0.2, 0.3
"""Landmarks against their box: size, 1 for the mean face in a box of 112 px; distance from the mean face, and of their
middle from the box's, in shares of its side. Of 279 faces of the shared photographs .95 to 1.25, at most .14, at most
.23; of those turned by 90 degrees mostly more."""


class Network(Protocol):
    """What looks. threshold: smallest score that counts. weak: score below which a face that seems to stand may be a
    turned one's; overturned: by how many quarter turns. sure: smallest score of a face that is found in a turned or
    padded copy alone.
    """

    threshold: float
    weak: float
    sure: float
    overturned: tuple[int, ...]

    def look(self, batch: Floats, least: float) -> list[Candidates]:
        """Scores [N], boxes [N, 4] and points [N, 5, 2] of each look in a batch [B, 3, H, W], in its pixels."""
        ...


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face. box: x0, y0, x1, y1; landmarks: float64 [5, 2], both in photo pixels; score: 0..1."""

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float


class Detector:
    """A network that finds faces.

    Args:
        weights: an ONNX file's path, or a name of `faces.weights` (a pack's name means its detector); `default` for
            the best one at hand.
        threshold: smallest score that counts; None for the network's own.
        size: longest side in pixels of a look, a multiple of 32; the first look is half of it.
        overlap: intersection over union above which the weaker of two boxes is dropped.
        threads: CPU threads.

    Raises:
        WeightsError: missing, or not a network that finds faces with landmarks.
        ConfigurationError: a size that is not a multiple of 32.
    """

    def __init__(
        self, weights: str | Path = "default", threshold: float | None = None, size: int = 640, overlap: float = 0.4,
        threads: int = 1,
    ) -> None:
        if size % 32 or size <= 0:
            raise ConfigurationError(f"detector size {size}: must be a multiple of 32")
        self.name = default_detector() if weights == "default" else str(weights)
        self.network, self.chunk = _opened(self.name, threads)
        self.threshold = self.network.threshold if threshold is None else threshold
        self.overlap = overlap
        self.size, self.half = size, max(32, size // 64 * 32)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """The faces of each photograph, best score first; an empty list where there is none."""
        longest = [max(image.shape[:2]) for image in images]
        first = [(number, self.half) for number in range(len(images))]
        seen = self._look(images, first)
        again = [
            (number, min(self.size, side)) for number, side in enumerate(longest)
            if side > self.size or (side > self.half and self._doubtful(seen[number, self.half], self.half / side))
        ]
        seen |= self._look(images, again)
        looks = {number: [seen[number, self.half]] for number, _ in first}
        for number, side in again:
            looks[number].append(seen[number, side])
        return self._turned(images, [self._merge(looks[number]) for number in range(len(images))])

    def _turned(
        self, images: Sequence[NDArray[np.uint8]], found: list[list[Detection]]
    ) -> list[list[Detection]]:
        """The faces after a look at turned and padded copies, where there is a doubt."""
        asked = [(number, turns) for number, faces in enumerate(found) for turns in _copies(faces, self.network)]
        copies = [_copy(images[number], turns, self.half) for number, turns in asked]
        seen = self._look(copies, [(place, self.half) for place in range(len(copies))])
        result = [[face for face in faces if _fits(face)] for faces in found]
        for place, (number, turns) in enumerate(asked):
            before = [*found[number][:1], *result[number][:1]]
            least = max((face.score + SURER for face in before), default=self.network.sure)
            back = [_back(face, images[number], turns, self.half) for face in self._merge([seen[place, self.half]])]
            fitting = [face for face in back if _fits(face)]
            if fitting and fitting[0].score >= least:
                result[number] = fitting
        return result

    def _doubtful(self, candidates: Candidates, scale: float) -> bool:
        """Whether a look may have missed a face: it shows none, a weak sign of another one, or a small one."""
        found = self._merge([candidates])
        boxes = np.array([face.box for face in found]).reshape(-1, 4)
        if not found or (boxes[:, 2:] - boxes[:, :2]).min() * scale < SMALL:
            return True
        weak = candidates[1][candidates[0] < self.threshold]
        return any((shared(box, boxes) <= self.overlap / 2).all() for box in weak)

    def _look(self, images: Sequence[NDArray[np.uint8]], looks: Sequence[Look]) -> dict[Look, Candidates]:
        """What the network shows of photographs at sizes, in batches of one shape."""
        shapes: dict[tuple[int, int], list[Look]] = {}
        for number, side in looks:
            shapes.setdefault(_canvas(images[number], side), []).append((number, side))
        found: dict[Look, Candidates] = {}
        for shape, group in shapes.items():
            for start in range(0, len(group), self.chunk):
                chunk = group[start : start + self.chunk]
                batch = np.empty((len(chunk), 3, *shape), np.float32)
                for row, (number, side) in enumerate(chunk):
                    _draw(images[number], side, batch[row])
                seen = self.network.look(batch, min(DOUBT, self.threshold))
                for (number, side), (scores, boxes, points) in zip(chunk, seen, strict=True):
                    # Pixel u of the fitted photo covers photo pixels around (u + 0.5) / scale - 0.5.
                    scale = side / max(images[number].shape[:2])
                    found[number, side] = scores, (boxes + 0.5) / scale - 0.5, (points + 0.5) / scale - 0.5
        return found

    def _merge(self, parts: list[Candidates]) -> list[Detection]:
        scores, boxes, points = (np.concatenate([part[i] for part in parts]) for i in range(3))
        sure = np.flatnonzero(scores >= self.threshold)
        return [
            Detection(box=tuple(boxes[i].tolist()), landmarks=points[i], score=float(scores[i]))
            for i in sure[suppress(boxes[sure], scores[sure], self.overlap)]
        ]


def default_detector() -> str:
    """The name of the best detector at hand.

    Raises:
        WeightsError: there is none.
    """
    for name in BEST[:-1]:
        if present(name):
            return name
    find(BEST[-1])
    return BEST[-1]


def own_threshold(name: str | None) -> float:
    """The smallest score that counts for the detector of a weight's name; SCRFD's without one."""
    if name is None or weight(name, "detector").network != "mtcnn":
        return SCRFD.threshold
    from anchorface.faces.mtcnn import MTCNN

    return MTCNN.threshold


def _opened(name: str, threads: int) -> tuple[Network, int]:
    """A network, and how many looks of a shape it takes at once."""
    path = Path(name) if name.endswith(".onnx") else find(name, "detector")
    if path.is_dir():
        from anchorface.faces.mtcnn import MTCNN  # with torch, which those who only name a Detection do without

        return MTCNN(path, threads), CHUNK
    network = SCRFD(path, threads)
    return network, 1 if network.session.get_inputs()[0].shape[0] == 1 else CHUNK


def _copies(faces: Sequence[Detection], network: Network) -> tuple[int, ...]:
    """The copies to look at after the faces of a photograph: quarter turns to the left, 0 for a padded one."""
    if not faces:
        return 0, 1, 2, 3
    roll = _fit(faces[0])[0]
    if abs(roll) > SIDEWAYS:
        return (1,) if roll > 0 else (3,)
    return network.overturned if faces[0].score < network.weak else ()


def _copy(image: NDArray[np.uint8], turns: int, side: int) -> NDArray[np.uint8]:
    """A turned copy, or a padded one; hardly larger than the look at it."""
    image, _ = _shrunk(image, side)
    if turns:
        return np.ascontiguousarray(np.rot90(image, turns))
    high, wide = (length // 2 for length in image.shape[:2])
    return np.pad(image, ((high, high), (wide, wide), (0, 0)))


def _back(face: Detection, image: NDArray[np.uint8], turns: int, side: int) -> Detection:
    """A face of a copy, in the photograph's pixels."""
    small, scale = _shrunk(image, side)
    height, width = small.shape[:2]
    corners = np.array([[x, y] for x in face.box[::2] for y in face.box[1::2]])

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        moved = ((x - width // 2, y - height // 2), (width - 1 - y, x), (width - 1 - x, height - 1 - y),
                 (y, height - 1 - x))[turns]
        return (np.stack(moved, axis=1) + 0.5) * scale - 0.5

    box = turned(corners)
    return Detection(
        box=(*box.min(axis=0).tolist(), *box.max(axis=0).tolist()), landmarks=turned(face.landmarks), score=face.score
    )


def _shrunk(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """A photograph halved until it is less than twice a look's side, and a small pixel's side in photo pixels."""
    scale = 1.0
    while 2 * side < max(image.shape[:2]) and min(image.shape[:2]) >= 4:
        image, scale = halved(image), 2 * scale
    return image, scale


def _fits(face: Detection) -> bool:
    """Whether a face's landmarks fit its box."""
    _, size, rest, place = _fit(face)
    return FIT_SCALE[0] <= size <= FIT_SCALE[1] and rest <= FIT_REST and place <= FIT_PLACE


def _fit(face: Detection) -> tuple[float, float, float, float]:
    """Landmarks against the mean face's: roll in degrees, size, distance and place in shares of the box's side."""
    x0, y0, x1, y1 = face.box
    side = float(np.sqrt(max((x1 - x0) * (y1 - y0), 1e-12)))
    mean, here = (points[:, 0] + 1j * points[:, 1] for points in (np.array(ARCFACE_TEMPLATE), face.landmarks))
    middle = here.mean()
    mean, here = mean - mean.mean(), here - middle
    factor = (here * mean.conj()).sum() / (np.abs(mean) ** 2).sum()
    rest = float(np.sqrt((np.abs(here - factor * mean) ** 2).mean())) / side
    place = abs(middle - complex(x0 + x1, y0 + y1) / 2) / side
    return float(np.degrees(np.angle(factor))), float(abs(factor)) * 112 / side, rest, float(place)


def _canvas(image: NDArray[np.uint8], side: int) -> tuple[int, int]:
    """Height and width of the rectangle that holds the photograph with its longer side at `side` px."""
    height, width = _fitted(image, side)
    return -(-height // 32) * 32, -(-width // 32) * 32


def _fitted(image: NDArray[np.uint8], side: int) -> tuple[int, int]:
    rows, columns = image.shape[:2]
    scale = side / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _draw(image: NDArray[np.uint8], side: int, out: Floats) -> None:
    """Write the photograph, fitted, into a network input [3, H, W]: (x - 127.5) / 128, black beside it."""
    height, width = _fitted(image, side)
    while 2 * side < max(image.shape[:2]) and min(image.shape[:2]) >= 4:
        image = halved(image)
    if (height, width) != image.shape[:2]:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    out[:, height:], out[:, :, width:] = BLACK, BLACK
    for channel, plane in enumerate(cv2.split(image)):
        place = out[channel, :height, :width]
        np.multiply(plane, np.float32(1 / 128), out=place)
        place += BLACK
