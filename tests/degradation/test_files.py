"""Files and folders made worse: results, plans that replay, a sheet, a line for each file that could not be used."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.degradation import apply
from anchorface.degradation.clip import apply_clip
from anchorface.degradation.files import Settings, degrade_files, named_files, square
from anchorface.degradation.film import film_bytes, rate_of, read_film
from anchorface.degradation.plan_lines import digest_of, read_plans
from anchorface.degradation.sheet import Cell, sheet, wrapped
from anchorface.faces.images import read_photo
from anchorface.records import ConfigurationError, DataError, PhotoError, StorageError
from tests.degradation.scene import picture

PICTURES = ["a.png", "inside/a.png", "inside/tall.png"]
SETTINGS = Settings(profile="gfpgan", seed=3)


def read(uri: str) -> np.ndarray:
    return read_photo(uri)[0]


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, a text, and a picture cut short."""
    folder = tmp_path / "photos"
    for name, image in zip(PICTURES, (picture(64), picture(48), picture(90, 60)), strict=True):
        save(folder / name, image)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "short.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / ".hidden").write_text("left out")
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_picture_becomes_its_versions_and_the_plans_say_how(photos, tmp_path):
    out = tmp_path / "out"
    counts = degrade_files([str(photos)], str(out), read=read, settings=SETTINGS, count=2, progress=lambda line: None)
    assert counts == {"made": 6, "there": 0, "dropped": 3}
    plans = read_plans(str(out / "plans.jsonl"))
    assert list(plans) == [(name, version) for name in PICTURES for version in range(2)]
    for (name, version), plan in plans.items():
        clean = read(str(photos / name))
        assert plan == SETTINGS.plan((name, version), clean, 0.0) and plan.size == min(clean.shape[:2])
        assert np.array_equal(read(str(out / f"{name}-{version}.png")), apply(clean, plan))
    assert len({plan.digest for plan in plans.values()}) == 6, "no two plans are the same"
    assert lines(out / "plans.jsonl")[0]["explanation"].startswith("gfpgan at 64 px: ")
    causes = {row["file"]: row["cause"] for row in lines(out / "dropped.jsonl")}
    assert causes == {"notes.txt": "not an image", "short.png": "truncated", "": "other files"}
    assert cv2.imread(str(out / "sheet.jpg")).shape[1] == 3 * 270 + 14


def test_running_it_again_does_what_is_left(photos, tmp_path):
    out, said = tmp_path / "out", []
    first = {"read": read, "settings": SETTINGS, "progress": said.append}
    degrade_files([str(photos / "a.png")], str(out), **first)
    made = (out / "a.png-0.png").stat().st_mtime_ns
    assert degrade_files([str(photos)], str(out), **first) == {"made": 2, "there": 1, "dropped": 3}
    assert degrade_files([str(photos)], str(out), count=2, **first) == {"made": 3, "there": 3, "dropped": 3}
    assert (out / "a.png-0.png").stat().st_mtime_ns == made
    (out / "inside/a.png-1.png").unlink()
    assert degrade_files([str(photos)], str(out), count=2, **first) == {"made": 1, "there": 5, "dropped": 3}
    straight = tmp_path / "straight"
    degrade_files([str(photos)], str(straight), count=2, **first)
    assert (straight / "plans.jsonl").read_bytes() == (out / "plans.jsonl").read_bytes()
    for other in (replace(SETTINGS, seed=4), replace(SETTINGS, overrides=(("jpeg.quality", [30, 40]),))):
        with pytest.raises(ConfigurationError, match=r"made with (seed|overrides)"):
            degrade_files([str(photos)], str(out), read=read, settings=other)


def test_given_plans_make_the_same_pixels_again(photos, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    degrade_files([str(photos)], str(one), read=read, settings=SETTINGS, count=2, progress=print)
    plans = read_plans(str(one / "plans.jsonl"))
    del plans["a.png", 0], plans["inside/tall.png", 0], plans["inside/tall.png", 1]
    settings = replace(SETTINGS, seed=99, plans=digest_of(plans))
    given = {**plans, ("gone.png", 0): plans["a.png", 1]}
    with pytest.raises(ConfigurationError, match="digest"):
        degrade_files([str(photos)], str(two), read=read, settings=settings, plans=given)
    settings = replace(settings, plans=digest_of(given))
    counts = degrade_files([str(photos)], str(two), read=read, settings=settings, plans=given)
    assert counts == {"made": 3, "there": 0, "dropped": 5}
    for file, version in plans:
        name = f"{file}-{version}.png"
        assert (one / name).read_bytes() == (two / name).read_bytes()
    causes = {row["file"]: row["cause"] for row in lines(two / "dropped.jsonl")}
    assert causes == {"gone.png": "no such file", "inside/tall.png": "no plan", "notes.txt": "no plan",
                      "short.png": "no plan", "": "other files"}


def test_size_and_overrides_come_before_the_plan(photos, tmp_path):
    settings = replace(SETTINGS, size=32, overrides=(("jpeg.quality", [41, 41]),))
    plans_out = tmp_path / "elsewhere.jsonl"
    degrade_files([str(photos / "inside")], str(tmp_path / "out"), read=read, settings=settings,
                  plans_out=str(plans_out))
    plans = read_plans(str(plans_out))
    assert list(plans) == [("a.png", 0), ("tall.png", 0)]
    for (name, _), plan in plans.items():
        assert plan.size == 32 and [s.values["quality"] for s in plan.operations if s.name == "jpeg"] == [41]
        clean = square(read(str(photos / "inside" / name)), 32)
        assert np.array_equal(read(str(tmp_path / "out" / f"{name}-0.png")), apply(clean, plan))


def test_a_film_is_degraded_as_a_clip(tmp_path):
    soft = cv2.GaussianBlur(picture(48, 64), (0, 0), 4)
    frames = np.stack([np.roll(soft, 2 * place, axis=1) for place in range(6)])
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(film_bytes(frames, 12.5))
    (tmp_path / "films" / "bad.mkv").write_bytes(b"no film at all")
    clean, seconds = read_film(str(tmp_path / "films" / "a.mp4"))
    assert clean.shape == frames.shape and rate_of(seconds) == 12.5
    assert np.abs(clean.astype(int) - frames).mean() < 6, "colour at half the resolution, else hardly a loss"
    settings = replace(SETTINGS, clip_profile="vfhq")
    counts = degrade_files([str(tmp_path / "films")], str(tmp_path / "out"), read=read, settings=settings)
    assert counts == {"made": 1, "there": 0, "dropped": 1}
    plan = read_plans(str(tmp_path / "out" / "plans.jsonl"))["a.mp4", 0]
    assert (plan.frames, plan.size, plan.rate) == (6, 48, 12.5)
    made = read_film(str(tmp_path / "out" / "a.mp4-0.mp4"))[0]
    assert np.abs(made.astype(int) - apply_clip(clean, plan)).mean() < 6
    assert lines(tmp_path / "out" / "dropped.jsonl")[0]["cause"] == "not a film"
    with pytest.raises(PhotoError, match="unreadable"):
        read_film(str(tmp_path / "nowhere.mp4"))


def test_sources_that_do_not_fit_are_refused(photos, tmp_path):
    with pytest.raises(ConfigurationError, match=r"both called a\.png"):
        named_files([str(photos), str(photos / "inside")], str(tmp_path / "out"))
    with pytest.raises(StorageError, match="nowhere"):
        named_files([str(tmp_path / "nowhere")], str(tmp_path / "out"))
    save(photos / "out" / "made.png", picture(32))
    assert "out/made.png" not in named_files([str(photos)], str(photos / "out"))[0]
    for settings, said in (({"profile": "gfpgam"}, "did you mean gfpgan"), ({"size": 9}, "size 9"),
                           ({"overrides": (("jpeg.qualty", [1, 2]),)}, r"jpeg\.quality"),
                           ({"clip_profile": "film"}, "film")):
        with pytest.raises(ConfigurationError, match=said):
            Settings(**settings)
    with pytest.raises(ConfigurationError, match="count 0"):
        degrade_files([str(photos)], str(tmp_path / "out"), read=read, settings=SETTINGS, count=0)


@pytest.mark.parametrize(("text", "said"), [
    ("no json", "line 1"), ('{"plan": {}}', "line 1"), ('{"file": "a.png"}', "a.png version 0.*no plan"),
    ('{"file": "a.png", "plan": {"version": 1}}', "a.png version 0.*version 1"),
    ('{"file": "a.png", "digest": "0", "plan": {"version": 2, "profile": "p", "size": 9, "operations": []}}', "digest"),
    ('{"file": "a.png"}\n{"file": "a.png", "version": 0}', "line 2.*twice")])
def test_plan_lines_that_are_none_are_named(tmp_path, text, said):
    (tmp_path / "plans.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        read_plans(str(tmp_path / "plans.jsonl"))


def test_a_sheet_shows_every_picture_and_all_of_the_text():
    from PIL import ImageFont

    cells = [Cell(image=picture(64), title="small"), Cell(image=picture(600, 300), title="tall", text="word " * 60)]
    page = sheet(cells, columns=2, side=128)
    assert page.shape[1] == 2 * 142 + 14 and page.shape[0] > 128 + 300 / 20 * 17
    assert np.array_equal(page[14:142:2, 14:142:2], picture(64)), "a small picture is shown pixel by pixel"
    assert (page[-14:] == 255).all()
    font = ImageFont.load_default(13)
    long = wrapped("a " + "w" * 200 + " end", font, 100)
    assert "".join(long).replace(" ", "") == "a" + "w" * 200 + "end" and all(font.getlength(one) <= 100 for one in long)
