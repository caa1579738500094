"""Mutated photographs and films through degrade and restore: each is done or a row, nothing else happens.

ANCHORFACE_MUTATED says how many of each; few in the daily test.
"""

import os
import resource
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from anchorface.degradation.files import Settings, degrade_files
from anchorface.degradation.film import film_bytes, read_film
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.pipelines.sources.films import Film
from anchorface.records.errors import PhotoError
from anchorface.records.seeds import rng
from anchorface.restoration import Restorer, SamplerSettings, restore_folder
from tests.conftest import SHARED
from tests.pipelines.test_mutated_inputs import flipped, pictures
from tests.restoration.micro import micro_checkpoint

COUNT = int(os.environ.get("ANCHORFACE_MUTATED", "40"))
MOST_MEMORY = 2_000_000
"""Kilobytes by which the process may grow."""


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Bits turned over, an end cut off, a hole filled with zeros, or another file's end."""
    kind, at = int(generator.integers(0, 4)), int(generator.integers(1, len(content)))
    if kind == 0:
        return flipped(content, generator)
    return (content[:at], content[:at] + bytes(len(content) - at), content[:at] + content[at // 2 :])[kind - 1]


def heap(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir()
    generator, endings = rng(9, "mutated pictures"), sorted(contents)
    for number in range(COUNT):
        ending = endings[number % len(endings)]
        (folder / f"{number}.{ending}").write_bytes(mutated(contents[ending], generator))


def grown(before: int) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_mutated_photographs_are_degraded_or_rows(tmp_path: Path) -> None:
    heap(tmp_path / "in", pictures())
    before, there = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sorted((tmp_path / "in").iterdir())
    counts = degrade_files([str(tmp_path / "in")], str(tmp_path / "out"), read=lambda uri: read_photo(uri)[0],
                           settings=Settings(), progress=print)
    assert counts["made"] + counts["dropped"] == COUNT and counts["dropped"] > COUNT // 4
    assert sorted((tmp_path / "in").iterdir()) == there and {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert grown(before) < MOST_MEMORY
    print(counts, grown(before))


def test_mutated_photographs_are_restored_or_rows(
    shared_data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    restorer = Restorer(folder, weight_finder=finder)
    trouble = shared_data / "trouble"
    heap(tmp_path / "in", {
        "png": (trouble / "restore_single_file" / "srgb.png").read_bytes(),
        "heic": (trouble / "restore_heic_jfif_silent" / "phone.heic").read_bytes(),
        "jfif": (trouble / "restore_heic_jfif_silent" / "phone2.JFIF").read_bytes(), **pictures()})
    shutil.copytree(tmp_path / "in", tmp_path / "refs")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = restore_folder(restorer, str(tmp_path / "in"), str(tmp_path / "out"), settings=SamplerSettings(steps=1),
                            detector=Detector(SHARED / "models" / "scrfd_500m_kps.onnx"))
    assert counts["photos"] == COUNT == counts["restored"] + counts["dropped"]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "refs", "out"}
    assert grown(before) < MOST_MEMORY
    print(counts, grown(before))


def test_mutated_films_are_read_or_rows(tmp_path: Path) -> None:
    frames = rng(2, "frames").integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    film = film_bytes(frames, 5)
    heap(tmp_path / "in", {"mp4": film, "mkv": film, "avi": film[:-1]})
    before, causes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter[str]()
    for path in sorted((tmp_path / "in").iterdir()):
        for read in (lambda: len(read_film(str(path))[0]), lambda: len(list(Film(str(path), 10**6).sample(0.1)))):  # noqa: B023
            try:
                assert 0 < read() <= 400
                causes["read"] += 1
            except PhotoError as error:
                causes[error.cause] += 1
    assert causes.total() == 2 * COUNT and causes["read"] and causes["truncated"] + causes["not a film"]
    assert grown(before) < MOST_MEMORY
    print(dict(causes), grown(before))
