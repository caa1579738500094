"""How the carried networks are trained: resume, another cycle, the autoencoder's linear start, the base's pairs."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.autoencoder import Autoencoder
from models.configuration import tiny
from records import rng
from synthetic import album, render, seed_of
from training.carried.autoencoder import IMAGE, decibels, middle, to_images, to_tensor
from training.carried.autoencoder import at_scale as at_128
from training.carried.base import BaseRecipe, pair
from training.carried.linear_start import start_linear
from training.carried.people import SIDE, Faces, wide_crop
from training.carried.run import Budget, Run, Schedule, begin_again


def _portraits(first: int, count: int) -> np.ndarray:
    shots = [next(album(seed_of(778, k), 1)) for k in range(first, first + count)]
    rendered = [render(one.head, one.state, 192) for one in shots]
    return np.stack([wide_crop(shot.image, shot.landmarks)[0] for shot in rendered])


def _trained(work: Path, steps: int) -> Run:
    torch.manual_seed(3)
    run = Run(name="line", work=work, module=nn.Linear(4, 1), budget=Budget(steps=10**6, minutes=10**6),
              schedule=Schedule(peak=0.01, warmup=2))
    while run.step < steps:
        inputs = torch.from_numpy(rng(1, "inputs", run.step).standard_normal((8, 4), dtype=np.float32))
        run.update((run.module(inputs) - inputs.sum(1, keepdim=True)).square().mean())
    run.save()
    return run


def test_a_resumed_run_ends_at_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    _trained(tmp_path / "cut", 7)
    cut, whole = _trained(tmp_path / "cut", 20), _trained(tmp_path / "whole", 20)
    for name, value in whole.average.state_dict().items():
        assert torch.allclose(value, cut.average.state_dict()[name], atol=1e-6), name


def test_another_cycle_starts_from_the_averaged_weights_at_step_zero(tmp_path: Path) -> None:
    finished = _trained(tmp_path, 5)
    begin_again(finished.state_file)
    again = _trained(tmp_path, 0)
    assert again.step == 0
    assert torch.equal(again.module.weight, finished.average.weight)


def test_the_autoencoder_starts_as_a_good_linear_code() -> None:
    torch.manual_seed(0)
    model = Autoencoder(tiny().autoencoder).eval()
    start_linear(model, middle(at_128(_portraits(0, 12))))
    unknown = to_tensor(middle(at_128(_portraits(12, 4))))
    with torch.no_grad():
        assert decibels(model(unknown)[0], unknown) > 32.0


def test_images_survive_the_way_to_tensors_and_back() -> None:
    images = rng(1, "pixels").integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(to_images(to_tensor(images)), images)


def test_a_pair_depends_on_its_position_alone() -> None:
    wide = rng(2, "wide").integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    faces = Faces(wide, np.zeros((3, 5, 2), np.float32), np.array(["a", "b", "c"]), np.array([""] * 3))
    first, again, other = (pair((faces, faces), BaseRecipe(), position) for position in (4, 4, 5))
    assert first[0].shape == first[1].shape == (IMAGE, IMAGE, 3)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])
