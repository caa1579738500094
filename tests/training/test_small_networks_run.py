"""How the carried networks are trained: resume, another cycle, the autoencoder's linear start, the base's views."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.configuration import tiny
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import rng
from anchorface.synthetic import album, render, seed_of
from anchorface.training.small_networks.autoencoder import IMAGE, decibels, middle
from anchorface.training.small_networks.autoencoder import at_scale as at_128
from anchorface.training.small_networks.base import BaseRecipe, Chooser, apart, pool_folder, view, views_of
from anchorface.training.small_networks.composites import invent
from anchorface.training.small_networks.linear_start import start_linear
from anchorface.training.small_networks.people import SIDE, Faces, wide_crop
from anchorface.training.small_networks.run import Budget, Machine, Run, Schedule, begin_again, place

POINTS = np.array([[66, 80], [110, 80], [88, 105], [70, 128], [106, 128]], np.float32)


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
        inputs = inputs[place()[0] :: place()[1]]
        run.update((run.module(inputs) - inputs.sum(1, keepdim=True)).square().mean())
    run.save()
    return run


def test_a_resumed_run_ends_at_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    _trained(tmp_path / "cut", 7)
    cut, whole = _trained(tmp_path / "cut", 20), _trained(tmp_path / "whole", 20)
    for name, value in whole.average.state_dict().items():
        assert torch.allclose(value, cut.average.state_dict()[name], atol=1e-6), name


def test_samples_made_ahead_by_other_processes_are_those_made_between_steps(tmp_path: Path) -> None:
    def seen(makers: int) -> list[np.ndarray]:
        run = Run(name="line", work=tmp_path / str(makers), module=nn.Linear(4, 1), budget=Budget(steps=6, minutes=9),
                  schedule=Schedule(peak=0.01), machine=Machine(makers=makers))
        found = []
        for (inputs,) in run.batches(lambda step: (rng(1, "inputs", step).standard_normal((8, 4), np.float32),)):
            run.update(run.module(inputs).square().mean())
            found.append(inputs.numpy().copy())
        return found

    assert np.array_equal(seen(0), seen(2)) and len(seen(0)) == 6


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
    unknown = levels_to_tensor(middle(at_128(_portraits(12, 4))))
    with torch.no_grad():
        assert decibels(model(unknown)[0], unknown) > 32.0


def _one_of_two(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    run = _trained(Path(folder) / "two", 3)
    torch.save(run.module.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_that_share_a_run_end_where_one_does(tmp_path: Path) -> None:
    alone = _trained(tmp_path / "one", 3).module.state_dict()
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value)
    assert len(list((tmp_path / "two").iterdir())) == 1, "the first one saves"


def test_a_view_depends_on_its_number_alone() -> None:
    wide = rng(2, "wide").integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    first, again, other = (view(wide, False, BaseRecipe(), number) for number in (4, 4, 5))
    assert first.shape == (1 + BaseRecipe().damages, IMAGE, IMAGE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])


def test_references_are_other_photographs_of_the_person_with_the_same_side_to_the_left() -> None:
    def faces(names: list[str]) -> Faces:
        count = len(names)
        return Faces(np.zeros((count, 1, 1, 3), np.uint8), np.zeros((count, 5, 2), np.float32), np.array(names),
                     np.array([""] * count))

    recipe = BaseRecipe(views=(4, 6, 2), strangers=0.0)
    sets = faces(["a"] * 4 + ["b"] * 5 + ["lone"]), faces(["x", "x", "y", "y"]), faces(["i", "i"])
    pool = views_of(sets, recipe)
    assert np.bincount(pool.kind).tolist() == [10 * 4, 4 * 6, 2 * 2]
    chooser, counts, kinds = Chooser(pool, recipe), set(), set()
    for step in range(60):
        targets, references = chooser.batch(rng(1, "batch", step))
        counts.add(references.shape[1])
        kinds |= set(pool.kind[targets])
        assert (pool.person[references] == pool.person[targets][:, None]).all()
        assert (pool.mirrored[references] == pool.mirrored[targets][:, None]).all()
        photos = np.column_stack([pool.photo[targets], pool.photo[references]])
        assert all(len(set(row)) == photos.shape[1] for row in photos), "a photograph twice in one sample"
        if references.shape[1] > 1:
            assert not pool.kind[targets].any(), "real persons have one other photograph"
    assert counts == {0, 1, 2, 3} and kinds == {0, 1, 2}
    strange = Chooser(pool, replace(recipe, strangers=0.3, references=(0.0, 1.0)))
    targets, references = strange.batch(rng(1, "batch", 0))
    others = pool.person[references[:, 0]] != pool.person[targets]
    assert others.any() and not others.all()
    assert (pool.kind[references[:, 0]] == pool.kind[targets]).all()


def test_an_invented_persons_pictures_in_the_pool_share_no_photograph() -> None:
    g = rng(2, "people")
    people = Faces(g.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8), np.tile(POINTS, (6, 1, 1)),
                   np.array(["x", "x", "y", "y", "z", "z"]), np.array(["early", "late"] * 3))
    chosen = apart(invent(people, 3, 1))
    assert chosen.role.tolist() == ["early+early", "late+late"] * 3 and len(np.unique(chosen.person)) == 3


def test_another_recipes_pool_is_another_folder(tmp_path: Path) -> None:
    recipe = BaseRecipe()
    same = replace(recipe, batch=8, strangers=0.5)
    assert pool_folder(same, tmp_path) == pool_folder(recipe, tmp_path)
    assert pool_folder(replace(recipe, damages=1), tmp_path) != pool_folder(recipe, tmp_path)
