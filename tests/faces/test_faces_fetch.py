"""`anchorface fetch` against a server on loopback: names and sets, licences, packs, what is half here, what is in the
way.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces import fetch as fetching
from anchorface.faces import weights
from anchorface.faces.align import ARCFACE_TEMPLATE
from anchorface.faces.weight_table import PACKS, WEIGHTS, Weight
from anchorface.records.download import part_of
from anchorface.records.errors import WeightsError
from anchorface.records.seeds import rng
from anchorface.records.web import FETCH_PRIVATE
from tests.file_server import FileServer, Served, file_server

CONTENT = rng(0, "weights").bytes(300_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server; a home without weights; and a table of which it serves a free file, a non-commercial one and a copy."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("ANCHORFACE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "REPOSITORY", tmp_path / "nowhere" / "repository")
    monkeypatch.setenv(FETCH_PRIVATE, "1")
    with file_server() as one:
        served = {name: replace(weights.weight(name), url=f"{one.url}/{name}", **{hashed: digest(CONTENT)})
                  for name, hashed in (("vgg16_imagenet", "sha256"), ("scrfd_500m_kps", "sha256"),
                                       ("adaface_ir50_ms1mv2", "copy_sha256"))}
        monkeypatch.setattr(weights, "WEIGHTS", tuple(served.get(entry.name, entry) for entry in WEIGHTS))
        one.files = {f"/{name}": Served(CONTENT) for name in served}
        yield one


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["fetch", *words], env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


def cached(entry: Weight) -> Path:
    return weights.cache() / (entry.copy or entry.file)


def test_a_weight_is_fetched_checked_and_found_and_its_licence_and_progress_are_shown(server: FileServer) -> None:
    status, text = command("vgg16_imagenet")
    path = cached(weights.weight("vgg16_imagenet"))
    assert status == 0 and "BSD-3-Clause" in text and "300.0/300.0 kB" in text and str(path) in text
    assert path.read_bytes() == CONTENT and weights.find("vgg16_imagenet") == path
    server.asked.clear()
    assert command("vgg16_imagenet")[0] == 0 and not server.asked  # it is here


def test_what_is_not_for_commercial_use_is_accepted_before_a_byte_comes(server: FileServer) -> None:
    status, text = command("vgg16_imagenet", "scrfd_500m_kps")
    assert status == 2 and "scrfd_500m_kps: InsightFace: non-commercial research" in text
    assert "--accept-licence" in text and not server.asked
    status, _ = command("vgg16_imagenet", "scrfd_500m_kps", "--accept-licence")
    assert status == 0 and weights.find("scrfd_500m_kps").read_bytes() == CONTENT
    assert command("scrfd_500m_kps")[0] == 0  # what is here asks for nothing


def test_the_authors_copy_stands_for_the_checkpoint_under_its_own_hash(server: FileServer) -> None:
    status, text = command("adaface_ir50_ms1mv2")
    path = weights.find("adaface_ir50_ms1mv2")
    assert status == 0 and "licence of the pictures" in text and path.name == "adaface_ir50_ms1mv2.pt"
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.find("adaface_ir50_ms1mv2")
    assert command("adaface_ir50_ms1mv2")[0] == 0 and path.read_bytes() == CONTENT  # a damaged one is replaced
    path.with_suffix(".ckpt").write_bytes(b"the checkpoint itself")
    assert weights.find("adaface_ir50_ms1mv2").suffix == ".ckpt"


def test_half_a_weight_is_told_and_the_next_fetch_goes_on(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "download", partial(fetching.download, wait=0.01))
    server.files["/vgg16_imagenet"].cuts = [100_000, 0, 0]
    status, text = command("vgg16_imagenet")
    assert status == 2 and "100000 bytes are here and are kept" in text and "Traceback" not in text
    with pytest.raises(WeightsError, match=r"(?s)only a part of it.*downloads the rest"):
        weights.find("vgg16_imagenet")
    assert {row.weight.name: row.state for row in weights.survey()}["vgg16_imagenet"] == "fetched in part"
    assert command("vgg16_imagenet")[0] == 0 and server.asked[-1] == ("/vgg16_imagenet", "bytes=100000-")
    assert weights.find("vgg16_imagenet").read_bytes() == CONTENT


def test_another_file_under_the_address_is_refused(server: FileServer) -> None:
    server.files["/vgg16_imagenet"].content = b"another"
    status, text = command("vgg16_imagenet")
    assert status == 2 and "SHA-256" in text and not weights.present("vgg16_imagenet")


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(tmp_path / "file" / "folder"))
    status, text = command("vgg16_imagenet")
    assert status == 2 and "$ANCHORFACE_WEIGHTS" in text and str(tmp_path / "file") in text and not server.asked
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", os.pathsep.join([str(tmp_path / "mine"), str(tmp_path / "file")]))
    assert command("vgg16_imagenet")[0] == 0 and (tmp_path / "mine" / "vgg16-397923af.pth").read_bytes() == CONTENT


def test_a_wrong_file_that_stands_before_the_cache_is_named_and_not_touched(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "home" / ".insightface" / "models" / "vgg16-397923af.pth"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    status, text = command("vgg16_imagenet")
    assert status == 2 and str(other) in text and "move it out" in text
    assert other.read_bytes() == b"other" and not server.asked


def pack_of(names: list[str], folder: str) -> tuple[bytes, dict[str, bytes]]:
    members = {name: rng(1, name).bytes(1000) for name in names}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        for name, content in [*members.items(), ("../escape.onnx", b"out"), ("unused.onnx", b"more")]:
            pack.writestr(f"{folder}{name}", content)
    return archive.getvalue(), members


@pytest.mark.parametrize("folder", ["", "antelopev2/"])
def test_a_pack_comes_by_insightfaces_own_name_and_only_the_members_of_the_table_are_kept(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    storage = pytest.importorskip("insightface.utils.storage", reason="needs the extra `insightface`")
    assert storage.model_zoo_download_url("antelopev2.zip").startswith("https://github.com/deepinsight/insightface/")
    archive, members = pack_of(["scrfd_10g_bnkps.onnx", "glintr100.onnx"], folder)
    monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", f"{server.url}/zoo/")
    monkeypatch.setitem(PACKS, "antelopev2", digest(archive))
    server.files["/zoo/antelopev2.zip"] = Served(archive)

    def table(wrong: str = "") -> None:
        monkeypatch.setattr(weights, "WEIGHTS", tuple(
            replace(entry, sha256=digest(members[Path(entry.file).name] + wrong.encode()))
            if entry.pack == "antelopev2" else entry for entry in weights.WEIGHTS))

    table("wrong")
    status, text = command("antelopev2", "--accept-licence")
    assert status == 2 and "is not the file of the table" in text and not weights.present("antelopev2/glintr100")
    table()
    assert command("antelopev2")[0] == 2  # not accepted
    assert command("antelopev2", "--accept-licence")[0] == 0
    assert weights.find("antelopev2", "embedder").read_bytes() == members["glintr100.onnx"]
    assert weights.find("antelopev2", "detector").read_bytes() == members["scrfd_10g_bnkps.onnx"]
    assert {file.name for file in weights.cache().rglob("*") if file.is_file()} == set(members)
    assert not list(tmp_path.rglob("escape.onnx"))


def test_crops_are_aligned_by_insightfaces_convention() -> None:
    alignment = pytest.importorskip("insightface.utils.face_align", reason="needs the extra `insightface`")
    np.testing.assert_allclose(ARCFACE_TEMPLATE, alignment.arcface_dst, atol=1e-4)


@pytest.mark.parametrize(("name", "said"), [
    ("adaface_ir18_webface4m", "drive.google.com"), ("farl_b16_ep16", "FacePerceiver"), ("adaface_small", "carried"),
    ("flux2_klein_prompt", "anchorface prompt"), ("mtcnn", "install that with pip"), ("nothing", "known:"),
])
def test_what_cannot_be_fetched_says_what_to_do_and_nothing_else_is_fetched_either(
    server: FileServer, name: str, said: str
) -> None:
    status, text = command("vgg16_imagenet", name)
    assert status == 2 and said in text and not server.asked


def test_every_set_is_of_the_table_and_can_be_fetched() -> None:
    for names in fetching.SETS.values():
        assert names and all(entry.is_fetched for entry in fetching.wanted(names))
    assert {entry.name for entry in fetching.wanted(["buffalo_l"])} == {"buffalo_l/det_10g", "buffalo_l/w600k_r50"}


def test_a_part_is_named_after_its_file(tmp_path: Path) -> None:
    entry = weights.weight("buffalo_l", "detector")
    assert part_of(weights.fetched_file(entry)).name == "buffalo_l.zip.part"
