"""The decoder's own training: what it changes, what it leaves, and how seams are measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anchorface.models.weights import tiny_autoencoder, tiny_backbone
from anchorface.synthetic import album, render, seed_of
from anchorface.training.small_networks.decoder import DecoderRecipe, border_error, train
from anchorface.training.small_networks.measure import seams
from anchorface.training.small_networks.people import Faces, wide_crop
from anchorface.training.small_networks.run import Budget, Schedule

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


@pytest.fixture(scope="module")
def faces() -> Faces:
    shots = [render(one.head, one.state, 192) for one in album(seed_of(779, 0), 2)]
    images, landmarks = zip(*(wide_crop(shot.image, shot.landmarks) for shot in shots), strict=True)
    return Faces(np.stack(images), np.stack(landmarks), np.array(["a", "a"]), np.array(["0", "0"]))


def test_the_decoder_alone_learns_and_a_resumed_run_ends_at_the_same_weights(faces: Faces, tmp_path: Path) -> None:
    def trained(work: Path, *ends: int) -> dict[str, torch.Tensor]:
        for steps in ends:
            recipe = DecoderRecipe(budget=Budget(steps=steps, minutes=10**6), batch=1,
                                   schedule=Schedule(peak=1e-4, warmup=1, floor=1.0))
            model = train(recipe, tiny_autoencoder(WEIGHTS / "autoencoder_tiny.safetensors"),
                          tiny_backbone(WEIGHTS / "base_tiny.safetensors"), faces, faces, tmp_path / work)
        return model.state_dict()

    before = tiny_autoencoder(WEIGHTS / "autoencoder_tiny.safetensors").state_dict()
    whole, cut = trained(Path("whole"), 4), trained(Path("cut"), 2, 4)
    changed = {name for name in before if not torch.equal(before[name], whole[name])}
    assert changed and all(name.startswith(("vae.decoder.", "vae.post_quant_conv.")) for name in changed)
    assert all(torch.equal(whole[name], cut[name]) for name in before)


def test_seams_and_their_error_by_hand() -> None:
    ramp = np.arange(48, dtype=np.float64)
    assert seams((ramp[:, None] + ramp)[None, ..., None]) == pytest.approx(1.0)
    stepped = ramp + 2 * (ramp >= 16) + 2 * (ramp >= 32)
    broken = (ramp[:, None] * 0 + stepped)[None, ..., None]  # steps of 3 across borders, in one of two directions
    assert seams(broken) == pytest.approx(3.0)
    flat, ridge = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    ridge[..., 16:] = 0.5  # a step of .5 where there is none, at the one border across
    assert float(border_error(ridge, flat, 16)) == pytest.approx(0.5)
    ridge = torch.zeros(1, 3, 32, 32)
    ridge[..., 8:] = 0.5
    assert float(border_error(ridge, flat, 16)) == 0.0
