"""Who is it: probabilities that hold on real photographs which the index has not seen."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.embed import embedder
from anchorface.faces.images import encode_jpeg
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.recognition import Probes, calibrate_recognition, recognise
from anchorface.identity_index.unit import unit
from anchorface.records import DataError, rng
from tests.identity_index import album_search

NETWORK = "mobilefacenet_y1_ms1m_112"


@pytest.fixture(scope="module")
def faces(shared_data):
    photos = shared_data / "photos"
    return [*album_search.portraits(photos, "people"), *album_search.portraits(photos, "congress", 60)]


@pytest.fixture(scope="module")
def persons(faces):
    return np.array([face.person for face in faces])


@pytest.fixture(scope="module")
def clean(faces):
    return album_search.embed(embedder(NETWORK), faces)


def drawn(persons: int, each: int, seed: int = 0) -> np.ndarray:
    """Persons' faces with a cosine of about .75."""
    draws = rng(seed, "drawn")
    centres = np.repeat(unit(draws.standard_normal((persons, 64))), each, axis=0)
    return unit(0.87 * centres + 0.5 * unit(draws.standard_normal(centres.shape)))


@pytest.fixture
def index(tmp_path):
    return album_search.index_of(str(tmp_path / "index"), drawn(60, 5), [f"p{n // 5:06d}" for n in range(300)])


def test_probabilities_hold_on_photographs_not_seen_before(faces, persons, clean, tmp_path):
    said = album_search.joined([album_search.search(tmp_path, persons, clean, clean, seed) for seed in range(2)])
    sure = said.probability >= 0.5
    assert (sure & said.right)[said.here].mean() > 0.95
    assert sure[~said.here].mean() < 0.03
    assert album_search.calibration_error(said) < 0.03
    for rate in (0.1, 0.5):
        assert abs((said.rate[~said.here] <= rate).mean() - rate) < 0.15


def test_probabilities_of_degraded_photographs_hold_once_calibrated_on_such(faces, persons, clean, tmp_path):
    probes = album_search.embed(embedder(NETWORK), album_search.degraded(faces, "gfpgan"))
    plain, adapted = (
        album_search.joined([album_search.search(tmp_path, persons, clean, probes, seed, adapted=adapted)
                             for seed in range(2)]) for adapted in (False, True))
    # Without, it is too cautious: it takes worse photographs for strangers, never strangers for persons.
    assert (plain.probability >= 0.5)[~plain.here].mean() < 0.03
    assert album_search.calibration_error(adapted) < 0.06 < album_search.calibration_error(plain)


def test_the_right_person_is_found_and_a_stranger_is_nobody(index):
    calibration = calibrate_recognition(index)
    again = unit(drawn(60, 5)[7] + 0.3 * unit(rng(5, "noise").standard_normal(64)))
    likely = recognise(index, again, calibration=calibration)
    assert likely[0].identity == "p000001" and likely[0].probability > 0.95 and likely[0].false_match_rate < 0.01
    assert len(likely) == 5 == len({one.identity for one in likely}) and sum(o.probability for o in likely) <= 1
    assert [one.probability for one in likely] == sorted((one.probability for one in likely), reverse=True)
    stranger = recognise(index, rng(6, "stranger").standard_normal(64), calibration=calibration)
    assert sum(one.probability for one in stranger) < 0.1 and stranger[0].false_match_rate > 0.1


def test_a_higher_prior_makes_every_person_likelier(index):
    one, other = (recognise(index, rng(6, "stranger").standard_normal(64), top=3,
                            calibration=calibrate_recognition(index, prior=prior)) for prior in (0.1, 0.9))
    assert all(a.identity == b.identity and a.probability < b.probability for a, b in zip(one, other, strict=True))


def test_a_larger_gallery_makes_the_same_cosine_worth_less(index):
    calibration = calibrate_recognition(index)
    small = dataclasses.replace(calibration, faces=calibration.faces * 100)
    probe = drawn(60, 5)[7] + 0.9 * unit(rng(5, "noise").standard_normal(64))
    # `small` was measured in a gallery a hundred times as large, so this one counts as small.
    one, other = (recognise(index, probe, calibration=each)[0] for each in (small, calibration))
    assert one.cosine == other.cosine
    assert one.false_match_rate < other.false_match_rate and one.probability > other.probability


def test_what_cannot_be_calibrated_is_refused_with_the_reason(tmp_path):
    lone = album_search.index_of(str(tmp_path / "lone"), drawn(30, 1), [f"p{n:06d}" for n in range(30)])
    with pytest.raises(DataError, match="0 sampled faces with another photograph"):
        calibrate_recognition(lone)
    index = album_search.index_of(str(tmp_path / "index"), drawn(30, 2), [f"p{n // 2:06d}" for n in range(60)])
    with pytest.raises(DataError, match="prior"):
        calibrate_recognition(index, prior=1.0)
    with pytest.raises(DataError, match="lacks some"):
        calibrate_recognition(index, probes=Probes(embeddings=drawn(1, 1), face_ids=("nobody-0",)))


def test_the_command_names_the_person_in_a_photograph(faces, persons, clean, shared_data, tmp_path):
    sought = next(n for n, face in enumerate(faces) if face.person == "people p02")
    rows = [n for n in range(len(faces)) if n != sought]
    crops = [encode_jpeg(faces[n].crop) for n in rows]
    points = pa.array([faces[n].landmarks.ravel().tolist() for n in rows], pa.list_(pa.float32()))
    names = [persons[n].replace(" ", "-") for n in rows]
    index = album_search.index_of(
        str(tmp_path / "index"), clean[rows], names, subject=pa.array([f"the {name}" for name in names]),
        embedder=pa.array([NETWORK] * len(rows)), crop_landmarks=points,
        crop_size=pa.array([album_search.CROP] * len(rows), pa.int32()))
    faces_of = index.faces()
    IdentityIndex.create(index.uri, faces_of, crops=[pa.RecordBatch.from_pydict(
        {"face_id": [f"{n:024x}-0" for n in range(len(rows))], "crop": crops})])
    photo = next((shared_data / "photos" / "people" / "p02").glob("*.jpg"))
    for more in ([], ["--degraded", "gfpgan"]):
        answer = CliRunner().invoke(app, ["who", str(photo), str(tmp_path), "--top", "2", *more],
                                    env={"COLUMNS": "200"})
        assert answer.exit_code == 0, answer.output
        first = next(line for line in answer.output.splitlines() if "people-" in line)
        assert re.search(r"people-p02 .* the people-p02 .* (9\d|100)\.\d% ", first), answer.output
        assert "somebody else" in answer.output
