"""Tombstones: photographs and persons are kept out, and what is kept of them gives neither away."""

import hashlib
import json

import numpy as np
import pytest

from anchorface.faces.attributes import perceptual_hash
from anchorface.identity_index.tombstones import (
    BITS,
    LIMITS,
    Tombstones,
    bury,
    face_mark,
    limit_cosine,
    open_salt,
    photo_mark,
    protected_bits,
)
from anchorface.records import rng
from anchorface.records.errors import DataError

SALT = hashlib.sha256(b"of the tests").digest()
NETWORK = "mobilefacenet_y1_ms1m_112"


def near(vectors: np.ndarray, cosine: float, seed: int) -> np.ndarray:
    """Unit vectors at about this cosine from others."""
    noise = rng(seed, "tombstones").standard_normal(vectors.shape)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return cosine * vectors + np.sqrt(1 - cosine**2) * noise


@pytest.fixture
def people() -> np.ndarray:
    vectors = rng(1, "people").standard_normal((40, 128))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_without_an_erasure_nobody_is_kept_out(tmp_path, people):
    stones = Tombstones.open(str(tmp_path))
    assert not stones.has_photo("ab" * 32) and not stones.has_person(people, NETWORK).any() and stones.digest == ""


def test_a_photograph_is_known_by_its_hash_or_its_id_and_no_other_is(tmp_path):
    name = hashlib.sha256(b"photo").hexdigest()
    stones = bury(str(tmp_path), "one", photos=[name[:24]], people=[], salt=SALT)
    assert stones.has_photo(name) and stones.has_photo(name[:24]) and stones.has_photo(name.upper())
    assert not stones.has_photo(hashlib.sha256(b"other").hexdigest())
    kept = (tmp_path / "tombstones" / "one.json").read_text()
    assert name[:24] not in kept and photo_mark(SALT, name) in kept


def test_faces_near_a_person_are_kept_out_and_strangers_are_not(tmp_path, people):
    stones = bury(str(tmp_path), "one", photos=[], people=[(NETWORK, "0", people[:10])], salt=SALT)
    assert stones.has_person(people[:10], NETWORK).all()
    assert stones.has_person(near(people[:10], 0.75, 2), NETWORK).mean() >= 0.9
    assert not stones.has_person(people[10:], NETWORK).any()
    assert not stones.has_person(near(people[:10], 0.2, 3), NETWORK).any()
    assert not stones.has_person(people[:10], "another network").any() and stones.unseen_by("another network") == 10


def test_the_share_of_equal_signs_is_the_angle(people):
    for cosine in (0.9, limit_cosine(NETWORK), 0.0):
        one, two = protected_bits(SALT, people, NETWORK), protected_bits(SALT, near(people, cosine, 4), NETWORK)
        assert (one == two).mean() == pytest.approx(1 - np.arccos(cosine) / np.pi, abs=0.01)
    assert 1 - np.arccos(limit_cosine(NETWORK)) / np.pi == pytest.approx(LIMITS[NETWORK])


def test_codes_of_another_salt_or_network_say_nothing(people):
    code = protected_bits(SALT, people, NETWORK)
    other = hashlib.sha256(b"of another workspace").digest()
    for bits in (protected_bits(other, people, NETWORK), protected_bits(SALT, people, "another network")):
        assert np.abs((code == bits).mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(BITS)


def test_erasures_add_up_and_a_repeated_one_changes_nothing(tmp_path, people):
    bury(str(tmp_path), "one", photos=["a" * 24], people=[(NETWORK, "0", people[:1])], salt=SALT)
    before = {path.name: path.read_bytes() for path in (tmp_path / "tombstones").iterdir()}
    bury(str(tmp_path), "one", photos=["a" * 24], people=[(NETWORK, "0", people[:1])])
    assert {path.name: path.read_bytes() for path in (tmp_path / "tombstones").iterdir()} == before
    stones = bury(str(tmp_path), "two", photos=["b" * 24], people=[(NETWORK, "0", people[1:2])])
    assert stones.has_photo("a" * 24) and stones.has_photo("b" * 24) and stones.codes == 2
    assert (tmp_path / "tombstones" / "salt").stat().st_mode & 0o077 == 0


def test_only_tombstones_from_elsewhere_ask_for_finished_parts_again(tmp_path):
    stones = bury(str(tmp_path), "one", photos=["a" * 24], people=[], salt=SALT)
    assert stones.digest != ""
    (tmp_path / "erased").mkdir()
    (tmp_path / "erased" / "one.json").write_text("{}")
    assert Tombstones.open(str(tmp_path)).digest == ""


@pytest.mark.parametrize("damage", ["salt", "entry", "lost salt"])
def test_damage_is_an_error_and_never_an_empty_memory(tmp_path, damage):
    bury(str(tmp_path), "one", photos=["a" * 24], people=[], salt=SALT)
    folder = tmp_path / "tombstones"
    if damage == "lost salt":
        (folder / "salt").unlink()
    else:
        (folder / ("salt" if damage == "salt" else "one.json")).write_text("{")
    with pytest.raises(DataError, match="come back"):
        Tombstones.open(str(tmp_path))


def test_a_picture_is_known_by_face_and_hash_together_and_mirrored(tmp_path, people):
    """Hashes as faces.attributes.perceptual_hash gives them, of a picture and of its mirror image."""
    picture = rng(5, "picture").integers(0, 256, (112, 112, 3), dtype=np.uint8)
    hashes = np.array([perceptual_hash(picture), perceptual_hash(np.ascontiguousarray(picture[:, ::-1]))], np.uint64)
    stones = bury(str(tmp_path), "one", photos=[], people=[], pictures={NETWORK: (people[:1], hashes[:1])}, salt=SALT)
    alike = near(people[:1], 0.97, 6)
    assert stones.has_picture(np.repeat(alike, 2, axis=0), hashes, NETWORK).all()
    assert not stones.has_picture(people[:1], hashes[:1] ^ np.uint64(0xFFFFFFFF), NETWORK).any(), "another picture"
    assert not stones.has_picture(people[1:2], hashes[:1], NETWORK).any(), "another face"
    assert not stones.has_person(people, NETWORK).any()
    assert not stones.has_picture(people[:1], hashes[:1], "other").any()


def test_a_mirrored_face_is_known_by_its_own_code(tmp_path, people):
    """Where a face's mirrored picture is remembered, more is asked of its code, and less of its hash."""
    two = {NETWORK: (people[:2], np.array([0, 0], np.uint64))}
    mirrored = {NETWORK: (np.array([1]), people[2:3], np.array([2**64 - 1], np.uint64))}
    stones = bury(str(tmp_path), "one", photos=[], people=[], pictures=two, mirrored=mirrored, salt=SALT)
    assert stones.has_picture(people[:3], np.array([0, 0, 2**64 - 1], np.uint64), NETWORK).all()
    other = np.array([0, 0, 2**64 - 1], np.uint64) ^ np.uint64(2**6 - 1)
    assert stones.has_picture(people[:3], other, NETWORK).tolist() == [False, True, True]
    alike = near(people[:2], 0.93, 9)  # 0.88 of the signs
    assert stones.has_picture(alike, np.zeros(2, np.uint64), NETWORK).tolist() == [True, False]


def test_a_tombstone_that_says_no_limits_of_pictures_is_read(tmp_path, people):
    pictures = {NETWORK: (people[:1], np.zeros(1, np.uint64))}
    bury(str(tmp_path), "one", photos=[], people=[], pictures=pictures, salt=SALT)
    path = tmp_path / "tombstones" / "one.json"
    said = json.loads(path.read_text())
    del said["pictures"][0]["limits"]
    path.write_text(json.dumps(said))
    stones = Tombstones.open(str(tmp_path))
    assert stones.has_picture(near(people[:1], 0.93, 9), np.zeros(1, np.uint64), NETWORK).all()


def test_each_erased_face_is_a_code_of_the_person(tmp_path, people):
    """A face far from the person's mean comes back as a copy, and is known by its own code."""
    pictures = {NETWORK: (people[1:5], np.arange(4, dtype=np.uint64))}
    stones = bury(str(tmp_path), "one", photos=[], people=[(NETWORK, "0", people[:1])], pictures=pictures, salt=SALT)
    assert stones.has_person(near(people[1:5], 0.9, 7), NETWORK).all() and stones.codes == 5
    assert not stones.has_person(near(people[1:5], 0.5, 8), NETWORK).any()
    assert not stones.has_person(people[5:], NETWORK).any()


def test_no_id_is_confirmed_without_the_salt(tmp_path, people):
    face = f"{'c' * 24}-1"
    bury(str(tmp_path), "one", photos=["a" * 24], people=[], face_ids=[face], salt=SALT)
    stones = Tombstones.open(str(tmp_path))
    assert stones.has_face(face) and not stones.has_face(f"{'c' * 24}-0")
    told = (tmp_path / "tombstones" / "one.json").read_text()
    plain = [way(each.encode()).hexdigest()[:32] for each in ("a" * 24, face) for way in (hashlib.sha256, hashlib.md5)]
    assert not any(word in told for word in (face, "a" * 24, *plain)) and face_mark(SALT, face) in told


def test_a_lost_salt_is_never_drawn_anew(tmp_path):
    bury(str(tmp_path), "one", photos=["a" * 24], people=[], salt=SALT)
    assert open_salt(str(tmp_path)) == SALT
    (tmp_path / "tombstones" / "salt").unlink()
    with pytest.raises(DataError, match="come back"):
        open_salt(str(tmp_path))
