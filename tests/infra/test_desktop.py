"""A page opens for a person at a desktop, and for nobody else: a real terminal, and a browser that writes down what it
was asked for."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = "import sys; from anchorface.infra.desktop import show; sys.exit(0 if show('file:///a/report.html') else 3)"


@pytest.fixture
def browsers(tmp_path: Path) -> dict[str, str]:
    """The environment of a desktop whose one browser, of windows or of text, writes down what it is asked for."""
    for name in ("firefox", "lynx"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
        (tmp_path / name).chmod(0o700)
    return {"PATH": str(tmp_path), "TERM": "xterm", "DISPLAY": ":7", "HOME": str(tmp_path)}


def shown(environment: dict[str, str], terminal: bool = True, text: bool = False) -> tuple[int, str]:
    """The exit status of PROGRAM, at a terminal or with its words in a pipe, and what a browser was asked for."""
    folder, (outer, inner) = Path(environment["PATH"]), pty.openpty()
    if text:
        (folder / "firefox").unlink()
    said = inner if terminal else subprocess.PIPE
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, stdin=inner, stdout=said, stderr=inner,
                          timeout=60)
    deadline = time.monotonic() + 5
    while done.returncode == 0 and not (folder / "asked").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(outer)
    os.close(inner)
    return done.returncode, (folder / "asked").read_text() if (folder / "asked").exists() else ""


def test_the_page_opens_where_somebody_watches(browsers: dict[str, str]) -> None:
    status, asked = shown(browsers)
    assert status == 0 and "file:///a/report.html" in asked


@pytest.mark.parametrize(("change", "how"), [
    ({"SSH_CONNECTION": "10.0.0.2 5 10.0.0.1 22"}, {}), ({"CI": "true"}, {}), ({"DISPLAY": ""}, {}),
    ({}, {"terminal": False}), ({}, {"text": True}),
])
def test_it_opens_for_nobody_else(browsers: dict[str, str], change: dict[str, str], how: dict[str, bool]) -> None:
    assert shown(browsers | change, **how) == (3, "")
