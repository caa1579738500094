"""What is read is the whole photograph: its colours, all of its data, the picture that was meant."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from anchorface.faces import decoding
from anchorface.faces.colour import srgb_profile, to_srgb
from anchorface.faces.images import read_photo
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import PhotoError
from anchorface.records.seeds import rng

NOISE = rng(4, "noise").integers(0, 256, (96, 128, 3), dtype=np.uint8)


def as_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def cause(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        read_photo(content)
    return caught.value.cause


@pytest.mark.parametrize(("name", "most"), [
    ("b_display_p3.png", 0.3), ("c_adobe_rgb.png", 0.3), ("d_prophoto.png", 0.5), ("e_iphone.heic", 1.2)])
def test_a_photograph_in_another_colour_space_looks_as_it_does_in_srgb(
    shared_data: Path, name: str, most: float
) -> None:
    folder = shared_data / "trouble" / "colour_profiles" / "colour"
    wanted = read_photo(str(folder / "a_srgb.png"))[0].astype(int)
    assert np.abs(read_photo(str(folder / name))[0] - wanted).mean() < most
    if name.endswith("png"):
        assert np.abs(np.asarray(Image.open(folder / name)).astype(int) - wanted).mean() > 4, "unconverted, far off"


def test_a_profile_that_says_srgb_or_nothing_changes_no_pixel(shared_data: Path) -> None:
    path = shared_data / "trouble" / "colour_profiles" / "colour" / "b_display_p3.png"
    p3 = Image.open(path).info["icc_profile"]
    picture = Image.fromarray(NOISE)
    for profile in (srgb_profile(), None, b"", b"nonsense" * 40, p3[:200]):
        assert np.array_equal(read_photo(as_bytes(picture, "PNG", icc_profile=profile))[0], NOISE)
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert np.array_equal(read_photo(as_bytes(picture, "PNG", icc_profile=grey))[0], NOISE)
    assert not np.array_equal(read_photo(as_bytes(picture, "PNG", icc_profile=p3))[0], NOISE)
    assert srgb_profile() == srgb_profile() and len(srgb_profile()) < 4096


def test_transparency_and_palettes_keep_their_places_when_colours_are_converted(shared_data: Path) -> None:
    path = shared_data / "trouble" / "colour_profiles" / "colour" / "d_prophoto.png"
    profile = Image.open(path).info["icc_profile"]
    flat = Image.new("RGB", (32, 32), (90, 160, 60))
    wanted = read_photo(as_bytes(flat, "PNG", icc_profile=profile))[0][0, 0].tolist()
    layer = flat.convert("RGBA")
    layer.paste((0, 0, 0, 0), (0, 0, 16, 32))
    read = read_photo(as_bytes(layer, "PNG", icc_profile=profile))[0]
    assert read[0, 20].tolist() == wanted and read[0, 2].tolist() == [255, 255, 255]
    palette = read_photo(as_bytes(flat.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", icc_profile=profile))[0]
    assert np.abs(palette[0, 0].astype(int) - wanted).max() <= 2


def gamma_one(colour: bytes) -> bytes:
    """A display profile of one linear tone curve, grey (`GRAY`)."""
    xyz = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(8)
    tags = {b"wtpt": xyz, b"kTRC": curve}
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytearray(128)
    head[0:4] = struct.pack(">I", start + len(body))
    head[8:12], head[12:16], head[16:20], head[20:24] = b"\x02\x40\x00\x00", b"mntr", colour, b"XYZ "
    head[36:40], head[68:80] = b"acsp", xyz[8:]
    return bytes(head) + table + body


def test_a_grey_picture_of_another_gamma_is_converted() -> None:
    picture = Image.new("L", (20, 20), 64)
    read = read_photo(as_bytes(picture, "PNG", icc_profile=gamma_one(b"GRAY")))[0]
    assert abs(int(read[0, 0, 0]) - 137) <= 1 and np.ptp(read) <= 1, "a quarter of the light is level 137 of sRGB"


def test_a_cmyk_picture_is_converted_by_its_profile_or_plainly() -> None:
    picture = Image.fromarray(NOISE).convert("CMYK")
    plain = read_photo(as_bytes(picture, "JPEG", quality=95))[0]
    assert plain.shape == NOISE.shape
    assert to_srgb(picture) is picture


def test_a_jpeg_that_lost_data_inside_is_truncated(shared_data: Path) -> None:
    for path in sorted((shared_data / "trouble" / "curate_damaged_jpeg_taken").glob("*.jpg")):
        assert cause(path.read_bytes()) == "truncated", path.name


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}],
                         ids=("baseline", "progressive", "444", "restarts"))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_kind_of_jpeg_with_a_hole_is_told(mode: str, options: dict) -> None:
    whole = as_bytes(Image.fromarray(NOISE).convert(mode), "JPEG", quality=92, **options)
    assert np.array_equal(read_photo(whole)[0], np.array(Image.open(io.BytesIO(whole)).convert("RGB")))
    size = len(whole)
    assert cause(whole[: size // 2] + b"\xff\xd9") == "truncated"
    assert cause(whole[: size // 2] + whole[size * 3 // 4 :]) == "truncated"
    assert cause(whole[: size // 2] + bytes(size // 2 - 2) + b"\xff\xd9") == "truncated"
    assert read_photo(whole + b"trailing bytes of a phone" * 9)[0].shape == NOISE.shape, "after the end nothing counts"


def test_a_few_meaningless_bytes_between_markers_cost_nothing() -> None:
    whole = as_bytes(Image.fromarray(NOISE), "JPEG", quality=92)
    padded = whole[:-2] + bytes(20) + whole[-2:]
    assert np.array_equal(read_photo(padded)[0], read_photo(whole)[0])


def test_no_shared_photograph_is_called_damaged(shared_data: Path) -> None:
    paths = sorted((shared_data / "photos").rglob("*.jpg"))[::6]
    assert len(paths) > 100
    for path in paths:
        assert read_photo(str(path))[1].more == ""


def test_a_jpeg_of_very_many_scans_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = as_bytes(Image.fromarray(NOISE), "JPEG", progressive=True)
    scan = bomb[bomb.rindex(b"\xff\xda") : -2]
    bomb = bomb[:-2] + scan * 500 + b"\xff\xd9"
    monkeypatch.setattr(decoding, "MOST_SCANNED", 10**6)
    with pytest.raises(PhotoError, match="too many scans"):
        decoding.decode_photo(bomb, 10**6, "bomb")


def test_a_raw_is_told_and_not_read_as_its_preview(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "trouble" / "curate_dng_thumbnail" / "IMG_0042.DNG"
    assert cause(raw.read_bytes()) == "raw"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "raw.tif").write_bytes(raw.read_bytes())
    assert ingest(str(tmp_path / "in"), str(tmp_path / "out"), concurrency=0)["photos"] == 0
    assert dropped(str(tmp_path / "out")).column("cause").to_pylist() == ["raw"]


def pages(*sizes: tuple[int, bool]) -> bytes:
    """A TIFF of pages of a side, each whole or a reduced copy."""
    stream = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(stream, True) as file:
        for number, (side, whole) in enumerate(sizes):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[254] = 0 if whole else 1
            Image.new("RGB", (side, side), (10 * number, 0, 0)).save(file, "TIFF", tiffinfo=tags)
            file.newFrame()
    return stream.getvalue()


def test_the_first_whole_page_is_read_and_more_are_told(tmp_path: Path) -> None:
    found, info = read_photo(pages((32, False), (64, True)))
    assert found.shape == (64, 64, 3) and info.more == ""
    found, info = read_photo(pages((64, True), (64, True), (64, True)))
    assert found[0, 0, 0] == 0 and info.more == "pages"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan.tif").write_bytes(pages((64, True), (64, True)))
    assert ingest(str(tmp_path / "in"), str(tmp_path / "out"), concurrency=0)["photos"] == 1
    assert dropped(str(tmp_path / "out")).column("cause").to_pylist() == ["pages"]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_a_film_that_fades_in_a_frame_that_shows_something_is_read(kind: str) -> None:
    clear = Image.fromarray(np.kron(NOISE[:12, :16], np.ones((8, 8, 1), np.uint8)))
    frames = [Image.blend(Image.new("RGB", clear.size), clear, share) for share in (0.0, 0.3, 1.0, 0.6)]
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = as_bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    found, info = read_photo(moving)
    assert info.more == "frames"
    assert np.abs(found.astype(int) - np.asarray(clear)).mean() < 20
    first, _ = read_photo(as_bytes(frames[2], kind, save_all=True, append_images=frames[:2], **options))
    assert np.abs(first.astype(int) - np.asarray(clear)).mean() < 20, "a first frame that shows something is the one"
