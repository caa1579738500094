"""LPIPS, DISTS, FID and KID against torchmetrics' own classes, and NIQE against pyiqa's values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.image import dists as their_dists
from torchmetrics.functional.image import lpips as their_lpips

from anchorface.evaluation.metrics import METRICS, metric_names, open_metrics, perceptual, sets
from anchorface.evaluation.metrics.inception import FEATURES, Inception
from anchorface.evaluation.metrics.landmarks import landmark_distance
from anchorface.evaluation.metrics.niqe import Niqe, fitted, halved
from anchorface.faces import weights
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.faces.tensors import load_state
from anchorface.faces.weights import find
from anchorface.records import ConfigurationError, DataError, rng
from anchorface.records.hashes import sha256
from tests.evaluation.layouts import face

PYIQA = {
    "london/001_neutral.jpg": 3.5722, "london/004_neutral.jpg": 4.4282, "london/007_neutral.jpg": 4.7222,
    "london/010_neutral.jpg": 5.2901, "london/013_neutral.jpg": 4.0542, "triples/rid_1/gt.png": 8.2637,
    "triples/rid_1/lq.png": 8.2637, "triples/rid_10/gt.png": 2.5713, "triples/rid_10/lq.png": 6.7489,
    "triples/rid_11/gt.png": 3.8072,
}
"""NIQE by pyiqa 0.1.16 (`calculate_niqe`) with the same statistics, on the shared photographs."""


def pictures(count: int, size: int, purpose: str) -> torch.Tensor:
    return torch.from_numpy(rng(3, purpose).random((count, 3, size, size))).float()


def drawn(layers: nn.ModuleDict) -> None:
    """Weights of a size at which activations stay alive, from our own numbers."""
    numbers = rng(5, "weights")
    with torch.no_grad():
        for value in layers.parameters():
            scale = (2 / max(1, value[0].numel())) ** 0.5 if value.ndim > 1 else 0.05
            value.copy_(torch.from_numpy(numbers.normal(0, scale, value.shape)))


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_torchmetrics_own(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, stages = perceptual.alexnet() if net == "alex" else perceptual.vgg16(lambda _: nn.MaxPool2d(2, 2))
    drawn(layers)
    monkeypatch.setattr(their_lpips, "_get_tv_model_features",
                        lambda *_, **__: nn.Sequential(*layers.values(), nn.MaxPool2d(2)))
    theirs = their_lpips._LPIPS(net=net)
    heads = [head.model[-1].weight for head in theirs.lins]
    ours = perceptual.Lpips(perceptual.Stages(layers, stages), heads)
    one, other = pictures(2, 96, "one"), pictures(2, 96, "other")
    wanted = theirs(one, other, normalize=True).flatten()
    torch.testing.assert_close(ours(one, other), wanted, rtol=1e-4, atol=1e-6)
    assert wanted.min() > 0.001 and ours(one, one).abs().max() == 0


def test_dists_is_torchmetrics_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, stages = perceptual.vgg16(perceptual.RootPooling)
    drawn(layers)
    plain = nn.ModuleList([nn.MaxPool2d(2) if isinstance(layer, perceptual.RootPooling) else layer
                           for layer in layers.values()])
    monkeypatch.setattr(their_dists, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(their_dists, "VGG16_Weights", type("Weights", (), {"DEFAULT": None}), raising=False)
    monkeypatch.setattr(their_dists, "vgg16", lambda **_: type("Network", (), {"features": plain}), raising=False)
    theirs = their_dists.DISTSNetwork()
    ours = perceptual.Dists(perceptual.Stages(layers, stages), theirs.alpha, theirs.beta)
    one, other = pictures(2, 64, "one"), pictures(2, 64, "other")
    wanted = theirs(one, other)
    torch.testing.assert_close(ours(one, other), wanted, rtol=1e-4, atol=1e-5)
    assert wanted.min() > 0.001 and ours(one, one).abs().max() < 1e-5


def test_heads_come_with_torchmetrics_and_fit() -> None:
    folder = Path(their_lpips.__file__).parent
    for net, stages in (("alex", perceptual.alexnet()[1]), ("vgg", perceptual.vgg16(lambda _: nn.MaxPool2d(2))[1])):
        heads = load_state(folder / "lpips_models" / f"{net}.pth")
        assert len(stages) == 5 and all(heads[f"lin{n}.model.1.weight"].shape[0] == 1 for n in range(5))
    assert load_state(folder / "dists_models" / "weights.pt").keys() >= {"alpha", "beta"}


def test_niqe_is_within_one_per_cent_of_a_second_implementation(shared_data: Path) -> None:
    niqe = Niqe.open(find("niqe_pris_params"))
    found = {name: niqe(read_photo(str(shared_data / "photos" / name))[0][None])[0] for name in PYIQA}
    for name, value in PYIQA.items():
        assert found[name] == pytest.approx(value, rel=0.01), name


def test_niqes_parts_are_their_formulas() -> None:
    numbers = rng(0, "gaussian").normal(0, 2, 200_000)
    shape, left, right = fitted(numbers)
    assert shape == pytest.approx(2, abs=0.05) and left == pytest.approx(2 * 2**0.5, rel=0.02)
    assert right == pytest.approx(left, rel=0.02)
    assert np.isnan(fitted(np.zeros(9))[0])
    ramp = np.tile(np.arange(64.0), (64, 1))
    np.testing.assert_allclose(halved(ramp)[:, 4:-4], ramp[::2, 8:-8:2] + 0.5, atol=1e-9)
    assert np.isnan(Niqe(mean=np.zeros(36), covariance=np.eye(36), window=np.full((7, 7), 1 / 49)).of(
        np.full((192, 192, 3), 128, np.uint8)))


def test_fid_and_kid_of_known_sets() -> None:
    draw = rng(1, "sets")
    one, far = draw.normal(0, 1, (600, 4)).astype(np.float32), draw.normal(3, 1, (600, 4)).astype(np.float32)
    covariance = np.cov(one, rowvar=False), np.cov(far, rowvar=False)
    from scipy.linalg import sqrtm

    wanted = (np.square(one.mean(0) - far.mean(0)).sum() + np.trace(
        covariance[0] + covariance[1] - 2 * sqrtm(covariance[0] @ covariance[1]).real))
    assert sets.fid(one, far) == pytest.approx(wanted, rel=1e-3)
    assert sets.fid_to(one, far.mean(0), covariance[1], 600) == pytest.approx(sets.fid(one, far), rel=1e-4)
    assert sets.fid(one, one) == pytest.approx(0, abs=1e-3)
    assert sets.kid(one, far) > 100 * abs(sets.kid(one, draw.normal(0, 1, (600, 4)).astype(np.float32)))
    assert sets.kid(one, far, seed=1) == sets.kid(one, far, seed=1)


def test_fids_inception_has_the_published_layers() -> None:
    network = Inception().eval()
    state = {name: value.shape for name, value in network.state_dict().items()
             if not name.endswith("num_batches_tracked")}
    assert len(state) == 94 * 5 and sum(p.numel() for p in network.parameters()) == 21_785_568
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert state["Conv2d_1a_3x3.bn.running_mean"] == (32,)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, FEATURES)


def test_landmarks_of_a_moved_face_lie_as_far_as_it_was_moved(shared_data: Path) -> None:
    truth = face(0, 0, 256)
    moved = np.roll(truth, 8, axis=1)
    distance = landmark_distance(Detector("scrfd_2.5g_kps"))
    values = distance(np.stack([truth, moved, np.full_like(truth, 127)]), np.stack([truth] * 3))
    assert values[0] == pytest.approx(0, abs=1e-3) and np.isnan(values[2])
    assert values[1] == pytest.approx(100 * 8 / (256 * (317.09 - 193.91) / 512), rel=0.25)


def test_names_of_metrics_are_checked_and_stand_for_several() -> None:
    assert metric_names("carried") == ("flip", "niqe") and metric_names("") == ()
    assert set(metric_names("all")) == {metric.key for metric in METRICS}
    with pytest.raises(ConfigurationError, match="lpips_alex"):
        metric_names("lpips")


def test_what_is_not_here_says_how_to_get_it_and_under_which_licence() -> None:
    opened = {o.metric.key: o for o in open_metrics(("dists", "musiq", "fid_truth", "flip"), 512)}
    assert "vgg16-397923af.pth" in opened["dists"].measure.absent
    assert "anchorface[noncommercial]" in opened["musiq"].measure.absent
    assert "Noncommercial" in opened["musiq"].measure.source and "Noncommercial" in opened["musiq"].metric.licence
    assert "weights-inception-2015-12-05" in opened["fid_truth"].measure.absent
    assert opened["flip"].values is not None and not opened["flip"].measure.absent


def test_weights_by_name_open_a_metric_with_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, _ = perceptual.alexnet()
    drawn(layers)
    torch.save({f"features.{name}": value for name, value in layers.state_dict().items()},
               tmp_path / "alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(tmp_path))
    ours = replace(weights.weight("alexnet_imagenet"), sha256=sha256(tmp_path / "alexnet-owt-7be5be79.pth"))
    monkeypatch.setattr(weights, "WEIGHTS", (ours, *(w for w in weights.WEIGHTS if w.name != ours.name)))
    opened, = open_metrics(("lpips_alex",), 128)
    assert not opened.measure.absent and "alexnet_imagenet " in opened.measure.source and opened.values is not None
    one, other = np.stack([face(0, 0)] * 2), np.stack([face(0, 0), face(1, 0)])
    same, different = opened.values(one, other)  # type: ignore[call-arg]
    assert same == 0 < different
    with pytest.raises(DataError):
        opened.values(one, other[:1])  # type: ignore[call-arg]
