"""Restored films go with the people and films whose frames are erased."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.embed import embedder
from anchorface.pipelines.erasure.erased import Erased
from anchorface.pipelines.erasure.likeness import shows_person
from anchorface.pipelines.erasure.selection import Selection
from anchorface.pipelines.erasure.traces import clean, traces
from anchorface.records.film_writing import FilmWriter
from anchorface.synthetic import album, render, seed_of


def film(people: list[int]) -> bytes:
    """A second for each person."""
    file = io.BytesIO()
    with FilmWriter(file, (256, 256), 2.0) as out:
        for place, person in enumerate(people):
            shot = next(iter(album(seed_of(3, person), 1)))
            picture = render(shot.head, shot.state, 256).image
            for half in range(2):
                out.add(picture, place + half / 2)
    return file.getvalue()


def test_restored_films_go_by_name_and_by_whom_they_show(shared_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "restored"
    home.mkdir()
    for name, people in (("named.mp4", [2]), ("shown.mov", [2, 1]), ("other.mp4", [2])):
        (home / f"{name}.mp4").write_bytes(film(people))
        (home / f"{name}.json").write_text("{}")
    pq.write_table(pa.table({"photo": ["named.mp4", "shown.mov", "other.mp4"]}), home / "restored.parquet")
    shot = next(iter(album(seed_of(3, 1), 1)))
    picture = render(shot.head, shot.state, 256).image
    face = Detector(shared_data / "models" / "scrfd_500m_kps.onnx").detect([picture])[0][0]
    unit = embedder("adaface_small").embed(warp(picture, arcface_matrix(face.landmarks, 112), 112)[None])[0]
    selection = Selection(kind="person", face_ids=(), photo_ids=(), uris=(), places=(),
                          codes={"adaface_small": unit.astype(np.float32)})
    shows, why = shows_person(selection, "scrfd_500m_kps")
    assert not why
    erased = Erased(face_ids=frozenset(), photo_ids=frozenset(), uris=frozenset({"/films/named.mp4#t=0.500"}),
                    places=frozenset(), shared={})
    found = traces([str(home)], [], erased, shows)
    for trace in found:
        clean(trace, erased)
    assert {path.name for path in home.iterdir()} == {"other.mp4.mp4", "other.mp4.json", "restored.parquet"}
    assert pq.read_table(home / "restored.parquet")["photo"].to_pylist() == ["other.mp4"]
