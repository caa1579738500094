"""Procedural faces with known identity, pose, age, expression and light.

`identity` draws a person, `draw_state` a way to be photographed, `render` takes the photograph and tells the
truth about it; `album` and `write_corpus` make a life and a data set of them.
"""

from anchorface.synthetic.corpus import group_photo, seed_of, sheet, write_corpus
from anchorface.synthetic.head import Head, identity
from anchorface.synthetic.life import Person, album
from anchorface.synthetic.render import Rendered, render
from anchorface.synthetic.state import State, draw_state

__all__ = [
    "Head", "Person", "Rendered", "State", "album", "draw_state", "group_photo", "identity", "render", "seed_of",
    "sheet", "write_corpus",
]  # fmt: skip
