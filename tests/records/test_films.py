"""The one reader of films: upright, with true times, and nothing in a file opens anything else."""

import io
import socket
import time
from pathlib import Path

import av
import numpy as np
import pytest

from anchorface.degradation.clip import apply_clip
from anchorface.degradation.files import Settings, degrade_files
from anchorface.degradation.film import film_bytes, rate_of, read_film
from anchorface.degradation.plan_lines import read_plans
from anchorface.faces.images import read_photo
from anchorface.pipelines.sources.films import Film
from anchorface.records.errors import PhotoError
from anchorface.records.films import FilmLimits, FilmReader

LEVELS = np.arange(8) * 30


def grey(levels: np.ndarray = LEVELS, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Frames of one grey each."""
    return np.repeat(np.uint8(levels)[:, None, None, None], 3, axis=3) + np.zeros((1, *size, 1), np.uint8)


def opened(content: bytes, **limits: float) -> list[tuple[float, np.ndarray]]:
    film = FilmReader(io.BytesIO(content), "film", FilmLimits(**limits))
    try:
        return [(second, film.pixels(frame)) for second, frame in film.frames()]
    finally:
        film.close()


def cause(content: bytes, **limits: float) -> str:
    with pytest.raises(PhotoError) as caught:
        opened(content, **limits)
    return caught.value.cause


def test_a_phones_film_is_degraded_upright_and_a_variable_rate_stays(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "trouble" / "degrade_film_rotation_vfr"
    counts = degrade_files([str(folder)], str(tmp_path), read=lambda uri: read_photo(uri)[0],
                           settings=Settings(clip_profile="vfhq"), progress=print)
    assert counts == {"made": 2, "there": 0, "dropped": 1}
    assert "truncated" in (tmp_path / "dropped.jsonl").read_text()
    with av.open(str(folder / "phone.mp4")) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (256, 192)
    made, _ = read_film(str(tmp_path / "phone.mp4-0.mp4"))
    assert made.shape[1:3] == (256, 192)
    with av.open(str(folder / "phone.mp4")) as film:
        lying = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    clean, _ = read_film(str(folder / "phone.mp4"))
    assert np.array_equal(clean, np.rot90(np.stack(lying), -1, axes=(1, 2)))
    plan = read_plans(str(tmp_path / "plans.jsonl"))["phone.mp4", 0]
    assert np.abs(made.astype(int) - apply_clip(clean, plan)).mean() < 6
    _, before = read_film(str(folder / "variable.mp4"))
    _, after = read_film(str(tmp_path / "variable.mp4-0.mp4"))
    assert before[-1] == after[-1] == 4.0 and np.array_equal(before, after)


def test_every_room_reads_the_same_frames_at_the_same_times(tmp_path: Path) -> None:
    seconds = np.array([0.0, 0.04, 0.5, 1.0, 1.04, 2.5, 3.0, 4.0])
    path = tmp_path / "film.mp4"
    path.write_bytes(film_bytes(grey(), seconds))
    frames, told = read_film(str(path))
    assert np.allclose(told, seconds, atol=1e-4) and rate_of(told) == 2.0
    film = Film(str(path), 10_000)
    for second, frame in zip(seconds, frames, strict=True):
        assert np.array_equal(film.at(second)[0], frame)
    film.close()


def hostile(secret: Path, port: int) -> dict[str, bytes]:
    """Play lists and descriptions that name another file or an address."""
    web = f"http://127.0.0.1:{port}/a.mp4"
    mpd = ('<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT1S"><Period>'
           f"<AdaptationSet><Representation id='1' bandwidth='1' mimeType='video/mp4'><BaseURL>{web}</BaseURL>"
           "</Representation></AdaptationSet></Period></MPD>")
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port + 1} RTP/AVP 96\n"
    return {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "hls_web.mov": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{web}\n#EXT-X-ENDLIST\n".encode(),
        "hls_concat.avi": f"#EXTM3U\n#EXTINF:1,\nconcat:{secret}|{secret}\n#EXT-X-ENDLIST\n".encode(),
        "list.mkv": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "dash.mp4": mpd.encode(), "sdp.mp4": f"{sdp}a=rtpmap:96 H264/90000\n".encode(),
        "imf.mp4": b'<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"/>',
        "lines.webm": f"{secret}\n{secret}\n".encode(), "rtsp.mp4": f"rtsptext\nrtsp://127.0.0.1:{port}/\n".encode(),
        "picture.mp4": f"%d {secret}".encode(), "filter.mp4": f"movie={secret}".encode(),
    }


def test_nothing_in_a_film_opens_a_file_or_an_address(tmp_path: Path) -> None:
    secret, films = tmp_path / "secret.mp4", tmp_path / "films"
    secret.write_bytes(film_bytes(grey(), 5))
    films.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        contents = hostile(secret, server.getsockname()[1])
        for name, content in contents.items():
            (films / name).write_bytes(content)
        begun = time.monotonic()
        counts = degrade_files([str(films)], str(tmp_path / "out"), read=lambda uri: read_photo(uri)[0],
                               settings=Settings(), progress=print)
        assert time.monotonic() - begun < 20
        assert counts == {"made": 0, "there": 0, "dropped": len(contents)}
        with pytest.raises(TimeoutError):
            server.accept()
    for name in contents:
        with pytest.raises(PhotoError, match="not a film"):
            Film(str(films / name), 10**8)
    assert "not a film" in (tmp_path / "out" / "dropped.jsonl").read_text()


def test_a_film_is_bounded_in_pixels_frames_and_seconds() -> None:
    content = film_bytes(grey(), 5)
    assert len(opened(content)) == 8
    assert cause(content, pixels=1000) == "too many pixels"
    assert cause(content, frames=7) == "too many frames"
    assert cause(content, stall=-1.0) == cause(content, seconds=-1.0) == "too slow"
    assert cause(film_bytes(grey(size=(8, 64)), 5)) == "too small"


def test_a_film_whose_file_hangs_ends_by_the_clock() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.05)
            return super().read(min(size or 1, 16))

    film = film_bytes(grey(), 5)
    begun = time.monotonic()
    with pytest.raises(PhotoError, match="too slow"):
        FilmReader(Slow(film), "slow", FilmLimits(stall=0.5))
    assert time.monotonic() - begun < 5


def test_a_cover_picture_is_not_the_film() -> None:
    file = io.BytesIO()
    picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
    with av.open(file, "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt, cover.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        stream = out.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux(cover.encode(picture))
        for frame in grey():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    assert [pixels.shape for _, pixels in opened(file.getvalue())] == [(48, 64, 3)] * 8


def test_a_film_that_is_shorter_than_it_says_is_truncated(shared_data: Path) -> None:
    path = shared_data / "trouble" / "degrade_film_rotation_vfr" / "cut.mkv"
    film = Film(str(path), 10**8)
    with pytest.raises(PhotoError, match="truncated"):
        list(film.sample(0.1))
    assert film.second == 0.25
    film.close()
