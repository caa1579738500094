"""Films of synthetic heads that turn, speak and age, with exact flow and identity.

A folder of films, which evaluation judges against and ingest reads as it is:

    metadata.jsonl                  one JSON row per film and per reference: who, licence, consent
    gt/s000012-00.mkv               film 0 of identity 12: FFV1, without loss
    truth/s000012-00.npz            its flow and landmarks (records.film_truth)
    references/s000012-00/0.jpg     photographs of the same person, of other days

A frame of 256 px costs about 0.15 s of one CPU core, of which its flow is a quarter; of 512 px 0.6 s, two fifths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from anchorface.records.film_truth import write_truth
from anchorface.records.storage import join, make_folder, writing
from anchorface.synthetic.corpus import face_row, photo_row, save_photo, seed_of, write_rows
from anchorface.synthetic.flow import View, flow, view_of
from anchorface.synthetic.head import Head, identity
from anchorface.synthetic.life import album
from anchorface.synthetic.motion import motion
from anchorface.synthetic.render import Rendered, look_of, photograph, render
from anchorface.synthetic.state import State


@dataclass(frozen=True)
class Frame:
    """A photograph and where its pixels go in the next one.

    flow: float32 [size, size, 2], (x, y) in pixels, 0 where not visible; visible: bool [size, size], whether a pixel's
    point is seen in the next frame. Both None in the last frame.
    """

    shot: Rendered
    flow: np.ndarray | None
    visible: np.ndarray | None


def film(head: Head, states: Sequence[State], size: int = 256) -> Iterator[Frame]:
    """Photograph a head in one state after the other.

    Args:
        head: who. states: of each frame, none with glasses. size: side of the pictures in pixels.
    Yields:
        A `Frame` a state; the same arguments give the same bytes.
    Raises:
        ValueError: somebody wears glasses: what is drawn over a picture has no flow.
    """
    if any(state.glasses for state in states):
        raise ValueError("a film with glasses: what is drawn over a picture has no flow")
    before: tuple[Rendered, View] | None = None
    for state in states:
        look = look_of(head, state, size)
        now = photograph(look), view_of(look)
        if before is not None:
            moved = flow(before[1], now[1])
            yield Frame(before[0], moved.flow, moved.visible)
        before = now
    if before is not None:
        yield Frame(before[0], None, None)


def write_films(
    folder: str | Path,
    identities: int,
    frames: int,
    seed: int,
    films_each: int = 1,
    size: int = 256,
    rate: float = 25.0,
    years: float = 10.0,
    references: int = 2,
    first_identity: int = 0,
    workers: int = 1,
) -> int:
    """Write a folder of films; see the module's first lines.

    Args:
        folder: its path or URI; made if it does not exist.
        identities: how many people, the same as those of a corpus of this seed (`seed_of`).
        frames: of each film, at least 2. films_each: films of each person.
        size: side of the films in pixels, even. rate: frames per second. years: by which people age in a second.
        references: photographs of the person beside each film, of other days, with every state of `draw_state`.
        first_identity: the first k. workers: processes; the files do not depend on it.
    Returns:
        Number of films written.
    Raises:
        ValueError: a count is too small, or the size is odd.
    """
    if identities < 1 or frames < 2 or films_each < 1 or references < 0 or workers < 1 or size % 2:
        raise ValueError(f"identities {identities}, frames {frames}, films_each {films_each}, references {references}, "
                         f"workers {workers}, size {size}: at least 1, 2, 1, 0 and 1, and an even size")  # fmt: skip
    root = os.fspath(folder)
    make_folder(root)
    one = partial(_write_person, root=root, seed=seed, frames=frames, films=films_each, size=size, rate=rate,
                  years=years, references=references)  # fmt: skip
    rows = write_rows(root, ((one, range(first_identity, first_identity + identities)),), workers)
    return rows // (1 + references)


def _write_person(k: int, root: str, seed: int, frames: int, films: int, size: int, rate: float, years: float,
                  references: int) -> list[str]:  # fmt: skip
    """Write the films of identity `k` and their references; returns their metadata rows."""
    cv2.setNumThreads(1)
    who, person, rows = f"s{k:06d}", seed_of(seed, k), []
    photos = iter(album(person, films * references)) if references else iter(())
    for number in range(films):
        name = f"{who}-{number:02d}"
        states = motion(seed_of(person, number), frames, rate=rate, years=years)
        _write_film(root, name, identity(person), states, size, rate)
        face = {"subject": who, "age": round(states[0].age, 3)}
        rows.append(photo_row(f"gt/{name}.mkv", who, None, [face], None))
        for place, photo in enumerate(islice(photos, references)):
            file = f"references/{name}/{place}.jpg"
            shot = render(photo.head, photo.state, size)
            save_photo(join(root, file), shot.image)
            rows.append(photo_row(file, who, photo, [face_row(who, shot.landmarks, shot.box, photo.state)],
                                  photo.taken.isoformat()))  # fmt: skip
    return rows


def _write_film(root: str, name: str, head: Head, states: Sequence[State], size: int, rate: float) -> None:
    """A film and its truth, frame by frame, each under its name once it is whole."""
    landmarks: list[np.ndarray] = []
    with (writing(join(root, "gt", f"{name}.mkv")) as shown, writing(join(root, "truth", f"{name}.npz")) as packed,
          av.open(shown, "w", format="matroska", options={"fflags": "+bitexact"}) as file):
        stream = file.add_stream("ffv1", rate=Fraction(rate).limit_denominator(1001), options={"threads": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "bgr0"

        def flows() -> Iterator[np.ndarray]:
            for frame in film(head, states, size):
                picture = av.VideoFrame.from_ndarray(frame.shot.image, format="rgb24")
                picture.pts = len(landmarks)
                file.mux(stream.encode(picture))
                landmarks.append(frame.shot.landmarks)
                if frame.flow is not None and frame.visible is not None:
                    yield np.where(frame.visible[..., None], frame.flow, np.float32(np.nan))
            file.mux(stream.encode())

        write_truth(packed, flows(), (len(states), size, size), landmarks)
