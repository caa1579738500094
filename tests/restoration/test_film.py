"""Films with references: tracked, restored clip by clip or frame by frame, pasted back, with sound and true times."""

import io
import tracemalloc
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from anchorface.faces.align import ffhq_matrix
from anchorface.faces.detect import Detection, Detector
from anchorface.faces.images import encode_jpeg
from anchorface.models.checkpoint import read_description, write_description
from anchorface.models.ip_fvr.negatives import Negative
from anchorface.models.keep import Keep
from anchorface.records import ConfigurationError, PhotoError, storage
from anchorface.records.attributes import ATTRIBUTE_NAMES, CLEAN
from anchorface.records.film_writing import FilmWriter
from anchorface.records.films import FilmReader
from anchorface.restoration import Restorer, SamplerSettings, make_reference, mean_landmarks, restore_folder
from anchorface.restoration.clips import Crop, blending_of, restored_crops
from anchorface.restoration.film import OpenFilm, RestoredFilm, find_faces, restore_film
from anchorface.restoration.film_faces import FaceTrack, strangers, with_owners
from anchorface.restoration.sampler_settings import said
from anchorface.synthetic import album, render, seed_of
from tests.restoration.micro import micro_checkpoint

QUICK = SamplerSettings(steps=1)
SIDE, HEIGHT, WIDTH, RATE = 96, 120, 176, 25.0


@pytest.fixture(scope="module")
def frame_by_frame(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    return Restorer(folder, weight_finder=finder)


@pytest.fixture(scope="module")
def in_clips(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("clips"), system="ip_fvr")
    return Restorer(folder, weight_finder=finder)


class Scene:
    """Heads that move in a line over grey; where each stands is known, so that it also stands in for a detector."""

    def __init__(self, people: Sequence[int] = (0,), count: int = 12, missing: Sequence[int] = ()) -> None:
        shots = [render(shot.head, shot.state, SIDE) for person in people for shot in album(seed_of(3, person), 1)]
        self.seconds = np.arange(count) / RATE
        self.frames, self.found = [], {}
        for number in range(count):
            frame, faces = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), []
            for place, shot in enumerate(shots):
                x, y = 80 * place + number % 60, 12
                wide = min(SIDE, WIDTH - x)
                frame[y:y + SIDE, x:x + wide] = shot.image[:, :wide]
                box = tuple(float(one) for one in shot.box + np.array([x, y, x, y]))
                faces.append(Detection(box=box, landmarks=shot.landmarks + np.array([x, y], float), score=1.0))
            frame[0, 0] = (number, 0, 0)
            self.frames.append(frame)
            self.found[number] = [] if number in missing else faces
        self._asked = 0

    def detect(self, pictures: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The faces of the frame that comes next; behind the last, of the first."""
        self._asked += 1
        return [self.found[(self._asked - 1) % len(self.found)]]

    def film(self, **options: object) -> OpenFilm:
        file = io.BytesIO()
        height, width = self.frames[0].shape[:2]
        with FilmWriter(file, (width, height), RATE, **options) as film:
            for picture, second in zip(self.frames, self.seconds.tolist(), strict=True):
                film.add(picture, second)
        return OpenFilm(file, "film.mp4")


def restored(restorer: Restorer, scene: Scene, film: OpenFilm | None = None, references: Sequence = (),
             **options: object) -> tuple[np.ndarray, list[float], RestoredFilm, bytes]:
    """The frames of a restored film and their times."""
    film, out = film or scene.film(), io.BytesIO()

    @contextmanager
    def opened(container: str):
        yield out

    found = find_faces(restorer, film, scene.detect, references)
    result = restore_film(restorer, film, found, opened, references, settings=options.pop("settings", QUICK), **options)
    reader = FilmReader(io.BytesIO(out.getvalue()), "out")
    frames = [(second, reader.pixels(frame)) for second, frame in reader.frames()]
    reader.close()
    return np.stack([frame for _, frame in frames]), [second for second, _ in frames], result, out.getvalue()


def square(points: np.ndarray, margin: int = 2) -> tuple[slice, slice]:
    """The rectangle of a picture that a face's crop covers."""
    matrix = ffhq_matrix(points, 64)
    corners = (np.array([[-0.5, -0.5], [63.5, -0.5], [63.5, 63.5], [-0.5, 63.5]]) - matrix[:, 2]) \
        @ np.linalg.inv(matrix[:, :2]).T
    (x0, y0), (x1, y1) = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    return slice(max(0, int(y0)), int(y1) + 1), slice(max(0, int(x0)), int(x1) + 1)


def test_faces_change_and_all_else_and_the_times_stay(frame_by_frame: Restorer) -> None:
    scene = Scene()
    scene.seconds = np.cumsum(0.02 + 0.05 * (np.arange(12) % 3))
    scene.seconds -= scene.seconds[0]
    frames, seconds, result, _ = restored(frame_by_frame, scene)
    assert np.allclose(seconds, scene.seconds, atol=1e-4) and len(result.tracks) == 1
    changed = np.abs(frames.astype(int) - np.stack(scene.frames))
    for number in range(12):
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[square(scene.found[number][0].landmarks, 4)] = True
        assert changed[number][inside].mean() > 10 and changed[number][~inside].mean() < 3


def test_a_face_that_was_missed_for_a_frame_is_restored_in_it_too(frame_by_frame: Restorer) -> None:
    whole, *_ = restored(frame_by_frame, Scene(count=9))
    scene = Scene(count=9, missing=(4, 5))
    bridged, _, result, _ = restored(frame_by_frame, scene)
    assert [len(track.landmarks) for track in result.tracks] == [9] and result.tracks[0].seen == 7
    assert np.abs(bridged.astype(int) - whole)[4:6].mean() < 1


@pytest.mark.parametrize("count", [3, 5, 13])
def test_clips_cover_a_film_of_any_length(in_clips: Restorer, count: int) -> None:
    scene = Scene(count=count)
    blending = blending_of(in_clips.settings.system, 5, 1, None)
    frames, _, result, _ = restored(in_clips, scene, blending=blending)
    assert len(frames) == len(scene.frames) and len(result.tracks[0].landmarks) == len(frames)


def test_a_clip_is_the_same_restored_alone_where_clips_are_independent(in_clips: Restorer) -> None:
    """A large beta: what stands before a clip's first own frame has no say."""
    long, short = Scene(count=8), Scene(count=4)
    settings = replace(QUICK, steps=2)
    blending = blending_of(in_clips.settings.system, 4, 0, None)
    both, *_ = restored(in_clips, long, blending=blending, settings=settings)
    first, *_ = restored(in_clips, short, blending=blending, settings=settings)
    # The landmarks' smoothing looks three frames ahead: the first frames alone are seen alike.
    assert np.abs(both[0].astype(int) - first[0]).mean() < 3
    other, *_ = restored(in_clips, long, blending=blending_of(in_clips.settings.system, 4, 2, 0.1), settings=settings)
    assert np.abs(both[4:].astype(int) - other[4:]).max() > 3, "the clip before has a say in the next"


def test_references_go_to_the_person_they_show_and_a_stranger_is_said(frame_by_frame: Restorer) -> None:
    scene = Scene(people=(1, 2))
    singles = {who: Scene(people=(who,), count=1) for who in (1, 2, 5)}
    shown = {who: make_reference(frame_by_frame, one.frames[0], one.found[0][0].landmarks)
             for who, one in singles.items()}
    for owner in (0, 1):
        found = find_faces(frame_by_frame, scene.film(), scene.detect, [shown[owner + 1]])
        assert [track.owner for track in found.tracks] == [owner == 0, owner == 1]
        assert found.tracks[owner].likeness > 0.5
        assert not strangers(found.tracks, frame_by_frame.raw_embeddings([shown[owner + 1]]))
    found = find_faces(frame_by_frame, scene.film(), scene.detect, [shown[1], shown[5]])
    raw = frame_by_frame.raw_embeddings([shown[1], shown[5]])
    likeness = float(raw[0] @ raw[1] / np.linalg.norm(raw[0]) / np.linalg.norm(raw[1]))
    assert (1 in strangers(found.tracks, raw)) == (likeness < 0.2)


def track(number: int, first: int, frames: int, embedding: Sequence[float]) -> FaceTrack:
    unit = np.array(embedding) / np.linalg.norm(embedding)
    return FaceTrack(number=number, first=first, landmarks=np.zeros((frames, 5, 2), np.float32), box=(0, 0, 1, 1),
                     side=1.0, seen=frames, embedding=unit, length=20.0)


def test_one_person_stands_in_a_frame_once_and_may_come_again() -> None:
    person, other = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
    tracks = [track(0, 0, 10, (1.0, 0.2, 0.0)), track(1, 5, 10, (1.0, 0.5, 0.0)), track(2, 20, 5, (1.0, 0.6, 0.0)),
              track(3, 40, 5, other)]
    told = with_owners(tracks, np.array([person]) * 17.0)
    assert [one.owner for one in told] == [True, False, True, False]
    assert told[0].likeness == pytest.approx(1 / np.sqrt(1.04))
    assert not any(one.owner for one in with_owners(tracks, np.zeros((0, 3))))
    nearest = with_owners(tracks[3:], np.array([person]))
    assert nearest[0].owner, "the nearest is theirs whatever its likeness, as with photographs"
    assert strangers(nearest, np.array([person])) == {0: pytest.approx(0.0)}


def test_sound_is_kept(frame_by_frame: Restorer) -> None:
    from tests.records.test_film_writing import packets, sounding

    content = sounding("mp4", "aac", seconds=0.6, pictures=0.6)
    scene = Scene(count=15)
    points = np.array([[15, 15], [30, 15], [22, 23], [17, 32], [28, 32]], float)  # the film of that sound is small
    scene.found = {number: [Detection(box=(5, 5, 40, 40), landmarks=points, score=1.0)] for number in range(15)}
    _, _, result, out = restored(frame_by_frame, scene, OpenFilm(io.BytesIO(content), "film"))
    assert result.silent == "" and result.container == "mp4"
    assert [one for _, one in packets(out)] == [one for _, one in packets(content)]


def test_memory_is_flat_in_the_length_of_a_film(in_clips: Restorer, tmp_path: Path) -> None:
    """What is allocated at once, for 12 frames and for 36."""
    blending = blending_of(in_clips.settings.system, 5, 1, None)
    peaks = []
    for count in (12, 36):
        scene = Scene(count=count)
        film = scene.film()
        found = find_faces(in_clips, film, scene.detect)
        scene.frames = []
        tracemalloc.start()
        with (tmp_path / f"{count}.mp4").open("wb") as out:
            restore_film(in_clips, film, found, lambda container, out=out: _given(out), settings=QUICK,
                         blending=blending)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    frame = HEIGHT * WIDTH * 3
    assert peaks[1] < peaks[0] + 8 * frame < peaks[0] + 40 * frame


@contextmanager
def _given(file: io.IOBase):
    yield file


def test_attributes_and_negatives_are_heard_or_refused(in_clips: Restorer, frame_by_frame: Restorer) -> None:
    asked = said(["beard", "low_quality=0.5"], age="17")
    assert dict(asked["attributes"]) == {"age": 17, "beard": 0.0, "quality": 1.0} and not asked["age_of_references"]
    assert asked["negatives"] == (Negative(attributes=(("beard", 1.0),)),
                                  Negative(attributes=(("quality", 0.0),), scale=0.5))
    settings = replace(QUICK, **asked)
    blending = blending_of(in_clips.settings.system, 4, 1, None)
    plain, *_ = restored(in_clips, Scene(count=4), blending=blending)
    heard, *_ = restored(in_clips, Scene(count=4), blending=blending, settings=settings)
    assert np.abs(plain.astype(int) - heard).max() > 3
    with pytest.raises(ConfigurationError, match="hears no attributes"):
        restored(frame_by_frame, Scene(count=4), settings=settings)
    for wrong in (["hat"], ["age"], ["beard=much"], ["beard=nan"]):
        with pytest.raises(ConfigurationError, match="without"):
            said(wrong)
    with pytest.raises(ConfigurationError, match="age"):
        said([], "old")


def test_age_is_measured_on_the_references_of_each_face(in_clips: Restorer, shared_data: Path) -> None:
    scene = Scene(people=(1, 2), count=1)
    crops = np.zeros((2, 64, 64, 3), np.uint8)
    shown = [make_reference(in_clips, scene.frames[0], face.landmarks) for face in scene.found[0]]
    settings = replace(QUICK, **said([], "references"))
    both = [in_clips.asked(crops, [[one], [other]], None, settings).given.attributes
            for one, other in (shown, shown[::-1])]
    place, clean = ATTRIBUTE_NAMES.index("age"), [ATTRIBUTE_NAMES.index(name) for name in CLEAN]
    assert both[0].isnan().sum() == 2 * (len(ATTRIBUTE_NAMES) - 1 - len(CLEAN))
    assert torch.equal(both[0][:, place], both[1][:, place].flip(0)) and 0 < both[0][0, place] < 1
    unsaid = in_clips.asked(crops, [[], []], None, settings).given.attributes
    assert unsaid.isnan().sum() == 2 * (len(ATTRIBUTE_NAMES) - len(CLEAN))
    assert unsaid[:, clean].tolist() == 2 * [list(CLEAN.values())]


def test_clips_are_set_for_systems_that_have_them(in_clips: Restorer, frame_by_frame: Restorer) -> None:
    assert blending_of(frame_by_frame.settings.system, None, None, None) is None
    whole = blending_of(in_clips.settings.system, None, None, None)
    assert whole.length == min(24, in_clips.settings.system.most_frames) and whole.overlap == whole.length // 6
    with pytest.raises(ConfigurationError, match="frame by frame"):
        blending_of(frame_by_frame.settings.system, 8, None, None)
    for length, overlap in ((1, 0), (99, 0), (8, 8), (8, -1)):
        with pytest.raises(ConfigurationError, match="frames"):
            blending_of(in_clips.settings.system, length, overlap, None)
    with pytest.raises(ConfigurationError, match="largest"):
        restored(frame_by_frame, Scene(count=4), faces="some")
    with pytest.raises(ConfigurationError, match="fidelity"):
        restored(in_clips, Scene(count=4), blending=whole, settings=replace(QUICK, fidelity=0.5))


def test_what_stays_of_a_good_face_is_the_same_in_every_frame(in_clips: Restorer, frame_by_frame: Restorer) -> None:
    """All of the input: the film as it was; a checkpoint's ramp gives one share to a track."""
    for restorer, blending in ((frame_by_frame, None), (in_clips, blending_of(in_clips.settings.system, 4, 1, None))):
        scene = Scene(count=7)
        frames, *_ = restored(restorer, scene, blending=blending, settings=replace(QUICK, keep=1.0))
        assert np.abs(frames.astype(int) - np.stack(scene.frames)).mean() < 4
        restorer.keep = Keep(low=0.0, high=1e-3, pictures=1, judge="", before=0.0, restored=0.0, kept=0.0)
        by_ramp, *_ = restored(restorer, Scene(count=7), blending=blending)
        restorer.keep = None
        assert np.array_equal(by_ramp, frames)


def test_frames_that_share_their_noise_stand_still_where_the_film_does(tmp_path: Path) -> None:
    checkpoint, finder = micro_checkpoint(tmp_path, system="ip_fvr")
    description = read_description(checkpoint)
    scene = Scene(count=1)
    crops = [Crop(frame, scene.frames[0][12 : 12 + 64, :64], mean_landmarks(64)) for frame in range(5)]
    moved = {}
    for share in (0.0, 1.0):
        system = replace(description.model.system, shared_noise=share)
        write_description(checkpoint, replace(description, model=replace(description.model, system=system)))
        restorer = Restorer(checkpoint, weight_finder=finder)
        frames = np.stack(list(restored_crops(
            restorer, iter(crops), [], seed=1, length=1.0, likeness=0.0, settings=replace(QUICK, keep=0.0),
            blending=blending_of(system, 3, 1, None))))
        moved[share] = np.abs(frames[1:].astype(int) - frames[:-1]).mean()
    assert moved[1.0] < 0.1 < 2 < moved[0.0]


def test_a_film_without_a_track_is_a_clear_error(frame_by_frame: Restorer) -> None:
    empty = Scene(count=6, missing=range(6))
    with pytest.raises(PhotoError, match="no face"):
        restored(frame_by_frame, empty)
    once = Scene(count=6, missing=(0, 1, 3, 4, 5))
    with pytest.raises(PhotoError, match="no track"):
        restored(frame_by_frame, once)


def test_a_folder_of_films_survives_bad_ones_and_a_rerun_does_what_is_left(
    frame_by_frame: Restorer, shared_data: Path, tmp_path: Path
) -> None:
    films, out, references = tmp_path / "films", tmp_path / "out", tmp_path / "references"
    films.mkdir()
    references.mkdir()
    clip = cut(shared_data / "video" / "lp_d12.mp4", 8)
    (films / "good.mp4").write_bytes(clip)
    (films / "odd.mkv").write_bytes(cut(shared_data / "video" / "lp_d12.mp4", 5, odd=True))
    (films / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    (films / "empty.mp4").write_bytes(b"")
    (films / "cut.mp4").write_bytes(clip[: len(clip) // 3])
    (films / "grey.mp4").write_bytes(Scene(people=(), count=4).film().file.getvalue())
    (films / "notes.txt").write_text("none")
    photo = sorted((shared_data / "photos" / "london").rglob("*.jpg"))[0]
    (references / "stranger.jpg").write_bytes(photo.read_bytes())
    lines: list[str] = []
    options = {"detector": Detector(shared_data / "models" / "scrfd_500m_kps.onnx"), "settings": QUICK,
               "references": str(references)}
    counts = restore_folder(frame_by_frame, str(films), str(out), progress=lines.append, **options)
    assert counts == {"photos": 6, "restored": 2, "done before": 0, "dropped": 4, "left out": 1}
    told = storage.read_table(str(out / "dropped" / "restore.parquet")).to_pylist()
    causes = {row["uri"].rpartition("/")[2]: row["cause"] for row in told}
    assert causes["list.mp4"] == causes["empty.mp4"] == "not a film" and causes["grey.mp4"] == "no face"
    details = {row["uri"].rpartition("/")[2]: row["detail"] for row in told}
    assert causes["cut.mp4"] == "not a film" and "end is missing" in details["cut.mp4"]
    assert causes["stranger.jpg"] == "reference: of another person?"
    files = {path.name for path in out.iterdir()}
    assert files == {"good.mp4.mp4", "good.mp4.json", "odd.mkv.mp4", "odd.mkv.json", "restored.parquet", "dropped"}
    rows = storage.read_table(str(out / "restored.parquet")).to_pylist()
    assert {(row["photo"], row["references"], row["start"]) for row in rows} == {
        ("good.mp4", 1, 0.0), ("odd.mkv", 1, 0.0)}
    again = restore_folder(frame_by_frame, str(films), str(out), **options)
    assert (again["restored"], again["done before"]) == (0, 2)
    assert storage.read_table(str(out / "restored.parquet")).to_pylist() == rows
    before = (out / "good.mp4.mp4").read_bytes()
    (out / "good.mp4.json").unlink()
    assert restore_folder(frame_by_frame, str(films), str(out), **options)["restored"] == 1
    assert (out / "good.mp4.mp4").read_bytes() == before
    assert any("1 face(s) followed" in line for line in lines)
    assert any("seem to show another person" in line for line in lines)


def test_a_film_is_restored_again_where_its_clips_are_asked_for_otherwise(
    in_clips: Restorer, shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "film.mp4").write_bytes(cut(shared_data / "video" / "lp_d12.mp4", 6))
    made = []
    for overlap, restored_now in ((1, 1), (1, 0), (2, 1)):
        counts = restore_folder(
            in_clips, str(tmp_path / "film.mp4"), str(tmp_path / "out"), settings=QUICK, clip_length=4, overlap=overlap,
            detector=Detector(shared_data / "models" / "scrfd_500m_kps.onnx"))
        assert counts["restored"] == restored_now
        made.append((tmp_path / "out" / "film.mp4.mp4").read_bytes())
    assert made[0] == made[1] != made[2]


def cut(path: Path, count: int, odd: bool = False) -> bytes:
    """The first frames of a film, small."""
    file = io.BytesIO()
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(film.decode(video=0), count)]
    small = [frame[::2, ::2][odd:, odd:] for frame in frames]
    with FilmWriter(file, small[0].shape[1::-1], RATE, container="matroska" if odd else "mp4") as out:
        for number, picture in enumerate(small):
            out.add(picture, number / RATE)
    return file.getvalue()


def test_what_a_broken_film_leaves_is_nothing(frame_by_frame: Restorer, tmp_path: Path) -> None:
    """Whatever ends the second pass, nothing stands under the film's name."""
    scene = Scene(count=6)
    film = scene.film()
    found = find_faces(frame_by_frame, film, scene.detect)
    shorter = Scene(count=4).film()
    with pytest.raises(PhotoError, match="ends before"):
        restore_film(frame_by_frame, shorter, found, lambda container: storage.writing(str(tmp_path / "out.mp4")),
                     settings=QUICK)
    assert not list(tmp_path.iterdir())


def test_a_jpeg_among_films_is_still_a_photograph(frame_by_frame: Restorer, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encode_jpeg(Scene(count=1).frames[0]))
    counts = restore_folder(frame_by_frame, str(tmp_path / "in"), str(tmp_path / "out"), settings=QUICK,
                            detector=Detector(shared_data / "models" / "scrfd_500m_kps.onnx"))
    assert counts["photos"] == 1


