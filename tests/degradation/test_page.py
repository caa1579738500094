"""The page of all profiles: whole, alone, and with the tables that plans are drawn from."""

import re
from pathlib import Path

import pytest

from anchorface.degradation import profiles
from anchorface.degradation.clip import clip_profiles
from anchorface.degradation.page import in_words, write_page
from anchorface.degradation.ranges import Chance, Choice, LogUniform, Uniform, Whole
from anchorface.records import DataError
from tests.degradation.scene import picture


def test_the_page_stands_alone_and_shows_every_profile(tmp_path):
    page = Path(write_page(str(tmp_path / "page.html"), picture(300), draws=1)).read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "nothing from outside"
    sections = dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.S))
    assert len(sections) == 1 + len(profiles()) + len(clip_profiles())
    assert sections["strengths"].count("<img") == 2 * 17
    assert sections["gfpgan"].count("<img") == 2
    assert "<code>jpeg.quality</code></td><td>whole, even from 60 to 100<" in sections["gfpgan"]
    assert all(f'href="#{name}"' in page for name in sections), "every section has a link"
    again = Path(write_page(str(tmp_path / "again.html"), picture(300), draws=1)).read_text()
    assert again == page


@pytest.mark.parametrize(("given", "said"), [
    (Uniform(0.1, 10), "even from 0.1 to 10"), (Uniform(3, 3), "3"), (Whole(41, 41), "41"),
    (Whole(7, 21, 2), "whole, even from 7 to 21 in steps of 2"),
    (LogUniform(1e4, 1e5), "even in its logarithm, from 10000 to 100000"),
    (Chance(0.25), "yes with probability 0.25"), (Choice(("up", "down"), (3, 1)), "up 0.75, down 0.25"),
    (Choice((1, 2)), "1 0.5, 2 0.5")])
def test_a_range_in_words(given, said):
    assert in_words(given) == said


def test_a_face_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="image"):
        write_page(str(tmp_path / "page.html"), picture(64)[..., 0])
