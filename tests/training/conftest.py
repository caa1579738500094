"""A tiny synthetic dataset made through pipelines, and the smallest IConFace that has every part."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.training.objectives.feedback import Feedback
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.recipes import Recipe
from tests.training.micro import micro


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch computes with one thread in the tests of a module that ask for it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a dataset version: nine synthetic persons, four photographs each, 128 px crops."""
    from anchorface.pipelines.find_faces import find_faces
    from anchorface.pipelines.group import group
    from anchorface.pipelines.ingest import ingest
    from anchorface.pipelines.shards import shards
    from anchorface.synthetic import write_corpus

    folder = tmp_path_factory.mktemp("tiny-dataset")
    photos, out = str(folder / "photos"), str(folder / "workspace")
    write_corpus(photos, identities=9, photos_each=4, seed=5, size=144)
    ingest(photos, out, concurrency=0)
    find_faces(out, detector="given", crop_size=128, concurrency=0)
    group(out, labels=True, splits=(0.7, 0.3, 0.0))
    return shards(out, concurrency=0)


@pytest.fixture(scope="session")
def micro_recipe() -> Recipe:
    """The smallest run that has every part."""
    return micro()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder for one run."""
    return tmp_path / "run"


@pytest.fixture(scope="session")
def tiny_films(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a dataset version: two films of four synthetic persons each, every frame of eight, 128 px crops."""
    from anchorface.degradation.film import film_bytes
    from anchorface.synthetic import album, render
    from tests.pipelines.conftest import RATE, film_line, passing

    folder, rows = tmp_path_factory.mktemp("tiny-films"), []
    (folder / "films").mkdir()
    for person in range(4):
        for number, shot in enumerate(album(50 + person, 2)):
            name = f"{person}-{number}.mp4"
            picture = render(shot.head, shot.state, 128).image
            (folder / "films" / name).write_bytes(film_bytes(passing(picture), RATE))
            rows.append({"file": name, "subject": f"f{person}"})
    (folder / "films" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(film_line(folder / "films", folder / "workspace", "adaface_small"))


@pytest.fixture(scope="session")
def film_recipe(micro_recipe: Recipe) -> Recipe:
    """The smallest IP-FVR, which contains the micro recipe's IConFace: clips of three frames, all objectives."""
    shared = {entry.name: getattr(micro_recipe.model.system, entry.name) for entry in fields(micro_recipe.model.system)
              if entry.name != "kind"}
    system = IPFVRSettings(**shared, temporal_rank=4, temporal_heads=2, context_rank=4, context_query_rank=4,
                           context_heads=2)
    return replace(
        micro_recipe, name="micro_film", model=replace(micro_recipe.model, system=system), positions=8, warmup=0,
        feed=replace(micro_recipe.feed, batch=2, frames=3, clip_profile="vfhq",
                     reference_count_probabilities=(0.2, 0.4, 0.4)),
        losses=(Flow(), Identity(), Feedback(steps=3, window=2, fraction=0.5)), degraded_targets=0.3,
        attribute_dropout=0.3, checkpoint_every=4, log_every=2,
    )
