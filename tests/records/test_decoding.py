"""What decodes pictures and films may die of them: the file is told, everything else goes on, and no pixel changes."""

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.degradation.files import Settings, degrade_files
from anchorface.degradation.film import film_bytes
from anchorface.faces.decoding import decode_photo
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_info, read_photo
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources.films import Film
from anchorface.pipelines.sources.reader import PhotoReader
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.decoding.child import Child, decoder
from anchorface.records.decoding.film import Frames
from anchorface.records.decoding.lending import MOST
from anchorface.records.errors import PhotoError
from anchorface.records.films import FilmLimits
from anchorface.records.seeds import rng
from anchorface.restoration import Restorer, SamplerSettings, restore_folder
from tests.conftest import SHARED
from tests.restoration.micro import micro_checkpoint

NOISE = rng(1, "decoding").integers(0, 256, (48, 56, 3), dtype=np.uint8)


def encoded(kind: str, mode: str = "RGB", turned: int = 1, pixels: np.ndarray = NOISE) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(pixels).convert(mode).save(stream, kind, **({"exif": exif} if turned > 1 else {}))
    return stream.getvalue()


def slow_jpeg(scans: int) -> bytes:
    """A JPEG whose last scan comes again and again: a few bytes, and 4 million pixels to be gone through for each."""
    stream = io.BytesIO()
    Image.new("RGB", (2000, 2000), (120, 90, 60)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * scans + b"\xff\xd9"


def used(pid: int) -> float:
    """CPU seconds of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def crashed_after(seconds: float = 0.25) -> Iterator[None]:
    """The decoder gets what a crash gives it, SIGSEGV, once it has worked for so long."""
    read_info(encoded("PNG"))
    pid, over = decoder().pid, threading.Event()
    assert pid is not None
    before, struck = used(pid), []

    def watch() -> None:
        while not over.wait(0.005):
            if used(pid) - before > seconds:
                os.kill(pid, signal.SIGSEGV)
                struck.append(pid)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert struck and decoder().pid != pid


def put(folder: Path, contents: dict[str, bytes]) -> str:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(("kind", "mode", "turned"), [
    ("JPEG", "RGB", 1), ("JPEG", "RGB", 6), ("JPEG", "L", 1), ("JPEG", "CMYK", 1), ("PNG", "RGB", 1),
    ("PNG", "RGBA", 3), ("GIF", "P", 1), ("BMP", "RGB", 1), ("WEBP", "RGB", 1), ("TIFF", "RGB", 1), ("HEIF", "RGB", 1),
    ("AVIF", "RGB", 1), ("JPEG2000", "RGB", 1),
])
def test_the_same_pixels_and_words_come_from_the_process(kind: str, mode: str, turned: int) -> None:
    content = encoded(kind, mode, turned)
    pixels, info = decode_photo(content, 10_000, "x")
    theirs, said = read_photo(content, 10_000, "x")
    assert np.array_equal(pixels, theirs) and info == said == read_info(content, 10_000, "x")
    assert theirs.flags.writeable and theirs.flags.c_contiguous
    with pytest.raises(PhotoError) as refused:
        read_photo(content[: len(content) // 3], 10_000, "cut")
    assert refused.value.uri == "cut" and refused.value.cause in ("truncated", "unreadable", "not an image")


def pieces() -> int:
    """How many pieces of memory the process of the decoder has."""
    return Path(f"/proc/{decoder().pid}/maps").read_text().count("memfd:pixels")


def test_pixels_stay_as_long_as_they_are_used_and_memory_is_filled_again() -> None:
    decoder().close()
    contents = [encoded("PNG", pixels=np.full((1200, 1200, 3), number, np.uint8)) for number in range(80)]
    for content in contents[:10]:
        read_photo(content)
    assert pieces() == 1
    held = [read_photo(content)[0] for content in contents]
    assert sum(pixels.nbytes for pixels in held) > MOST and pieces() * held[0].nbytes <= MOST
    views = [pixels[5:9, 5:9] for pixels in held[:40]]
    del held[:40]
    more = [read_photo(content)[0] for content in contents[40:]]
    for number, pixels in [*enumerate(views), *enumerate(held, 40), *enumerate(more, 40)]:
        assert (pixels == number).all()


def test_memory_whose_pixels_were_not_asked_for_is_filled_again() -> None:
    decoder().close()
    large = np.full((1200, 1200, 3), 7, np.uint8)
    read_info(encoded("JPEG", pixels=large))
    maps = Path(f"/proc/{decoder().pid}/maps")
    before = [line for line in maps.read_text().splitlines() if "memfd:pixels" in line]
    for _ in range(3):
        read_info(encoded("JPEG"))
    assert len(before) == 1 and before[0] in maps.read_text()  # its inode too
    assert (read_photo(encoded("PNG", pixels=large))[0] == large).all() and pieces() == 1


def test_an_ended_process_costs_nothing() -> None:
    content, held = encoded("WEBP"), read_photo(encoded("PNG", pixels=np.full((900, 900, 3), 7, np.uint8)))[0]
    pid = decoder().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert read_photo(content)[1].width == 56 and decoder().pid != pid
    assert (held == 7).all()


def test_an_interrupted_question_leaves_no_answer_for_the_next() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    read_info(encoded("PNG"))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            read_photo(slow_jpeg(400))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert np.array_equal(read_photo(encoded("PNG"))[0], NOISE)


def test_a_copy_of_the_process_by_fork_has_a_decoder_of_its_own() -> None:
    read_info(encoded("PNG"))
    pid = decoder().pid
    copy = os.fork()
    if copy == 0:
        fine = decoder().pid is None and read_photo(encoded("PNG"))[1].width == 56 and decoder().pid != pid
        decoder().close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    assert read_photo(encoded("PNG"))[1].width == 56 and decoder().pid == pid


def test_what_wants_too_much_memory_or_time_is_told() -> None:
    pixels = encoded("PNG", pixels=np.zeros((6000, 6000, 3), np.uint8))
    said = {"max_pixels": 10**8, "pixels": True}
    work = "anchorface.faces.decoding:photo"
    small = Child(memory=2**28, max_pixels=0)
    with pytest.raises(PhotoError, match=r"large\.png: unreadable"):
        small.ask(work, said, "large.png", pixels)
    assert small.ask(work, said, "next", encoded("PNG")).said["info"]["width"] == 56
    small.close()
    hasty = Child(seconds=1)
    with pytest.raises(PhotoError, match="took more than 1 seconds"):
        hasty.ask(work, said, "slow.jpg", slow_jpeg(400))
    assert hasty.ask(work, said, "next", encoded("PNG")).said["info"]["width"] == 56
    hasty.close()


def test_a_crash_costs_ingest_its_photograph(tmp_path: Path) -> None:
    names = put(tmp_path / "in", {"a.png": encoded("PNG"), "b.jpg": slow_jpeg(400), "c.webp": encoded("WEBP")})
    with crashed_after():
        counts = ingest(names, str(tmp_path / "out"), concurrency=0)
    assert (counts["photos"], counts["dropped"]) == (2, 1)
    row = dropped(str(tmp_path / "out")).to_pylist()[0]
    assert row["uri"].endswith("/b.jpg") and row["cause"] == "unreadable" and "(-11)" in row["detail"]


def test_a_crash_costs_degrade_its_picture(tmp_path: Path) -> None:
    film = film_bytes(np.stack([NOISE] * 3), 5)
    names = put(tmp_path / "in", {"a.png": encoded("PNG"), "b.jpg": slow_jpeg(400), "c.mp4": film})
    with crashed_after():
        counts = degrade_files([names], str(tmp_path / "out"), read=lambda uri: read_photo(uri)[0],
                               settings=Settings())
    assert counts == {"made": 2, "there": 0, "dropped": 1}
    row = json.loads((tmp_path / "out" / "dropped.jsonl").read_text())
    assert (row["file"], row["cause"]) == ("b.jpg", "unreadable") and "(-11)" in row["detail"]


def test_a_crash_costs_restore_its_photograph_or_reference(
    shared_data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    face = (shared_data / "trouble" / "restore_single_file" / "srgb.png").read_bytes()
    for kind, photos, references in (
        ("photo", {"a.png": face, "b.jpg": slow_jpeg(400), "c.png": face}, {}),
        ("reference", {"a.png": face}, {"bad.jpg": slow_jpeg(400), "good.png": face}),
    ):
        shown = put(tmp_path / f"{kind} shown", references)
        with crashed_after():
            counts = restore_folder(
                Restorer(folder, weight_finder=finder), put(tmp_path / kind, photos), str(tmp_path / f"{kind} out"),
                settings=SamplerSettings(steps=1), references=shown if references else None,
                detector=Detector(SHARED / "models" / "scrfd_500m_kps.onnx"))
        assert counts["restored"] == len([name for name in photos if name.endswith("png")])
        row = pq.read_table(tmp_path / f"{kind} out" / "dropped" / "restore.parquet").to_pylist()[0]
        assert row["uri"].endswith(".jpg") and row["cause"].endswith("unreadable") and "(-11)" in row["detail"]


def test_a_crash_costs_a_film_and_leaves_its_frames_before_it() -> None:
    class Crashing(io.BytesIO):
        left = 10_000_000  # opening it reads up to 5 MB

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.left -= len(found)
            if self.left < 0 and (pid := decoder().pid) is not None:
                os.kill(pid, signal.SIGSEGV)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return found

    generator, file = rng(3, "frames"), io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream = out.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 192, "bgr24"
        for _ in range(100):
            frame = generator.integers(0, 256, (192, 256, 3), dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    film, count = Frames(Crashing(file.getvalue()), "film.avi", FilmLimits()), 0
    with pytest.raises(PhotoError, match=r"film\.avi: unreadable \(.*\(-11\)"):
        while film.next() is not None:
            count += 1
    assert 3 <= count < 100 and read_photo(encoded("PNG"))[1].width == 56


def test_a_film_goes_on_where_another_file_ended_its_process(tmp_path: Path) -> None:
    levels = np.arange(8, dtype=np.uint8) * 30
    frames = np.repeat(levels[:, None, None, None], 3, axis=3) + np.zeros((1, 48, 64, 1), np.uint8)
    put(tmp_path / "in", {"a.mp4": film_bytes(frames, 5), "b.jpg": slow_jpeg(400)})
    film = str(tmp_path / "in" / "a.mp4")
    uris = [uri for uri, _ in Film(film, 10_000).sample(0.2)]
    wanted = [PhotoReader().read(uri) for uri in uris]
    reader = PhotoReader()
    for number, uri in enumerate(uris):
        if number == 3:
            with crashed_after(), pytest.raises(PhotoError, match=r"b\.jpg: unreadable"):
                reader.read(str(tmp_path / "in" / "b.jpg"))
        pixels, info = reader.read(uri)
        assert np.array_equal(pixels, wanted[number][0]) and info == wanted[number][1]
    reader.close()


def test_a_films_file_that_cannot_be_read_on_is_told() -> None:
    class Ending(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(PhotoError, match="the disk is gone"):
        Frames(Ending(film_bytes(np.stack([NOISE] * 3), 5)), "film", FilmLimits())
    assert read_photo(encoded("PNG"))[1].width == 56
