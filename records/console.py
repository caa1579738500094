"""The one way in which words reach a terminal: names, tables and errors come from files, and are words, not commands.

A text is never markup, and characters that command a terminal (escape sequences, carriage returns, controls of the
writing direction, halves of surrogates) are shown as escapes; passwords of URIs are not shown. Colour and weight are
given as `rich.text.Text`.
"""

import re
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from anchorface.records.addresses import redacted

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str, lines: bool = True) -> str:
    """A text without characters that command a terminal: ESC becomes `\\x1b`.

    Args:
        lines: whether it may have several lines and tabs; without, they are shown as `\\n` and `\\t` too.
    """
    found = _COMMANDS.sub(lambda character: ascii(character[0])[1:-1], text)
    return found if lines else found.replace("\n", "\\n").replace("\t", "\\t")


class Console(rich.console.Console):
    """A rich console for which every text is words. Arguments as rich's."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Words as rich shows them; called for each text that is printed, and for each cell of a table."""
        return super().render_str(shown(redacted(text)), **options | {"markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything, with no command in their words."""
        for segment in super().render(renderable, options):
            safe = segment.control or not _COMMANDS.search(segment.text)
            yield segment if safe else Segment(shown(segment.text), segment.style)
