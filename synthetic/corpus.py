"""Data sets of synthetic photographs: group photographs, contact sheets, and folders with metadata.

A corpus folder:

    metadata.jsonl            one JSON row per photograph
    s000012/003.jpg           photograph 3 of identity 12, JPEG quality 95
    group/000004.jpg          group photograph 4; `subject` is null in its row, each face names its own
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from anchorface.records import rng
from anchorface.records.storage import join, make_folder, write_atomic
from anchorface.synthetic.head import Head
from anchorface.synthetic.life import YEAR, Person, album
from anchorface.synthetic.render import Rendered, render
from anchorface.synthetic.scene import background
from anchorface.synthetic.state import OLDEST, YOUNGEST, State

QUALITY = 95
SPACING = 0.78  # picture heights between neighbours in a group photograph, our choice


@dataclass(frozen=True)
class GroupPhoto:
    """Several people in one photograph, left to right.

    image: uint8 [size, width, 3], RGB. landmarks: float32 [n, 5, 2], pixels. boxes: float32 [n, 4], x0, y0, x1, y1.
    yaw, pitch, roll (degrees), age (years): tuples of n.
    """

    image: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    yaw: tuple[float, ...]
    pitch: tuple[float, ...]
    roll: tuple[float, ...]
    age: tuple[float, ...]


def group_photo(people: Sequence[tuple[Head, State]], size: int = 256) -> GroupPhoto:
    """Photograph several people side by side, in the first one's light and place.

    Args:
        people: from left to right, at least one.
        size: height of the picture in pixels.
    Returns:
        A `GroupPhoto`.
    Raises:
        ValueError: if nobody is in the picture.
    """
    if not people:
        raise ValueError("a group photograph needs at least one person")
    first = people[0][1]
    step = round(SPACING * size)
    shared = {name: getattr(first, name) for name in (
        "light_azimuth", "light_elevation", "light_warmth", "ambient", "exposure")}  # fmt: skip
    from_left = [
        render(head, replace(state, **shared, scale=min(state.scale, 1.0) * 0.86), size) for head, state in people
    ]
    return compose(from_left, first, step, size)


def compose(shots: Sequence[Rendered], first: State, step: int, size: int) -> GroupPhoto:
    """Lay single cut-out photographs over one background; later ones stand in front of earlier ones."""
    width = size + step * (len(shots) - 1)
    scene = np.sqrt(background(first.background, size, width)) * 255.0
    landmarks, boxes = [], []
    for k, shot in enumerate(shots):
        left = k * step
        share = shot.cover[..., None]
        patch = scene[:, left : left + size]
        patch += (shot.image - patch) * share
        landmarks.append(shot.landmarks + np.array([left, 0], np.float32))
        boxes.append(shot.box + np.array([left, 0, left, 0], np.float32))
    return GroupPhoto(
        image=np.round(np.clip(scene, 0, 255)).astype(np.uint8),
        landmarks=np.stack(landmarks),
        boxes=np.stack(boxes),
        yaw=tuple(shot.yaw for shot in shots),
        pitch=tuple(shot.pitch for shot in shots),
        roll=tuple(shot.roll for shot in shots),
        age=tuple(shot.age for shot in shots),
    )


def seed_of(seed: int, k: int) -> int:
    """Identity seed of person `k` of the corpus with seed `seed`.

    The first 62 bits drawn from rng(seed, "synthetic corpus", k): people of different corpora differ, and a
    person does not depend on how many others there are.
    """
    return int(rng(seed, "synthetic corpus", k).integers(2**62))


def sheet(people: Sequence[Head], states: Sequence[State], size: int = 192) -> np.ndarray:
    """A contact sheet to look at: a row per person, a column per state.

    Args:
        people: rows.
        states: columns.
        size: side of each picture in pixels.
    Returns:
        uint8 [rows * size, columns * size, 3], RGB.
    """
    return np.vstack([np.hstack([render(head, state, size).image for state in states]) for head in people])


def face_row(name: str, landmarks: np.ndarray, box: np.ndarray, state: State) -> dict[str, object]:
    """A face in a row of metadata.jsonl."""
    return {
        "subject": name,
        "landmarks": [[round(float(c), 2) for c in point] for point in landmarks],
        "box": [round(float(c), 2) for c in box],
        "yaw": round(state.yaw, 3),
        "pitch": round(state.pitch, 3),
        "roll": round(state.roll, 3),
        "age": round(state.age, 3),
    }


def photo_row(file: str, subject: str | None, person: Person | None, faces: list[dict[str, object]],
              taken: str | None) -> str:  # fmt: skip
    """A row of metadata.jsonl."""
    return json.dumps({
        "file": file,
        "subject": subject,
        "birth_date": person.born.isoformat() if person else None,
        "taken": taken,
        "licence": "CC0-1.0",
        "consent": "synthetic",
        "source": "anchorface synthetic",
        "faces": faces,
    })  # fmt: skip


def save_photo(uri: str, image: np.ndarray) -> None:
    """Write a photograph as JPEG."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise OSError(f"{uri}: the picture could not be encoded as JPEG")
    write_atomic(uri, data.tobytes())


def _write_person(k: int, folder: str, seed: int, photos: int, size: int) -> list[str]:
    """Write the album of identity `k`; returns its metadata rows."""
    cv2.setNumThreads(1)
    name = f"s{k:06d}"
    rows = []
    for position, person in enumerate(album(seed_of(seed, k), photos)):
        file = f"{name}/{position:03d}.jpg"
        shot = render(person.head, person.state, size)
        save_photo(join(folder, file), shot.image)
        rows.append(photo_row(file, name, person, [face_row(name, shot.landmarks, shot.box, person.state)],
                         person.taken.isoformat()))  # fmt: skip
    return rows


def _write_group(j: int, folder: str, seed: int, identities: int, first_identity: int, size: int) -> list[str]:
    """Write group photograph `j` of 2 to 4 people of the corpus (fewer if no more were adults on that day);
    returns its metadata row."""
    cv2.setNumThreads(1)
    g = rng(seed, "synthetic group", j)
    count = int(g.integers(2, 5))
    people: list[tuple[str, Person]] = []
    for k in first_identity + g.permutation(identities):
        options = list(album(seed_of(seed, int(k)), 4))
        one = options[int(g.integers(4))]
        if people:  # everybody is as old as they were on the day of the first one's photograph
            day = people[0][1].taken
            age = (day - one.born).days / YEAR
            if not YOUNGEST <= age <= OLDEST:
                continue
            one = replace(one, taken=day, state=replace(one.state, age=age))
        people.append((f"s{int(k):06d}", one))
        if len(people) == count:
            break
    posed = [(one.head, replace(one.state, offset=(0.0, float(g.normal(0, 0.03))))) for _, one in people]
    shot = group_photo(posed, size)
    file = f"group/{j:06d}.jpg"
    save_photo(join(folder, file), shot.image)
    faces = [face_row(name, shot.landmarks[i], shot.boxes[i], one.state) for i, (name, one) in enumerate(people)]
    return [photo_row(file, None, None, faces, people[0][1].taken.isoformat())]


def write_corpus(
    folder: str | Path,
    identities: int,
    photos_each: int,
    seed: int,
    size: int = 320,
    first_identity: int = 0,
    group_photos: int = 0,
    workers: int = 1,
) -> int:
    """Write a corpus; see the module's first lines for the folder.

    Args:
        folder: its path or URI; made if it does not exist.
        identities: how many people; identity k has the seed `seed_of(seed, k)` and the name s00000k.
        photos_each: photographs of each.
        seed: of the corpus.
        size: side of the pictures in pixels.
        first_identity: the first k.
        group_photos: how many photographs of 2 to 4 of these people.
        workers: processes; the files do not depend on it.
    Returns:
        Number of photographs written.
    Raises:
        ValueError: if a count is negative or there is nobody to photograph.
    """
    if identities < 1 or photos_each < 0 or group_photos < 0 or workers < 1:
        raise ValueError(
            f"identities {identities}, photos_each {photos_each}, group_photos {group_photos}, workers {workers}: "
            "at least 1, 0, 0 and 1"
        )
    root = os.fspath(folder)
    make_folder(root)
    one = partial(_write_person, folder=root, seed=seed, photos=photos_each, size=size)
    many = partial(_write_group, folder=root, seed=seed, identities=identities, first_identity=first_identity,
                   size=size)  # fmt: skip
    people = range(first_identity, first_identity + identities) if photos_each else range(0)
    return write_rows(root, ((one, people), (many, range(group_photos))), workers)


def write_rows(folder: str, work: Sequence[tuple[Callable[[int], list[str]], Sequence[int]]], workers: int) -> int:
    """Carry out functions of a number that write files and give rows, and write metadata.jsonl.

    Args:
        work: functions, each with its numbers.
    Returns:
        Number of rows.
    """
    if workers == 1:
        lines = [line for function, numbers in work for part in map(function, numbers) for line in part]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            parts = [pool.map(function, numbers) for function, numbers in work]
            lines = [line for of_function in parts for part in of_function for line in part]
    write_atomic(join(folder, "metadata.jsonl"), "".join(line + "\n" for line in lines).encode())
    return len(lines)
