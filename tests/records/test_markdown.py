"""A table's cell is one cell, whatever stands in it."""

import pytest

from anchorface.records.markdown import cell


@pytest.mark.parametrize(("text", "written"), [
    ("a | b", r"a \| b"), (r"a \| b", r"a \\\| b"), ("two\nlines", "two lines"),
    ("<script> & more", "&lt;script> &amp; more"), ("plain words, 3 %", "plain words, 3 %")])
def test_a_cell_stays_one_cell_without_html(text: str, written: str) -> None:
    assert cell(text) == written
