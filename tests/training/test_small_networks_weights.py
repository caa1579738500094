"""The carried networks as files and as networks: hashes, size, cards, headers, and that they do what they are for."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anchorface.degradation import apply, draw
from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.embed import embedder
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, velocity
from anchorface.models.configuration import tiny
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.sampler import initial_noise, mean_estimate
from anchorface.models.weights import load, tiny_autoencoder, tiny_backbone
from anchorface.records import rng
from anchorface.synthetic import album, render, seed_of
from anchorface.training.small_networks.autoencoder import at_scale as at_128
from anchorface.training.small_networks.autoencoder import decibels, middle
from anchorface.training.small_networks.corpus import CORPUS_SEED
from anchorface.training.small_networks.people import wide_crop
from anchorface.training.small_networks.verification import within

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
CARRIED = ("adaface_small", "autoencoder_tiny", "base_tiny", "face_encoder_small", "judge_small")
TEST_SEED = 777
assert TEST_SEED != CORPUS_SEED  # nobody here was in any training


@pytest.fixture(scope="module")
def portraits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve people unknown to the networks, four photographs each: wide crops, 112 px crops, person."""
    wide, small, person = [], [], []
    for k in range(12):
        for one in album(seed_of(TEST_SEED, k), 4):
            shot = render(one.head, one.state, 256)
            wide.append(wide_crop(shot.image, shot.landmarks)[0])
            small.append(warp(shot.image, arcface_matrix(shot.landmarks), 112))
            person.append(k)
    return np.stack(wide), np.stack(small), np.array(person)


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return tiny_autoencoder(WEIGHTS / "autoencoder_tiny.safetensors")


def test_every_carried_file_has_its_line_in_the_sums_and_its_card() -> None:
    lines = dict(reversed(line.split()) for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines())
    assert set(lines) == {f"{name}.safetensors" for name in (*CARRIED, "dlib_origin")}, "networks, and one code's mean"
    for file, digest in lines.items():
        assert hashlib.sha256((WEIGHTS / file).read_bytes()).hexdigest() == digest, file
        card = (WEIGHTS / file).with_suffix(".md").read_text()
        assert "## Learned from" in card and "held-out" in card and "## Limits" in card


def test_all_carried_files_together_stay_within_twenty_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= 20e6


@pytest.mark.parametrize("name", CARRIED)
def test_header_tells_recipe_data_and_numbers_and_all_tensors_are_finite(name: str) -> None:
    tensors, header = load(WEIGHTS / f"{name}.safetensors")
    assert header["name"] == name and header["data"]
    assert json.loads(header["recipe"])["seed"] and json.loads(header["metrics"])
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.parametrize(("name", "dimension", "least"), [("adaface_small", 256, 0.98), ("judge_small", 128, 0.9)])
def test_embedders_tell_unknown_synthetic_people_apart(
        name: str, dimension: int, least: float, portraits: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, crops, person = portraits
    units, norms = embedder(name).embed(crops)
    assert units.shape == (48, dimension) and (norms > 0).all()
    assert within(units, person)[0] > least


def test_autoencoder_gives_unknown_faces_back(autoencoder: Autoencoder,
                                              portraits: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    images = levels_to_tensor(middle(at_128(portraits[0][::4])))
    with torch.no_grad():
        tokens = autoencoder.encode(images)
        assert decibels(autoencoder.decode(tokens, 8, 8), images) > 35.0
    assert 0.6 < tokens.std().item() < 1.4


def test_base_gives_a_whole_face_from_a_severely_damaged_one(
        autoencoder: Autoencoder, portraits: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    targets = middle(at_128(portraits[0][::6]))
    damaged = np.stack([apply(image, draw("refldm-severe", rng(5, "test plan", k), 128))
                        for k, image in enumerate(targets)])
    settings = tiny()
    backbone, text = tiny_backbone(WEIGHTS / "base_tiny.safetensors"), TextMemory.fixed(settings.backbone)
    with torch.no_grad():
        condition = autoencoder.encode(levels_to_tensor(damaged))
        tokens = mean_estimate(lambda z, sigma: velocity(backbone, z, sigma, text(len(z)), condition),
                               initial_noise(range(len(targets)), (64, 128)))
        restored = autoencoder.decode(tokens, 8, 8)
    truth = levels_to_tensor(targets)
    assert decibels(restored, truth) > decibels(levels_to_tensor(damaged), truth) - 1.5
