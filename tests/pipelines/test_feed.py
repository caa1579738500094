"""Position to bytes: the same on any number of workers and ranks, in a fresh run and in a resumed one."""

import hashlib
import json
import shutil
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest

from anchorface import degradation
from anchorface.degradation import Plan
from anchorface.degradation.appearance import Appearance
from anchorface.degradation.balance import severity
from anchorface.pipelines.feed.batches import batches, global_digest
from anchorface.pipelines.feed.dataset import CropReader, open_dataset, require_embedder_file
from anchorface.pipelines.feed.feed import Feed, sample
from anchorface.pipelines.feed.sample import collate
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConfigurationError, DataError

STEPS = 12


@pytest.fixture(scope="module")
def settings(line):
    return FeedSettings(dataset=str(line.out / "dataset"), batch=4, size=64, seed=7, embedder=line.embedder)


@pytest.fixture(scope="module")
def straight(settings):
    """The batches of an undisturbed run, in this process."""
    return list(batches("", settings, 0, STEPS, engine="inline"))


def test_same_position_same_bytes_on_any_worker_count(ray_session, settings, straight):
    expected = global_digest(straight)
    for workers in (1, 4):
        made = list(batches("", settings, 0, STEPS, concurrency=workers, num_cpus=0.5, steps_per_task=1))
        assert [b["position"].tolist() for b in made] == [b["position"].tolist() for b in straight]
        assert global_digest(made) == expected
        for one, two in zip(made, straight, strict=True):
            assert [*one] == [*two]
            assert all((one[key] == two[key]).all() and one[key].dtype == two[key].dtype for key in two)
            assert all(one[key].shape == two[key].shape and one[key].flags.writeable for key in two)


def test_an_error_comes_from_a_ray_worker_after_the_batches_before_it(ray_session, settings, straight, tmp_path):
    dataset = open_dataset(settings.dataset)
    damaged = shutil.copytree(dataset.uri, tmp_path / dataset.manifest_id)
    used = [set(Feed(dataset, settings).target_rows(step).tolist()) for step in range(3)]
    row = min(used[2] - used[0] - used[1])
    place, manifest = damaged / str(dataset.columns["shard"][row]), damaged / "manifest.json"
    before = hashlib.sha256(place.read_bytes()).hexdigest()
    with place.open("r+b") as tar:
        tar.seek(int(dataset.columns["offset"][row]))
        tar.write(bytes(8))
    # The shard was made so: its hash is right, and only the row that is no picture is wrong.
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(place.read_bytes()).hexdigest()))
    broken = replace(settings, dataset=str(damaged), reference_count_probabilities=(1.0,))
    made = batches("", broken, 0, STEPS, concurrency=1, num_cpus=0.5, steps_per_task=STEPS)
    for step in range(2):
        assert next(made)["position"].tolist() == straight[step]["position"].tolist()
    with pytest.raises(DataError, match=f"no JPEG of .* for row {row}"):
        next(made)


def test_two_ranks_make_what_one_makes(settings, straight):
    ranks = [batches("", settings, 0, STEPS, rank=rank, world=2, engine="inline") for rank in (0, 1)]
    halves = [list(rank) for rank in ranks]
    assert global_digest(chain(*halves)) == global_digest(straight)
    for whole, left, right in zip(straight, *halves, strict=True):
        assert (np.concatenate([left["target"], right["target"]]) == whole["target"]).all()
        assert left["references"].shape == right["references"].shape


def test_three_ranks_share_a_batch_of_four(settings, straight):
    ranks = [list(batches("", settings, 0, STEPS, rank=rank, world=3, engine="inline")) for rank in range(3)]
    assert [len(made[0]["position"]) for made in ranks] == [1, 1, 2]
    assert global_digest(chain(*ranks)) == global_digest(straight)
    for whole, *shares in zip(straight, *ranks, strict=True):
        for name in whole:
            assert (np.concatenate([share[name] for share in shares]) == whole[name]).all()


def test_resumed_run_neither_skips_nor_repeats(settings, straight):
    resumed = [*batches("", settings, 0, 5, engine="inline"), *batches("", settings, 5, STEPS, engine="inline")]
    assert np.concatenate([b["position"] for b in resumed]).tolist() == list(range(4 * STEPS))
    assert global_digest(resumed) == global_digest(straight)
    with pytest.raises(DataError, match="came twice"):
        global_digest([straight[0], straight[0]])


def test_sample_is_pure_and_settings_change_it(settings, straight):
    dataset = open_dataset(settings.dataset)
    assert sample(dataset, settings, 9).digest == straight[2]["digest"][1]
    for other in (replace(settings, seed=8), replace(settings, profile="refldm-severe")):
        assert sample(dataset, other, 9).digest != straight[2]["digest"][1]


def test_references_are_the_same_person_and_never_the_target(settings, straight):
    dataset = open_dataset(settings.dataset)
    feed = Feed(dataset, settings)
    identity = dict(zip(dataset.columns["face_id"].tolist(), dataset.columns["identity"].tolist(), strict=True))
    photo = dict(zip(dataset.columns["face_id"].tolist(), dataset.columns["photo_id"].tolist(), strict=True))
    counts = set()
    for position in range(4 * STEPS):
        made = feed.sample(position)
        pair = made.pair
        counts.add(len(pair.references))
        assert len(pair.references) == len(pair.reasons) == len(made.references) == len(set(pair.references))
        for reference in pair.references:
            assert identity[reference] == pair.identity == identity[pair.target]
            assert photo[reference] != photo[pair.target]
        assert not any((reference == made.target).all() for reference in made.references)
    assert {0, 1, 2} <= counts


def test_a_global_batch_has_one_number_of_references(settings):
    feed = Feed(open_dataset(settings.dataset), settings)
    for step in range(STEPS):
        assert len({len(feed.sample(4 * step + place).references) for place in range(4)}) == 1


def test_targets_are_training_faces_each_once_per_epoch(settings):
    dataset = open_dataset(settings.dataset)
    feed = Feed(dataset, settings)
    steps = len(feed.rows) // 4
    epoch = np.concatenate([feed.target_rows(step) for step in range(steps)])
    following = np.concatenate([feed.target_rows(step) for step in range(steps, 2 * steps)])
    assert len(set(epoch.tolist())) == len(epoch) and (epoch != following).any()
    assert set(dataset.columns["split"][epoch].tolist()) == {"train"}


def test_sample_holds_what_it_says(settings, line):
    dataset = open_dataset(settings.dataset)
    made = Feed(dataset, settings).sample(3)
    row = dataset.columns["face_id"].tolist().index(made.pair.target)
    raw = dataset.columns["embedding"][row] * dataset.columns["norm"][row]
    assert np.allclose(made.target_embedding, raw)
    assert (degradation.apply(made.target, Plan.from_json(made.pair.plan)) == made.degraded).all()
    expected = (dataset.columns["crop_landmarks"][row] + 0.5) * 64 / dataset.columns["crop_size"][row] - 0.5
    assert np.allclose(made.target_landmarks, expected, atol=1e-4)
    assert made.target.shape == made.degraded.shape == (64, 64, 3)


def test_a_recipes_own_ranges_reach_the_plans(settings):
    own = replace(settings, degradation_overrides={"jpeg.quality": [40, 41], "grey.chance": 1})
    made = [Plan.from_json(sample(open_dataset(own.dataset), own, position).pair.plan) for position in range(6)]
    qualities = [step.values["quality"] for plan in made for step in plan.operations if step.name == "jpeg"]
    assert len(qualities) == 6 and set(qualities) <= {40, 41}
    assert all(plan.operations[-1].name == "grey" for plan in made)


def test_severity_follows_the_recipes_distribution(settings):
    plain = Feed(open_dataset(settings.dataset), settings)
    clean = plain._severity_faces()

    def decibels(feed: Feed) -> list[float]:
        return [severity(draw_plan, clean) for draw_plan in map(feed._plan, range(30))]

    middle = sorted(decibels(plain))[15]
    worse = Feed(plain.dataset, replace(settings, severity=((0.0, middle, 1.0),)))
    assert max(decibels(plain)) > middle >= max(decibels(worse))
    assert worse.sample(3).digest == Feed(plain.dataset, worse.settings).sample(3).digest != plain.sample(3).digest
    assert Plan.from_json(worse.sample(3).pair.plan) == worse._plan(3)
    with pytest.raises(ConfigurationError, match=r"bin 1 \(90 to 95 dB"):
        Feed(plain.dataset, replace(settings, severity=((0.0, 60.0, 0.5), (90.0, 95.0, 0.5))))


def pipeline(**more: Any) -> dict[str, Any]:
    """An appearance of three transforms, one of which draws a number for each pixel."""
    shown = [{"__class_fullname__": name, "p": 1.0} for name in ("RandomGamma", "CoarseDropout", "GaussNoise")]
    return {"__version__": "2.0.8",
            "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": shown} | more}


@pytest.mark.parametrize("on_device", [False, True])
def test_target_and_references_are_shown_under_an_appearance_of_their_own(settings, on_device):
    plain = replace(settings, degrade_on_device=on_device, reference_count_probabilities=(0.0, 0.0, 1.0))
    shown = replace(plain, appearance=pipeline())
    dataset = open_dataset(settings.dataset)
    before, after = Feed(dataset, plain).sample(5), Feed(dataset, shown).sample(5)
    assert before.pair.appearance == () and len(after.pair.appearance) == 3 == len(set(after.pair.appearance))
    name = f"albumentations {Appearance(shown.appearance).digest}"
    pictures = zip((before.target, *before.references), (after.target, *after.references), strict=True)
    for (clean, seen), text in zip(pictures, after.pair.appearance, strict=True):
        plan = Plan.from_json(text)
        assert plan.profile == name and (degradation.apply(clean, plan) == seen).all() and (clean != seen).any()
    assert after.pair.plan == before.pair.plan and (after.target_landmarks == before.target_landmarks).all()
    if not on_device:
        assert (degradation.apply(after.target, Plan.from_json(after.pair.plan)) == after.degraded).all()
    whole = list(batches("", shown, 0, 3, engine="inline"))
    assert whole[1]["digest"][1] == after.digest != before.digest
    ranks = [batches("", shown, 0, 3, rank=rank, world=2, engine="inline") for rank in (1, 0)]
    assert global_digest(chain(*ranks)) == global_digest(whole)


def test_an_appearance_is_the_same_from_any_ray_worker(ray_session, settings):
    shown = replace(settings, appearance=pipeline())
    made = batches("", shown, 0, 3, concurrency=2, num_cpus=0.5, steps_per_task=1)
    assert global_digest(made) == global_digest(batches("", shown, 0, 3, engine="inline"))


def test_an_appearance_is_kept_as_its_content_and_goes_with_no_cached_latents(settings, tmp_path):
    file = tmp_path / "looks.json"
    file.write_text(json.dumps(pipeline()))
    one = replace(settings, appearance=str(file))
    file.write_text(json.dumps(pipeline(p=0.5)))
    assert one == replace(one) == replace(settings, appearance=pipeline()) != replace(settings, appearance=str(file))
    file.unlink()
    assert Feed(open_dataset(settings.dataset), one).sample(2).pair.appearance
    with pytest.raises(ConfigurationError, match="cached latents are of pictures as they are"):
        Feed(open_dataset(settings.dataset), one, str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"feed\.appearance: HorizontalFlip: it moves pixels"):
        replace(settings, appearance=pipeline(transforms=[{"__class_fullname__": "HorizontalFlip", "p": 1.0}]))
    for strange in ("{", 7, {}):
        with pytest.raises(ConfigurationError, match=r"feed\.appearance"):
            replace(settings, appearance=strange)


def test_flip_mirrors_pixels_and_landmarks_together(settings):
    dataset = open_dataset(settings.dataset)
    plain, flipped = Feed(dataset, settings), Feed(dataset, replace(settings, flip=True))
    mirrored = 0
    for position in range(16):
        one, two = plain.sample(position), flipped.sample(position)
        if (one.target == two.target).all():
            continue
        mirrored += 1
        assert (one.target[:, ::-1] == two.target).all()
        assert all((a[:, ::-1] == b).all() for a, b in zip(one.references, two.references, strict=True))
        assert two.target_landmarks[0, 0] == pytest.approx(63 - one.target_landmarks[1, 0], abs=1e-4)
    assert 2 < mirrored < 14


def test_no_reference_batches_have_an_empty_axis(settings):
    feed = Feed(open_dataset(settings.dataset), replace(settings, reference_count_probabilities=(1.0,)))
    batch = collate([feed.sample(position) for position in range(2)])
    assert batch["references"].shape == (2, 0, 64, 64, 3) and batch["reference_embeddings"].shape[:2] == (2, 0)


def test_chosen_persons_alone_are_targets(settings):
    dataset = open_dataset(settings.dataset)
    person = str(dataset.columns["identity"][dataset.split_rows("train")][0])
    feed = Feed(dataset, replace(settings, identities=(person,)))
    assert set(dataset.columns["identity"][feed.rows].tolist()) == {person}
    with pytest.raises(DataError, match="no face of split"):
        Feed(dataset, replace(settings, identities=("nobody",)))


def test_settings_that_do_not_fit_are_refused(settings):
    with pytest.raises(ConfigurationError, match="profile"):
        replace(settings, profile="nonsense")
    with pytest.raises(ConfigurationError, match="add up"):
        replace(settings, reference_count_probabilities=(0.5,))
    for overrides, said in (({"jpeg.qualty": [1, 2]}, "jpeg.quality"), ({"jpeg.quality": [9, 2]}, "jpeg.quality"),
                            ("jpeg.quality", "mapping"), ((("jpeg.quality", 3, 4),), "mapping")):
        with pytest.raises(ConfigurationError, match=said):
            replace(settings, degradation_overrides=overrides)
    with pytest.raises(ConfigurationError, match=r"severity.*add up to 0\.5"):
        replace(settings, severity=((10, 20, 0.5),))
    with pytest.raises(ConfigurationError, match="every rank needs a sample"):
        batches("", settings, 0, 1, world=5, engine="inline")
    with pytest.raises(ConfigurationError, match="embeddings come from"):
        Feed(open_dataset(settings.dataset), replace(settings, embedder="another"))
    dataset = open_dataset(settings.dataset)
    made = dataset.manifest.settings["find_faces"]["networks"]["embedder"]
    require_embedder_file(dataset.manifest, made)
    with pytest.raises(ConfigurationError, match=f"another file of '{made}'.*find_faces"):
        require_embedder_file(replace(dataset.manifest, weights={made: "0" * 64}), made)
    with pytest.raises(DataError, match="no dataset version"):
        batches("/nowhere", settings, 0, 1, engine="inline")


def test_crops_are_held_by_shard_and_let_go(line):
    dataset = open_dataset(str(line.version))
    reader, other = CropReader(dataset, shards=1), CropReader(dataset)
    rows = [0, len(dataset) - 1, 0]
    assert [reader.jpeg(row) for row in rows] == [other.jpeg(row) for row in rows]


def test_for_degrading_on_the_device_come_plans_instead_of_pictures_through_ray_too(ray_session, settings, straight):
    asked = replace(settings, degrade_on_device=True)
    inline = list(batches("", asked, 0, 3, engine="inline"))
    for one, two, plain in zip(batches("", asked, 0, 3, num_cpus=0.5), inline, straight, strict=False):
        assert [*one] == [*two] and "degraded" not in one
        assert all((one[key] == two[key]).all() and one[key].dtype == two[key].dtype for key in two)
        assert all((one[key] == plain[key]).all() for key in ("target", "references", "landmarks"))
        for text, target, degraded in zip(one["plan"].tolist(), one["target"], plain["degraded"], strict=True):
            assert (degradation.apply(target, Plan.from_json(text)) == degraded).all()
    assert Feed(open_dataset(asked.dataset), asked).sample(0).degraded is None
