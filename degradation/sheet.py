"""A contact sheet: pictures in a grid with words under each. In: uint8 [H, W, 3], RGB. Out: the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, LINE = 14, 17
INK, FAINT, PAPER = (29, 39, 51), (102, 114, 127), (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a sheet: uint8 [H, W, 3], a title and a text under it."""

    image: np.ndarray
    title: str
    text: str = ""


def sheet(cells: Sequence[Cell], *, columns: int = 4, side: int = 256) -> np.ndarray:
    """Lay cells out, row by row.

    Args:
        cells: at least one. columns: cells in a row. side: of the square that a picture is fitted into, px; a smaller
            picture is enlarged by whole pixels, so that one sees them.

    Returns:
        uint8 [H, columns * (side + 14) + 14, 3], on white; a row is as high as its longest text asks for.
    """
    font, bold = ImageFont.load_default(13), ImageFont.load_default(14)
    rows = [cells[first:first + columns] for first in range(0, len(cells), columns)]
    texts = [[(wrapped(cell.title, bold, side), wrapped(cell.text, font, side)) for cell in row] for row in rows]
    heights = [side + LINE * max(len(title) + len(text) for title, text in row) + 2 * GAP for row in texts]
    page = Image.new("RGB", (columns * (side + GAP) + GAP, sum(heights) + GAP), PAPER)
    pen, top = ImageDraw.Draw(page), GAP
    for row, words, height in zip(rows, texts, heights, strict=True):
        for column, (cell, (title, text)) in enumerate(zip(row, words, strict=True)):
            left, picture = GAP + column * (side + GAP), fitted(cell.image, side)
            across, down = ((side - length) // 2 for length in (picture.shape[1], picture.shape[0]))
            page.paste(Image.fromarray(picture), (left + across, top + down))
            line = top + side + 6
            for words_of, ink, face in ((title, INK, bold), (text, FAINT, font)):
                for one in words_of:
                    pen.text((left, line), one, fill=ink, font=face)
                    line += LINE
        top += height
    return np.asarray(page)


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """A picture made as large as fits into a square of `side` px: shrunk by areas, or enlarged by whole pixels."""
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= side:
        times = side // longer
        return np.ascontiguousarray(image.repeat(times, axis=0).repeat(times, axis=1))
    size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The lines of a text, each at most `width` px wide; a word that is wider is cut."""
    lines: list[str] = []
    for word in text.split():
        while font.getlength(word) > width:
            fits = max(n for n in range(1, len(word) + 1) if n == 1 or font.getlength(word[:n]) <= width)
            lines, word = [*lines, word[:fits]], word[fits:]
            if not word:
                break
        if lines and word and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        elif word:
            lines.append(word)
    return lines
