"""A position is a clip: the same bytes on any number of workers and after a resume, frames of one track, references
from elsewhere; a dataset without clips, and what goes with pictures alone, are refused."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import FRAMES, RATE

from anchorface.degradation import ClipPlan, Plan, apply, apply_clip
from anchorface.pipelines.feed.batches import batches, global_digest
from anchorface.pipelines.feed.clips import _clip_rows
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed, sample
from anchorface.pipelines.feed.sample import ClipSample
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.attributes import ATTRIBUTE_NAMES
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.manifest import CLIP_COLUMNS, Manifest
from anchorface.records.storage import read_table
from anchorface.records.table_stream import sha256_of

STEPS, T = 4, 4


@pytest.fixture(scope="module")
def settings(filmed):
    return FeedSettings(dataset=str(filmed.out / "dataset"), batch=3, size=64, seed=7, frames=T, flip=True,
                        clip_profile="video_call_clip", reference_count_probabilities=(0.2, 0.4, 0.4))


@pytest.fixture(scope="module")
def straight(settings):
    return list(batches("", settings, 0, STEPS, engine="inline"))


def test_the_same_bytes_from_ray_workers_after_a_resume_and_on_two_ranks(ray_session, settings, straight):
    made = list(batches("", settings, 0, STEPS, concurrency=2, num_cpus=0.5, steps_per_task=1))
    for one, two in zip(made, straight, strict=True):
        assert [*one] == [*two]
        assert all(one[key].tobytes() == two[key].tobytes() and one[key].dtype == two[key].dtype and
                   one[key].shape == two[key].shape for key in two)
    resumed = [*batches("", settings, 0, 1, engine="inline"), *batches("", settings, 1, STEPS, engine="inline")]
    ranks = [one for rank in (0, 1) for one in batches("", settings, 0, STEPS, rank=rank, world=2, engine="inline")]
    assert global_digest(made) == global_digest(resumed) == global_digest(ranks) == global_digest(straight)
    assert sample(open_dataset(settings.dataset), settings, 4).digest == straight[1]["digest"][1]


def test_a_batch_of_clips_has_the_shapes_that_it_says(settings, straight):
    known = len(ATTRIBUTE_NAMES)
    for batch in straight:
        count = batch["references"].shape[1]
        dimension = batch["target_embedding"].shape[-1]
        assert {name: (array.dtype.name, array.shape) for name, array in batch.items() if name != "digest"} == {
            "position": ("int64", (3,)), "target": ("uint8", (3, T, 64, 64, 3)),
            "degraded": ("uint8", (3, T, 64, 64, 3)), "references": ("uint8", (3, count, 64, 64, 3)),
            "landmarks": ("float32", (3, T, 5, 2)), "reference_landmarks": ("float32", (3, count, 5, 2)),
            "target_embedding": ("float32", (3, T, dimension)),
            "reference_embeddings": ("float32", (3, count, dimension)), "attributes": ("float32", (3, known)),
            "seconds": ("float32", (3, T)),
        }
    assert {batch["references"].shape[1] for batch in straight} > {2}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_clip_is_frames_of_one_track_and_its_references_are_from_elsewhere(settings, stride):
    dataset = open_dataset(settings.dataset)
    feed = Feed(dataset, replace(settings, stride=stride, flip=False))
    columns = {name: dataset.columns[name].tolist() for name in ("face_id", "track", "frame", "identity", "split")}
    row = {face: number for number, face in enumerate(columns["face_id"])}
    seen = 0
    for position in range(12):
        made = feed.sample(position)
        assert isinstance(made, ClipSample)
        targets = [row[face] for face in made.clip.face_ids]
        assert {columns["track"][n] for n in targets} == {made.clip.track} != {""}
        assert np.diff([columns["frame"][n] for n in targets]).tolist() == [stride] * (T - 1)
        assert made.clip.seconds == pytest.approx([stride * n / RATE for n in range(T)])
        assert made.pair.target == made.clip.face_ids[0] and {columns["split"][n] for n in targets} == {"train"}
        for number, reference in enumerate(made.pair.references):
            seen += 1
            assert columns["identity"][row[reference]] == made.pair.identity == columns["identity"][targets[0]]
            assert columns["track"][row[reference]] != made.clip.track and made.pair.reasons[number]
            assert (feed.picture(row[reference], False)[0] == made.references[number]).all()
        for place, target in enumerate(targets):
            picture, landmarks = feed.picture(target, False)
            assert (picture == made.target[place]).all() and (landmarks == made.target_landmarks[place]).all()
            raw = dataset.columns["embedding"][target] * dataset.columns["norm"][target]
            assert np.allclose(made.target_embedding[place], raw, atol=1e-6)
        plan = ClipPlan.from_json(made.pair.plan)
        assert (plan.frames, plan.rate) == (T, RATE / stride)
        assert (apply_clip(made.target, plan) == made.degraded).all() and (made.degraded != made.target).any()
    assert seen > 5


def test_a_clips_frames_are_shown_under_one_appearance(settings):
    pipeline = {"__version__": "2.0.8", "transform": {"__class_fullname__": "RandomGamma", "p": 1.0}}
    dataset = open_dataset(settings.dataset)
    before, after = (Feed(dataset, one).sample(4) for one in (settings, replace(settings, appearance=pipeline)))
    plan, *others = map(Plan.from_json, after.pair.appearance)
    assert len(others) == len(after.references)
    assert all((apply(clean, plan) == seen).all() for clean, seen in zip(before.target, after.target, strict=True))
    assert (apply_clip(after.target, ClipPlan.from_json(after.pair.plan)) == after.degraded).all()


def test_a_codec_is_among_what_happens_to_these_clips(settings):
    feed = Feed(open_dataset(settings.dataset), settings)
    names = {step.name for position in range(12)
             for step in ClipPlan.from_json(feed.sample(position).pair.plan).operations}
    assert "codec" in names


def test_every_frame_that_a_clip_can_begin_at_begins_one_once_an_epoch(settings):
    dataset = open_dataset(settings.dataset)
    feed = Feed(dataset, settings)
    tracks = {*dataset.columns["track"][dataset.split_rows("train")].tolist()} - {""}
    assert len(feed.rows) == len(tracks) * (FRAMES - T + 1)
    epoch = np.concatenate([feed.target_rows(step) for step in range(len(feed.rows) // 3)])
    assert len(set(epoch.tolist())) == len(epoch) >= len(feed.rows) - 2


def test_attributes_say_what_is_known_and_nothing_else(settings):
    made = Feed(open_dataset(settings.dataset), settings).sample(0)
    said = dict(zip(ATTRIBUTE_NAMES, made.attributes.tolist(), strict=True))
    assert (said["quality"], said["artefacts"]) == (1.0, 0.0) and 0 <= said["smile"] <= 1
    assert all(np.isnan(said[name]) for name in ("age", "glasses", "beard", "mouth_open"))


def test_a_frame_that_is_missing_is_in_no_clip(settings):
    dataset = open_dataset(settings.dataset)
    rows = dataset.split_rows("train")
    track = dataset.columns["track"][rows]
    gone = rows[(track == track[-1]) & (dataset.columns["frame"][rows] == 3)]
    whole, less = (_clip_rows(dataset, settings, some) for some in (rows, np.setdiff1d(rows, gone)))
    assert len(gone) == 1 and len(whole) - len(less) == 4 and not np.isin(less, gone).any()
    assert (np.diff(dataset.columns["frame"][less], axis=1) == 1).all()


def test_clips_longer_than_any_track_and_versions_without_tracks_are_refused(filmed, settings, line, tmp_path):
    with pytest.raises(DataError, match=rf"no clip of 9 frames 1 apart in split 'train'.* {FRAMES} such frames"):
        Feed(open_dataset(settings.dataset), replace(settings, frames=9))
    with pytest.raises(DataError, match=r"longest track has 4 such frames.*--frame-seconds 0"):
        Feed(open_dataset(settings.dataset), replace(settings, frames=5, stride=2))
    pictures = replace(settings, dataset=str(line.out / "dataset"))
    with pytest.raises(DataError, match="longest track has 0 such frames"):
        Feed(open_dataset(pictures.dataset), pictures)
    before = tmp_path / "before"
    before.mkdir()
    old = read_table(str(line.version / "faces.parquet")).drop_columns([*CLIP_COLUMNS])
    pq.write_table(old, before / "faces.parquet")
    (before / "shards").symlink_to(line.version / "shards")
    manifest = replace(Manifest.read(str(line.version)), faces_sha256=sha256_of(str(before / "faces.parquet")))
    (before / "manifest.json").write_text(manifest.to_json())
    with pytest.raises(DataError, match="longest track has 0"):
        Feed(open_dataset(str(before)), replace(settings, dataset=str(before)))
    plain = FeedSettings(dataset=str(before), batch=4, size=64, seed=7)
    assert Feed(open_dataset(str(before)), plain).sample(5).digest == Feed(
        open_dataset(str(line.version)), plain).sample(5).digest


@pytest.mark.parametrize(("values", "said"), [
    ({"clip_profile": ""}, "need one of realbasicvsr"), ({"frames": 1}, "and pictures none"),
    ({"degrade_on_device": True}, "feed.degrade_on_device is for pictures"),
    ({"severity": ((0.0, 60.0, 1.0),)}, "feed.severity is for pictures"),
    ({"clip_profile": "refldm-train"}, "refldm-train"), ({"stride": 0}, "feed.stride"),
    ({"degradation_overrides": {"nothing.such": [1, 2]}}, "nothing.such"),
])
def test_settings_that_do_not_go_together_are_refused(settings, values, said):
    with pytest.raises(ConfigurationError, match=said):
        replace(settings, **values)


def test_cached_latents_are_of_pictures(settings):
    with pytest.raises(ConfigurationError, match="cached latents are of pictures"):
        Feed(open_dataset(settings.dataset), settings, latents="/somewhere")
