"""What a person sees of work in progress."""

import io
import re

import pytest

from anchorface.pipelines.stages import progress
from anchorface.pipelines.stages.progress import Progress


def test_the_time_left_is_told_by_the_pace_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress(said).stage("ingest", 2000) as told:
        told.skip(500, {"photos": 500})
        clock[0] = 60.0  # what starts slowly
        told.advance(10, photos=10)
        for _ in range(80):
            clock[0] += 1.0
            told.advance(10, photos=10)
        paces = re.findall(r"(\d+)/s, (\d+) s left", said.getvalue())
        assert paces[0] == ("0", "8940") and paces[-1] == ("10", "69")
        told.advance(690)
    assert "2,000/2,000 photos" in said.getvalue().splitlines()[-1] and "500 done before" in said.getvalue()
