"""The metrics by name: what each says, who computes it with which weights, under which licence.

A metric whose weights or package are not here stays in the table as a column that says so and how to get them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from anchorface.evaluation.measures import Measure
from anchorface.evaluation.metrics import inception, landmarks, noncommercial, perceptual
from anchorface.evaluation.metrics.niqe import SMALLEST, Niqe
from anchorface.faces.detect import Detector
from anchorface.faces.weights import find, weight
from anchorface.records import ConfigurationError, WeightsError
from anchorface.records.hashes import sha256

Values = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Pictures and truths uint8 [N, S, S, 3] to float64 [N]; NaN where there is no value."""
Features = Callable[[np.ndarray], np.ndarray]
"""Pictures uint8 [N, S, S, 3] to float32 [N, D]."""
CARRIED = ("flip", "niqe")
"""What `carried` means: no weights but NIQE's 12 kB of statistics."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    opens: loads it on a device. of_sets: it compares sets of pictures by their features, and has one value a set.
    needs_truth: it compares with the truth. package: the distribution that computes it, empty for this project.
    weights: names in faces.weights. smallest: sides in px.
    """

    measure: Measure
    opens: Callable[[str], Values | Features]
    package: str = ""
    licence: str
    weights: tuple[str, ...] = ()
    of_sets: bool = False
    needs_truth: bool = True
    smallest: int = 16

    @property
    def key(self) -> str:
        """Its name, and its column."""
        return self.measure.key


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A metric that is ready, or says in `measure.absent` why it is not: then there are no `values`."""

    metric: Metric
    measure: Measure
    values: Values | Features | None


def _quality(name: str, label: str) -> Metric:
    return Metric(
        measure=Measure(key=name, label=label, digits=3, meaning=f"{label}: a network's opinion of the picture alone"),
        opens=lambda device: noncommercial.quality(name, device), package="pyiqa", licence=noncommercial.LICENCE,
        needs_truth=False, smallest=224)


def _distance(key: str, label: str, meaning: str, **more: object) -> Measure:
    return Measure(key=key, label=label, meaning=meaning, better="lower",
                   **{"digits": 3, **more})  # type: ignore[arg-type]


METRICS: tuple[Metric, ...] = (
    Metric(measure=_distance("flip", "FLIP", "mean difference that an eye sees when the two pictures alternate"),
           opens=lambda _: perceptual.flip, package="flip-evaluator", licence="BSD-3-Clause"),
    Metric(measure=_distance("lpips_alex", "LPIPS (alex)", "LPIPS v0.1 over AlexNet, to the truth"),
           opens=lambda device: perceptual.lpips("alex", device), package="torchmetrics", licence="Apache-2.0",
           weights=("alexnet_imagenet",), smallest=64),
    Metric(measure=_distance("lpips_vgg", "LPIPS (vgg)", "LPIPS v0.1 over VGG16, to the truth; not to be laid beside "
                             "LPIPS (alex)"),
           opens=lambda device: perceptual.lpips("vgg", device), package="torchmetrics", licence="Apache-2.0",
           weights=("vgg16_imagenet",), smallest=32),
    Metric(measure=_distance("dists", "DISTS", "deep structure and texture distance to the truth"),
           opens=perceptual.dists, package="torchmetrics", licence="Apache-2.0", weights=("vgg16_imagenet",),
           smallest=32),
    Metric(measure=_distance("landmarks", "landmark distance", "how far eyes, nose and mouth corners lie from the "
                             "truth's, of the distance between its eyes", digits=2, unit="%"),
           opens=lambda _: landmarks.landmark_distance(Detector(landmarks.DETECTOR)), licence="Apache-2.0",
           weights=(landmarks.DETECTOR,)),
    Metric(measure=_distance("niqe", "NIQE", "distance of local statistics from clean photographs'", digits=2),
           opens=lambda _: _niqe(), licence="Apache-2.0", weights=("niqe_pris_params",), needs_truth=False,
           smallest=SMALLEST),
    Metric(measure=_distance("fid_truth", "FID to the truth", "Frechet distance to the set of true pictures",
                             digits=1),
           opens=inception.inception, package="torchmetrics", licence="Apache-2.0", weights=("inception_fid",),
           of_sets=True),
    Metric(measure=_distance("kid_truth", "KID to the truth", "kernel distance to the set of true pictures", digits=4),
           opens=inception.inception, package="torchmetrics", licence="Apache-2.0", weights=("inception_fid",),
           of_sets=True),
    Metric(measure=_distance("fid_ffhq", "FID to FFHQ", "Frechet distance to FFHQ at 512 px; another number than FID "
                             "to the truth", digits=1),
           opens=inception.inception, package="torchmetrics", licence="Apache-2.0",
           weights=("inception_fid", "inception_ffhq_512"), of_sets=True, needs_truth=False),
    _quality("musiq", "MUSIQ"), _quality("clipiqa", "CLIP-IQA"), _quality("maniqa", "MANIQA"),
    _quality("qalign", "Q-Align"),
)


def _niqe() -> Values:
    of_pictures = Niqe.open(find("niqe_pris_params"))
    return lambda images, _: of_pictures(images)


def metric_names(words: str) -> tuple[str, ...]:
    """The metrics that a comma-separated list names; `carried` and `all` stand for several.

    Raises:
        ConfigurationError: no metric of that name.
    """
    known = {metric.key for metric in METRICS}
    names: dict[str, None] = {}
    for word in filter(None, (part.strip() for part in words.split(","))):
        for name in {"carried": CARRIED, "all": tuple(m.key for m in METRICS)}.get(word, (word,)):
            if name not in known:
                raise ConfigurationError(f"no metric named {name!r}; known: {', '.join(m.key for m in METRICS)}, and "
                                         "`carried` and `all` for several")
            names[name] = None
    return tuple(names)


def open_metrics(names: Sequence[str], size: int, device: str = "cpu") -> tuple[Opened, ...]:
    """The metrics of these names for pictures of `size` px, in the order of METRICS.

    One that cannot be opened is there all the same and says why.
    """
    metric_names(",".join(names))
    opened: dict[str, Values | Features] = {}
    return tuple(_open(metric, size, device, opened) for metric in METRICS if metric.key in names)


def _open(metric: Metric, size: int, device: str, opened: dict[str, Values | Features]) -> Opened:
    try:
        if size < metric.smallest:
            raise WeightsError(f"needs pictures of {metric.smallest} px at least, these have {size}")
        hashes = [f"{name} {sha256(find(name))[:16]}" for name in metric.weights]
        known = "features" if metric.of_sets else metric.key
        if known not in opened:
            opened[known] = metric.opens(device)
    except WeightsError as error:
        return Opened(metric=metric, measure=replace(metric.measure, source=_by(metric), absent=_how(metric, error)),
                      values=None)
    source = "; ".join([_by(metric), *hashes])
    return Opened(metric=metric, measure=replace(metric.measure, source=source), values=opened[known])


def _by(metric: Metric) -> str:
    package = metric.package or "anchorface"
    try:
        fetched = ", weights as it fetches them" if package == "pyiqa" else ""
        return f"{package} {version(package)}{fetched} ({metric.licence})"
    except PackageNotFoundError:
        return f"{package} ({metric.licence})"


def _how(metric: Metric, error: WeightsError) -> str:
    """The first line of why, and where what is missing is published."""
    told = str(error).splitlines()[0].removesuffix(" in")
    away = [weight(name) for name in metric.weights if name in told]
    return "; ".join([told, *(f"put {entry.file} into a folder of $ANCHORFACE_WEIGHTS" for entry in away)])
