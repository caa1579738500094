import hashlib
import re
from pathlib import Path

import pytest

from anchorface.faces.weight_table import PACKS
from anchorface.faces.weights import WEIGHTS, find, folders, survey, weight
from anchorface.records.errors import WeightsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched first, and a home without weights."""
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_missing_file_says_where_it_was_looked_for_and_where_to_get_it(folder: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        find("adaface_ir101_webface12m")
    text = str(raised.value)
    assert all(str(place) in text for place in folders()) and str(folder) in text
    assert "adaface_ir101_webface12m.ckpt" in text and "MIT" in text and "AdaFace" in text


def test_a_file_of_another_hash_is_refused(folder: Path) -> None:
    (folder / "scrfd_500m_kps.onnx").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="SHA-256"):
        find("scrfd_500m_kps")
    assert {row.weight.name: row.state for row in survey()}["scrfd_500m_kps"] == "wrong hash"


def test_a_file_whose_hash_nobody_stated_is_used_and_the_survey_says_so(folder: Path) -> None:
    path = folder / "adaface_ir50_ms1mv2.ckpt"
    path.write_bytes(b"one")
    assert find("adaface_ir50_ms1mv2") == path
    assert {row.weight.name: row.state for row in survey()}["adaface_ir50_ms1mv2"] == "hash not known"


def test_packs_are_found_by_name_in_their_own_folder(folder: Path) -> None:
    pack = folder / "home" / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    for name in ("det_10g.onnx", "w600k_r50.onnx"):
        (pack / name).write_bytes(b"")
    places = {row.weight.name: (row.path, row.state) for row in survey()}
    for kind, name in (("detector", "det_10g"), ("embedder", "w600k_r50")):
        assert weight("buffalo_l", kind).name == f"buffalo_l/{name}"
        assert places[f"buffalo_l/{name}"] == (pack / f"{name}.onnx", "wrong hash")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="scrfd_500m_kps"):
        weight("scrfd_9000")
    with pytest.raises(WeightsError, match="embedder"):
        weight("scrfd_2.5g_kps", "embedder")


def test_an_address_stands_only_beside_a_hash_and_a_hub_beside_a_commit() -> None:
    assert sum(entry.is_fetched for entry in WEIGHTS) >= 19
    for entry in WEIGHTS:
        if entry.url:
            assert re.fullmatch(r"[0-9a-f]{64}", entry.copy_sha256 or entry.sha256 or "")
            assert entry.url.startswith("https://") and entry.url.endswith(Path(entry.copy or entry.file).suffix)
        if entry.pack:
            assert entry.sha256 and re.fullmatch(r"[0-9a-f]{64}", PACKS[entry.pack])
        assert (entry.copy != "") == (entry.copy_sha256 is not None)
        assert bool(entry.hub) == bool(entry.revision)


def test_every_weight_has_a_licence_and_only_free_ones_are_called_commercial() -> None:
    assert len({entry.name for entry in WEIGHTS}) == len(WEIGHTS)
    for entry in WEIGHTS:
        assert entry.licence and entry.url_hint
        assert entry.commercial == ("non-commercial" not in entry.licence)


def test_what_comes_from_the_hub_is_of_the_pinned_commit_or_not_taken(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    entries = [entry for entry in WEIGHTS if entry.hub]
    assert len(entries) == 4
    for entry in entries:
        assert re.fullmatch(r"[0-9a-f]{40}", entry.revision)
        cache = tmp_path / "hub" / f"models--{entry.hub.replace('/', '--')}"
        for commit, found in (("0" * 40, False), (entry.revision, True)):
            place = cache / "snapshots" / commit / entry.file.split("/", 1)[1]
            place.mkdir(parents=True)
            if "tokenizer" in entry.name:
                (place / "tokenizer_config.json").write_text("{}")
                rest = [place / "tokenizer.json"]
            else:
                (place / "config.json").write_text("{}")
                (place / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors", "b": "2"}}')
                rest = [place / "1.safetensors", place / "2"]
            (cache / "refs").mkdir(exist_ok=True)
            (cache / "refs" / "main").write_text(commit)
            if found:
                for file in rest:  # a folder that lacks a file is not taken
                    with pytest.raises(WeightsError, match="only a part of it"):
                        find(entry.name)
                    assert {row.weight.name: row.state for row in survey()}[entry.name] == "fetched in part"
                    file.write_bytes(b"")
                assert find(entry.name) == place
            else:
                with pytest.raises(WeightsError):
                    find(entry.name)


def test_the_shared_networks_have_the_hashes_of_the_table(shared_data: Path) -> None:
    checked = 0
    for entry in WEIGHTS:
        path = shared_data / "models" / entry.file
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256, entry.name
            checked += 1
    assert checked == 8
