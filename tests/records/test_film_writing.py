"""Written films: true times, colours as they were, and sound packet by packet."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from anchorface.records.decoding.film import Frames
from anchorface.records.decoding.sound import Sound, copy_sound
from anchorface.records.errors import DataError, PhotoError
from anchorface.records.film_writing import FilmWriter
from anchorface.records.films import FilmLimits, FilmReader, Look

COLOURS = np.uint8([(200, 60, 60), (60, 200, 60), (60, 60, 200), (230, 180, 150)])
BARS = np.repeat(np.repeat(COLOURS, 24, axis=0)[None], 64, axis=0)


def written(count: int = 50, size: tuple[int, int] = (96, 64), **options: object) -> bytes:
    file = io.BytesIO()
    with FilmWriter(file, size, 25.0, **options) as film:
        for number in range(count):
            film.add(np.resize(BARS, (size[1], size[0], 3)), number / 25)
    return file.getvalue()


def sounding(container: str, codec: str, rate: int = 48_000, seconds: float = 2.0, pictures: float = 2.0) -> bytes:
    """A film with a tone that becomes loud after half a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as film:
        stream, sound = film.add_stream("mpeg4", rate=25), film.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound.layout, sound.codec_context.bit_rate = "mono", 64_000
        for number in range(round(25 * pictures)):
            grey = np.full((48, 64, 3), 4 * number, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        time = np.arange(round(seconds * rate)) / rate
        tone = np.where(time < 0.5, 0.01, 0.5) * np.sin(2 * np.pi * 440 * time)[None]
        form = sound.codec_context.format.name
        levels = (tone * 32767).astype(np.int16) if form.startswith("s16") else tone.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(levels, format=form, layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packets in (sound.encode(frame), sound.encode(), stream.encode()):
            film.mux(packets)
    return file.getvalue()


def packets(content: bytes) -> list[tuple[float, bytes]]:
    """Of the sound, with their times."""
    with av.open(io.BytesIO(content)) as film:
        options = {"ignore_editlist": "1"} if film.format.name.startswith("mov") else {}
    with av.open(io.BytesIO(content), options=options) as film:
        stream = film.streams.audio[0]
        return [(float(one.pts * one.time_base), bytes(one)) for one in film.demux(stream) if one.size]


def heard(content: bytes) -> float:
    """When the tone becomes loud, in seconds from the first picture."""
    with av.open(io.BytesIO(content)) as film:
        frames = [(frame.time, frame.to_ndarray().reshape(-1)) for frame in film.decode(audio=0)]
        rate = film.streams.audio[0].rate
    with av.open(io.BytesIO(content)) as film:
        first = next(iter(film.decode(video=0))).time
    return next(second + np.argmax(loud) / rate - first for second, levels in frames
                if (loud := np.abs(levels / (32767 if levels.dtype == np.int16 else 1)) > 0.2).any())


def again(content: bytes, container: str = "mp4") -> bytes:
    """A film written again, with its sound."""
    file, film = io.BytesIO(), io.BytesIO(content)
    frames = Frames(film, "film", FilmLimits())
    first = frames.next()
    with tempfile.TemporaryFile() as apart:
        sound = copy_sound(film, "film", apart, frames.look.begins, FilmLimits())
        with FilmWriter(file, first[1].shape[1::-1], frames.rate, look=frames.look, sound=sound,
                        container=container) as out:
            while first is not None:
                out.add(first[1], first[0])
                first = frames.next()
    frames.close()
    return file.getvalue()


@pytest.mark.parametrize(("container", "codec", "to"), [
    ("mp4", "aac", "mp4"), ("matroska", "libopus", "mp4"), ("mov", "pcm_s16le", "matroska"), ("avi", "mp2", "mp4")])
def test_sound_is_copied_packet_by_packet_at_its_times(container: str, codec: str, to: str) -> None:
    content = sounding(container, codec)
    made = again(content, to)
    assert [one for _, one in packets(made)] == [one for _, one in packets(content)]
    assert abs(heard(content) - heard(made)) < 0.008


def test_sound_of_a_broadcast_stays_in_step() -> None:
    """Its clock begins anywhere, and its AAC is packed otherwise than in an MP4."""
    content = sounding("mpegts", "aac")
    assert abs(heard(content) - heard(again(content))) < 0.002


def test_sound_beyond_the_pictures_is_kept_and_a_film_may_have_none() -> None:
    content = sounding("mp4", "aac", seconds=3.0, pictures=1.0)
    assert len(packets(again(content))) == len(packets(content))
    with av.open(io.BytesIO(again(written(5)))) as film:
        assert not film.streams.audio


def test_damaged_sound_is_an_error_and_not_half_a_sound() -> None:
    with pytest.raises(PhotoError, match="sound not read"):
        copy_sound(io.BytesIO(b"no film at all" * 99), "film", io.BytesIO(), 0.0, FilmLimits())


def test_a_container_that_takes_a_codec_not_says_so_before_a_frame_is_written() -> None:
    content = sounding("asf", "wmav2", rate=44_100)
    with tempfile.TemporaryFile() as apart:
        sound = copy_sound(io.BytesIO(content), "film", apart, 0.0, FilmLimits())
        assert isinstance(sound, Sound) and sound.codecs == ("wmav2",)
        with pytest.raises(DataError, match="does not take the sound"):
            FilmWriter(io.BytesIO(), (64, 48), 25.0, sound=sound)


@pytest.mark.parametrize("space", [0, 1, 2, 5, 9])
def test_colours_are_those_of_the_pictures_in_every_space_that_a_film_may_name(space: int) -> None:
    content = written(look=Look(space=space, primaries=1, transfer=1, aspect=(4, 3)))
    film = FilmReader(io.BytesIO(content), "film")
    _, frame = next(film.frames())
    assert np.abs(film.pixels(frame).astype(int) - BARS)[:, 4::24].max() < 12
    assert film.look.space == (space or 2) and film.look.aspect == (4, 3)
    film.close()


def test_times_are_true_and_rise_whatever_is_asked() -> None:
    file = io.BytesIO()
    times = [0.0, 0.04, 0.04 + 1e-9, 0.5, 2.0]
    with FilmWriter(file, (96, 64), 25.0) as film:
        for second in times:
            film.add(BARS, second)
        with pytest.raises(DataError, match="in a film of"):
            film.add(BARS[:32], 3.0)
    reader = FilmReader(io.BytesIO(file.getvalue()), "film")
    assert np.allclose([second for second, _ in reader.frames()], times, atol=2e-5)
    reader.close()


def test_odd_sides_are_kept() -> None:
    film = FilmReader(io.BytesIO(written(3, size=(97, 63))), "film")
    assert [film.pixels(frame).shape for _, frame in film.frames()] == [(63, 97, 3)] * 3
    film.close()


def test_what_is_done_with_a_frame_is_no_part_of_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("anchorface.records.films.time.monotonic", lambda: now[0])
    film = FilmReader(io.BytesIO(written(80)), "film", FilmLimits(stall=5.0, seconds=50.0))
    count = 0
    for _ in film.frames():
        now[0] += 100.0
        count += 1
    assert count == 80
    film.close()


def test_aspect_of_a_film_that_lies_on_its_side_is_turned(shared_data: Path) -> None:
    """Of a pixel that is 4:3 in the file, and of one that does not say."""
    path = shared_data / "trouble" / "degrade_film_rotation_vfr" / "phone.mp4"
    film = FilmReader(io.BytesIO(path.read_bytes()), "film")
    _, frame = next(film.frames())
    assert film.look.aspect == (1, 1) and film.pixels(frame).shape[:2] == (256, 192)
    film.close()
    content = written(2, look=Look(aspect=(4, 3)))
    with av.open(io.BytesIO(content)) as lying:
        assert lying.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
