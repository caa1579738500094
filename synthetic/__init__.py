"""Procedural faces with known identity, pose, age, expression and light.

`identity` draws a person, `draw_state` a way to be photographed, `render` takes the photograph and tells the
truth about it; `album` and `write_corpus` make a life and a data set of them, `film` and `write_films` films with
exact flow.
"""

from anchorface.synthetic.corpus import group_photo, seed_of, sheet, write_corpus
from anchorface.synthetic.film import Frame, film, write_films
from anchorface.synthetic.head import Head, identity
from anchorface.synthetic.life import Person, album
from anchorface.synthetic.motion import motion
from anchorface.synthetic.render import Rendered, render
from anchorface.synthetic.state import State, draw_state

__all__ = [
    "Frame", "Head", "Person", "Rendered", "State", "album", "draw_state", "film", "group_photo", "identity", "motion",
    "render", "seed_of", "sheet", "write_corpus", "write_films",
]  # fmt: skip
