"""Is the norm of an embedding a measure of quality? Measured for one weight file.

In: faces (synthetic ones, those of a workspace, or a folder of photographs), degraded in graded steps by plans of the
degradation room. Out: for each ladder of steps how the norm ranks beside strength, PSNR and the cosine to the clean
face's embedding, the same for sharpness as a rival, and a `faces.quality.NormCalibration`.

Each face is an FFHQ crop of SIDE pixels. It is degraded, then warped to 112 px by the clean picture's landmarks, so
that the picture's quality is measured and not the detector's. Rank correlations are Spearman's, signed so that +1 is a
perfect measure of quality: the norm falls with each step of damage.

Measured with the defaults (48 synthetic faces, 1,584 pictures), rank correlation with the cosine to the clean face:

    network                     norm: all   blur   jpeg   noise   iconface   refldm-severe   sharpness: all
    adaface_small                    .82    .69    .28     .57        .91             .86              .68
    mobilefacenet_y1_ms1m_112        .83    .69    .49     .69        .86             .59              .68

On 32 photographed faces .82 and .87. So both norms tell quality, and better than sharpness does, which falls with blur
(.94) and rises with noise (-.89).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from anchorface.degradation import apply
from anchorface.faces import align, attributes
from anchorface.faces.embed import embedder
from anchorface.faces.images import decode_jpeg
from anchorface.faces.quality import NormCalibration
from anchorface.pipelines.calibration.damage_ladders import LADDERS, plans
from anchorface.pipelines.find_faces import FaceSettings, find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages import stage
from anchorface.records.errors import DataError
from anchorface.records.seeds import derive, rng
from anchorface.records.storage import exists, join, read_table, writing
from anchorface.synthetic import draw_state, identity, render

SIDE = 256
CLEAN = 100.0
"""PSNR, in dB, that an undamaged picture is given."""
FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A clean face. crop: uint8 [SIDE, SIDE, 3], RGB; landmarks: float64 [5, 2] in it."""

    name: str
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """One row for each picture: which face, which ladder (-1 the clean picture), and what was measured."""

    face: NDArray[np.int64]
    ladder: NDArray[np.int64]
    strength: NDArray[np.float64]
    psnr: NDArray[np.float64]
    cosine: NDArray[np.float64]
    norm: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    def rows(self, ladder: int) -> NDArray[np.bool_]:
        """The pictures of a ladder, the clean ones among them."""
        return (self.ladder == ladder) | (self.ladder == -1)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """How well one ladder (or `all`) is ranked, by the norm and by sharpness; -1..1, NaN where nothing varies.

    strength, psnr, cosine: over all its pictures. within: with strength, face by face, the mean.
    """

    ladder: str
    strength: float
    psnr: float
    cosine: float
    within: float
    sharpness_cosine: float
    sharpness_within: float


def portraits(source: str | None, count: int, seed: int) -> list[Portrait]:
    """Clean faces: synthetic ones (None), those of a workspace, or those found in a folder of photographs.

    Args:
        source: None, a workspace that `find_faces` filled, or a folder of photographs.
        count: how many at most; of more, those that come first by a hash of the seed and the face.
        seed: of synthetic people and of the choice.

    Raises:
        DataError: too few faces.
    """
    if source is None:
        found = [_synthetic(seed, number) for number in range(count)]
    elif exists(join(source, "done", "find_faces")):
        found = _of_workspace(source, count, seed)
    else:
        with TemporaryDirectory() as folder:
            ingest(source, folder, labels=False, concurrency=0)
            find_faces(folder, settings=FaceSettings(crop_size=SIDE), concurrency=0)
            found = _of_workspace(folder, count, seed)
    if len(found) < FEWEST:
        raise DataError(f"{source or 'synthetic faces'}: {len(found)} faces; at least {FEWEST} are needed to measure a "
                        "norm")
    return found


def measure(
    name: str, faces: Sequence[Portrait], seed: int, ladders: Sequence[str] = LADDERS
) -> tuple[Measurements, dict[str, str]]:
    """Degrade and embed every face on every step.

    Args:
        name: the embedder's weight name.
        faces, seed: see `portraits`; the seed draws the plans too.
        ladders: some of LADDERS.

    Returns:
        The measurements, and for each ladder the hash of its plans.
    """
    network = embedder(name)
    rows: list[tuple[int, int, float, float]] = []
    units, norms, sharpness = [], [], []
    hashes = {ladder: hashlib.sha256() for ladder in ladders}
    for position, face in enumerate(faces):
        matrix = align.arcface_matrix(face.landmarks, 112)
        rows.append((position, -1, 0.0, CLEAN))
        crops = [align.warp(face.crop, matrix, 112)]
        for number, ladder in enumerate(ladders):
            for strength, plan in plans(ladder, SIDE, seed, position):
                hashes[ladder].update(plan.to_json().encode())
                worse = apply(face.crop, plan)
                psnr = min(CLEAN, float(cv2.PSNR(face.crop, worse)))
                rows.append((position, number, CLEAN - psnr if np.isnan(strength) else strength, psnr))
                crops.append(align.warp(worse, matrix, 112))
        unit, norm = network.embed(np.stack(crops))
        units.append(unit)
        norms.append(norm)
        sharpness += [attributes.sharpness(crop) for crop in crops]
    face_of = np.array([row[0] for row in rows])
    ladder_of = np.array([row[1] for row in rows])
    cosine = np.concatenate([unit @ unit[0] for unit in units])
    return Measurements(
        face=face_of, ladder=ladder_of, strength=np.array([row[2] for row in rows]),
        psnr=np.array([row[3] for row in rows]), cosine=cosine.astype(np.float64),
        norm=np.concatenate(norms).astype(np.float64), sharpness=np.array(sharpness),
    ), {ladder: made.hexdigest() for ladder, made in hashes.items()}


def ranks(measured: Measurements, ladders: Sequence[str] = LADDERS) -> list[Ranks]:
    """How the norm and sharpness rank each ladder, and all of them together (without a common strength)."""
    found = []
    for number, ladder in enumerate(ladders):
        rows = measured.rows(number)
        by_norm, by_sharpness = (_within(measured, rows, values) for values in (measured.norm, measured.sharpness))
        found.append(Ranks(
            ladder=ladder, strength=-_rank(measured.norm[rows], measured.strength[rows]),
            psnr=_rank(measured.norm[rows], measured.psnr[rows]),
            cosine=_rank(measured.norm[rows], measured.cosine[rows]), within=by_norm,
            sharpness_cosine=_rank(measured.sharpness[rows], measured.cosine[rows]), sharpness_within=by_sharpness,
        ))
    found.append(Ranks(
        ladder="all", strength=float("nan"), psnr=_rank(measured.norm, measured.psnr),
        cosine=_rank(measured.norm, measured.cosine), within=float("nan"),
        sharpness_cosine=_rank(measured.sharpness, measured.cosine), sharpness_within=float("nan"),
    ))
    return found


def calibrate_norm(
    name: str, *, source: str | None = None, count: int = 48, seed: int = 0, ladders: Sequence[str] = LADDERS
) -> tuple[NormCalibration, Measurements]:
    """Measure how a network's norm follows quality, and fit the map from norm to expected quality.

    The map is fitted to every other face and judged on the others; the stored one is fitted to all.

    Args:
        name: the embedder's weight name. source, count, seed: see `portraits`. ladders: some of LADDERS.

    Raises:
        WeightsError: the weights are not there.
        DataError: too few faces.
    """
    faces = portraits(source, count, seed)
    network = embedder(name)
    measured, hashes = measure(name, faces, seed, ladders)
    test = measured.face % 2 == 1
    knots = _rising(measured.norm[~test], measured.cosine[~test])
    answer, truth = np.interp(measured.norm[test], *knots), measured.cosine[test]
    norms, qualities = _rising(measured.norm, measured.cosine)
    calibration = NormCalibration(
        weights=network.name, sha256=network.sha256, norms=tuple(norms.tolist()), qualities=tuple(qualities.tolist()),
        held_out=_rank(answer, truth), sharpness=_rank(measured.sharpness[test], truth),
        error=float(np.abs(answer - truth).mean()),
        flat_error=float(np.abs(measured.cosine[~test].mean() - truth).mean()), faces=len(faces),
        pictures=len(measured.norm), source=source or "synthetic", seed=seed, plans=tuple(hashes.items()),
    )
    return calibration, measured


def draw_plot(calibration: NormCalibration, measured: Measurements, uri: str) -> None:
    """Draw every picture's norm and quality with the map through them, as a picture file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    names = {-1: "clean", **dict(enumerate(name for name, _ in calibration.plans))}
    for number, name in names.items():
        rows = measured.ladder == number
        axes.scatter(measured.norm[rows], measured.cosine[rows], s=6, alpha=0.6, label=name)
    axes.plot(calibration.norms, calibration.qualities, color="black", label="expected quality")
    axes.set(xlabel="norm", ylabel="cosine to the clean face",
             title=f"{calibration.weights}: rank correlation {calibration.held_out:.2f} on held-out faces")
    axes.legend(fontsize="small")
    with writing(uri) as file:
        figure.savefig(file, format=uri.rpartition(".")[2] or "png", dpi=120)


def _synthetic(seed: int, number: int) -> Portrait:
    person = identity(derive(seed, "norm/person", number) % 2**31)
    shot = render(person, draw_state(rng(seed, "norm/state", number)), 320)
    matrix = align.ffhq_matrix(shot.landmarks, SIDE)
    return Portrait(name=f"synthetic {number}", crop=align.warp(shot.image, matrix, SIDE),
                    landmarks=align.apply_matrix(matrix, shot.landmarks))


def _of_workspace(workspace: str, count: int, seed: int) -> list[Portrait]:
    """A workspace's faces, chosen by a hash, whatever their order."""
    columns = ("face_id", "crop", "crop_size", "crop_landmarks")
    chosen: list[tuple[int, str, bytes, int, list[float]]] = []
    for path in stage.outputs(workspace, "find_faces", "faces"):
        for batch in read_table(join(workspace, path), columns).to_batches(max_chunksize=64):
            chosen += [(derive(seed, f"norm/{row['face_id']}"), *(row[name] for name in columns))
                       for row in batch.to_pylist()]
            chosen = sorted(chosen)[:count]
    found = []
    for _, face_id, content, size, points in chosen:
        matrix = np.array([[SIDE / size, 0, 0.5 * SIDE / size - 0.5], [0, SIDE / size, 0.5 * SIDE / size - 0.5]])
        found.append(Portrait(name=face_id, crop=align.warp(decode_jpeg(content), matrix, SIDE),
                              landmarks=align.apply_matrix(matrix, np.reshape(points, (5, 2)))))
    return found


def _rising(
    norms: NDArray[np.float64], quality: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots of the rising map nearest to the qualities in least squares: each level's first and last norm."""
    order = np.lexsort((quality, norms))
    fitted = isotonic_regression(quality[order])
    first, last = fitted.blocks[:-1], fitted.blocks[1:] - 1
    places = np.unique(np.concatenate([first, last]))
    return norms[order][places], fitted.x[places]


def _rank(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def _within(measured: Measurements, rows: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """Mean over faces of the rank correlation between one face's values and its damage."""
    each = [-_rank(values[here], measured.strength[here])
            for here in (rows & (measured.face == face) for face in np.unique(measured.face))]
    return float(np.nanmean(each))
