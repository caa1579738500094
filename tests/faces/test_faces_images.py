import io
import struct
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchorface.faces.images import decode_jpeg, encode_jpeg, read_photo
from anchorface.records.errors import DataError, PhotoError
from anchorface.records.seeds import rng


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth coloured picture whose four corners differ, so that a turn is seen."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / (width - 1), y * 255 / (height - 1), (x + y) % 64 + 90], axis=-1).astype(np.uint8)


def as_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


JPEG = as_bytes(Image.fromarray(rng(1, "noise").integers(0, 256, (200, 160, 3), dtype=np.uint8)), "JPEG", quality=90)

BAD = {
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "a jpeg's first ten bytes": (JPEG[:10], "truncated"),
    "half a png": (as_bytes(Image.fromarray(picture(200, 200)))[:400], "truncated"),
    "text named .jpg": (b"this is no photograph\n" * 40, "not an image"),
    "an empty file": (b"", "not an image"),
    "one pixel": (as_bytes(Image.new("RGB", (1, 1))), "too small"),
    "a thin line": (as_bytes(Image.new("RGB", (400, 3))), "too small"),
    "a header of 30,000 x 30,000": (png_header(30_000, 30_000), "too many pixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_says_its_cause_and_its_name(case: str, tmp_path: Path) -> None:
    content, cause = BAD[case]
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError) as raised:
        read_photo(str(path))
    assert raised.value.cause == cause
    assert "holiday.jpg" in str(raised.value)


def test_a_jpeg_that_claims_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    frame = JPEG.index(b"\xff\xc0")
    claims = JPEG[: frame + 5] + struct.pack(">HH", 12_000, 12_000) + JPEG[frame + 9 :]
    with pytest.raises(PhotoError, match="12000 x 12000") as raised:
        read_photo(claims)
    assert raised.value.cause == "too many pixels"
    with pytest.raises(PhotoError, match="160 x 200"):
        read_photo(JPEG, max_pixels=10_000)


def test_a_file_that_is_not_there_is_unreadable() -> None:
    with pytest.raises(PhotoError) as raised:
        read_photo("/no/such/folder/photo.jpg")
    assert raised.value.cause == "unreadable"


def test_grey_becomes_three_equal_channels() -> None:
    grey = picture()[..., 0]
    pixels, info = read_photo(as_bytes(Image.fromarray(grey)))
    assert pixels.dtype == np.uint8 and info.format == "PNG"
    np.testing.assert_array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight_and_not_cut() -> None:
    grey = picture()[..., 0].astype(np.uint16) * 257
    for kind in ("PNG", "TIFF"):
        pixels, _ = read_photo(as_bytes(Image.fromarray(grey), kind))
        np.testing.assert_array_equal(pixels[..., 0], grey // 257)


def test_transparent_pixels_lie_on_white_and_opaque_ones_keep_their_colour() -> None:
    layer = np.dstack([picture(), np.full((40, 60), 255, np.uint8)])
    layer[:10, :10] = (200, 0, 0, 0)
    pixels, _ = read_photo(as_bytes(Image.fromarray(layer)))
    assert (pixels[:10, :10] == 255).all()
    np.testing.assert_array_equal(pixels[10:], picture()[10:])


@pytest.mark.parametrize("mode", ["P", "CMYK", "LA", "1"])
def test_every_mode_becomes_eight_bit_rgb(mode: str) -> None:
    pixels, _ = read_photo(as_bytes(Image.fromarray(picture()).convert(mode), "TIFF"))
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8 and pixels.std() > 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotated_photo_stands_upright(orientation: int) -> None:
    upright = picture()
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, info = read_photo(as_bytes(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif))
    assert (info.width, info.height) == (60, 40)
    np.testing.assert_array_equal(pixels, upright)


def test_the_date_of_exposure_is_read_and_a_wrong_one_costs_nothing() -> None:
    for text, expected in (("2019:05:04 12:00:00", date(2019, 5, 4)), ("0000:00:00 00:00:00", None), ("May", None)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = text
        _, info = read_photo(as_bytes(Image.fromarray(picture()), "JPEG", exif=exif))
        assert info.taken == expected


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_phone_s_photo_is_read_upright_with_its_date(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2019:05:04 12:00:00"
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(picture(96, 128), 1)))
    content = as_bytes(stored, kind, exif=exif.tobytes(), quality=95)
    pixels, info = read_photo(content)
    assert (info.format, info.width, info.height, info.taken) == (kind, 128, 96, date(2019, 5, 4))
    assert np.abs(pixels.astype(int) - picture(96, 128)).mean() < 6
    with pytest.raises(PhotoError) as raised:
        read_photo(content, max_pixels=10_000)
    assert raised.value.cause == "too many pixels"
    with pytest.raises(PhotoError) as raised:
        read_photo(content[: len(content) // 2])
    assert raised.value.cause in ("not an image", "unreadable", "truncated")


def test_a_whole_png_with_a_text_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    data = b"Comment\x00\x00" + zlib.compress(bytes(40_000_000), 9)
    content = as_bytes(Image.fromarray(picture()))
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    with pytest.raises(PhotoError) as raised:
        read_photo(content[:33] + chunk + content[33:])
    assert raised.value.cause == "unreadable"


def test_a_crop_survives_jpeg_and_a_broken_one_is_refused() -> None:
    content = encode_jpeg(picture(64, 64))
    assert np.abs(decode_jpeg(content).astype(int) - picture(64, 64)).mean() < 3
    with pytest.raises(DataError):
        decode_jpeg(content[: len(content) // 2])
