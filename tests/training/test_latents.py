"""Cached latents: the losses of pictures, filled once, of these weights, faces and sizes alone."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from anchorface.pipelines.feed.batches import batches, global_digest
from anchorface.pipelines.feed.dataset import Dataset, open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.records import DataError, StorageError
from anchorface.records.patience import Patience
from anchorface.training.degrade import degraded_on
from anchorface.training.latents import BATCH, fill_latents, weights_hash
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objective import encode, objective
from anchorface.training.recipes import Recipe
from tests.disks import fill as fill_disk

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tiny_dataset: str) -> Dataset:
    return open_dataset(tiny_dataset)


@pytest.fixture(scope="module")
def recipe(micro_recipe: Recipe, dataset: Dataset) -> Recipe:
    return replace(micro_recipe, feed=replace(micro_recipe.feed, flip=True, dataset=dataset.uri))


@pytest.fixture(scope="module")
def networks(recipe: Recipe) -> Networks:
    return load_networks(recipe, CPU)


def fill(recipe: Recipe, dataset: Dataset, networks: Networks, place: Path | str, **more: Any) -> str:
    return fill_latents(replace(recipe, latents=str(place)), dataset, networks.encoders.autoencoder, CPU, **more)


@pytest.fixture(scope="module")
def folder(recipe: Recipe, dataset: Dataset, networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> str:
    return fill(recipe, dataset, networks, tmp_path_factory.mktemp("latents"))


def test_losses_with_the_cache_are_those_without(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str
) -> None:
    counts = set()
    for step, (cached, plain) in enumerate(zip(
        batches("", recipe.fed, 0, 8, engine="inline", latents=folder),
        batches("", recipe.fed, 0, 8, engine="inline"), strict=True,
    )):
        count = plain["references"].shape[1]
        counts.add(count)
        assert cached["references"].shape == (4, count, 0, 0, 3)
        assert cached["reference_latents"].shape == (4, count, 4, 128), step
        target, given = encode(recipe, networks, cached, CPU)
        other_target, other_given = encode(recipe, networks, plain, CPU)
        assert torch.allclose(target, other_target, atol=1e-5)
        assert len(given.references) == count
        for one, two in zip(given.references, other_given.references, strict=True):
            assert torch.allclose(one, two, atol=1e-5)
        found, logged = objective(recipe, networks, networks.network, cached, CPU)
        expected, other_logged = objective(recipe, networks, networks.network, plain, CPU)
        assert found.detach().numpy() == pytest.approx(expected.detach().numpy(), rel=1e-4)
        assert logged.keys() == other_logged.keys()
    assert len(counts) > 2


def test_through_ray_come_the_same_bytes(ray_session: None, recipe: Recipe, folder: str) -> None:
    made = list(batches("", recipe.fed, 0, 3, latents=folder))
    straight = list(batches("", recipe.fed, 0, 3, engine="inline", latents=folder))
    assert global_digest(made) == global_digest(straight)
    for one, two in zip(made, straight, strict=True):
        assert set(one) == set(two)
        assert all((one[name] == two[name]).all() and one[name].dtype == two[name].dtype for name in two)


def test_filling_again_goes_on_and_gives_the_same_bytes(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str
) -> None:
    parts = sorted(Path(folder).glob("*.safetensors"))
    before = {part: (part.read_bytes(), part.stat().st_mtime_ns) for part in parts}
    assert fill(recipe, dataset, networks, Path(folder).parents[1]) == folder
    assert {part: (part.read_bytes(), part.stat().st_mtime_ns) for part in parts} == before
    parts[0].unlink()
    with pytest.raises(DataError, match=r"not a part of cached latents"):
        Feed(dataset, recipe.fed, folder).batch(0)
    fill(recipe, dataset, networks, Path(folder).parents[1], rank=0, world=1)
    assert parts[0].read_bytes() == before[parts[0]][0]


def test_filling_waits_for_a_full_disk_and_gives_the_same_bytes(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str, small_disk: Path
) -> None:
    ballast, lines = fill_disk(small_disk), list[str]()
    with pytest.raises(StorageError, match="Free space, or bring the storage back"):
        fill(recipe, dataset, networks, small_disk)
    timer = threading.Timer(3.0, ballast.unlink)
    timer.start()
    waited = fill(recipe, dataset, networks, small_disk, patience=Patience(60.0, str(small_disk), lines.append))
    timer.join()
    assert [line.split(" since")[0].split(" after")[0] for line in lines] == [
        f"warning: {small_disk} cannot be written", f"{small_disk} can be written again"]
    assert Path(waited).name == Path(folder).name
    names = sorted(path.name for path in Path(folder).iterdir())
    assert sorted(path.name for path in Path(waited).iterdir()) == names
    assert all((Path(waited) / name).read_bytes() == (Path(folder) / name).read_bytes() for name in names)


def test_a_part_is_the_autoencoders_word_for_each_face_as_it_is_and_mirrored(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str
) -> None:
    feed = Feed(dataset, recipe.fed)
    part = load_file(sorted(Path(folder).glob("train-*.safetensors"))[0])["tokens"]
    assert part.shape[1:] == (2, 4, 128) and part.dtype == np.float32 and len(part) > BATCH
    for row, mirrored in ((0, False), (1, True), (len(part) - 1, True)):
        picture = torch.from_numpy(feed.picture(row, mirrored)[0].copy()).permute(2, 0, 1)[None] / 127.5 - 1
        alone = networks.encoders.autoencoder.encode(picture)[0].detach().numpy()
        assert np.abs(part[row, int(mirrored)] - alone).max() < 1e-5


def test_other_weights_sizes_and_versions_have_other_folders(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str, tmp_path: Path
) -> None:
    place = Path(folder).parents[1]
    other = load_networks(replace(recipe, feed=replace(recipe.feed, seed=9)), CPU)
    assert weights_hash(other.encoders.autoencoder) != weights_hash(networks.encoders.autoencoder)
    assert fill(recipe, dataset, other, place) != folder
    plain = fill(replace(recipe, feed=replace(recipe.feed, flip=False)), dataset, networks, place)
    with pytest.raises(DataError, match="no mirrored"):
        [Feed(dataset, recipe.fed, plain).sample(position) for position in range(16)]
    with pytest.raises(DataError, match=r"at 32 px, not of .* at 64 px"):
        Feed(dataset, replace(recipe.fed, size=64), folder)
    with pytest.raises(DataError, match="no cached latents"):
        Feed(dataset, recipe.fed, str(tmp_path))


def test_a_part_that_is_cut_short_or_of_other_faces_is_refused(
    recipe: Recipe, dataset: Dataset, networks: Networks, tmp_path: Path
) -> None:
    folder = fill(recipe, dataset, networks, tmp_path)
    part = sorted(Path(folder).glob("train-*.safetensors"))[0]
    whole = part.read_bytes()
    for damaged in (whole[:-4], whole[:6], whole.replace(b'"faces": "', b'"faces": "0', 1), b""):
        part.write_bytes(damaged)
        with pytest.raises(DataError, match="fill"):
            Feed(dataset, recipe.fed, folder).batch(0)


def test_latents_of_a_mixed_precision_run_are_half_as_large_and_near(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str, tmp_path: Path
) -> None:
    half = fill(replace(recipe, precision="bf16"), dataset, networks, tmp_path)
    name = sorted(path.name for path in Path(folder).glob("train-*.safetensors"))[0]
    coarse, fine = (load_file(Path(place) / name)["tokens"] for place in (half, folder))
    assert coarse.dtype == np.float16
    assert os.path.getsize(Path(half) / name) < 0.51 * os.path.getsize(Path(folder) / name)
    assert np.abs(coarse - fine).mean() < 0.02 * np.abs(fine).mean()


def test_they_stand_on_any_storage_and_in_the_versions_own_folder(
    recipe: Recipe, dataset: Dataset, networks: Networks, folder: str
) -> None:
    away = fill(recipe, dataset, networks, "memory://latents-test")
    assert away.startswith("memory://latents-test/")
    one, two = (Feed(dataset, recipe.fed, place).batch(0) for place in (away, folder))
    assert (one["target_latent"] == two["target_latent"]).all() and (one["digest"] == two["digest"]).all()
    assert fill(recipe, dataset, networks, "dataset").startswith(f"{dataset.uri}/latents/")


def test_the_targets_picture_is_there_to_be_degraded_on_the_device(recipe: Recipe, folder: str) -> None:
    settings = replace(recipe.fed, degrade_on_device=True)
    made, own = (next(batches("", one, 0, 1, engine="inline", latents=folder)) for one in (settings, recipe.fed))
    assert "degraded" not in made and (made["target"] == own["target"]).all()
    found = degraded_on(made, CPU)["degraded"].numpy()
    assert np.abs(found.astype(int) - own["degraded"]).mean() <= 1.5
