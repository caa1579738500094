"""A page shown to a person who sits at this machine; nobody is shown anything over SSH, in a pipe, or by a job."""

import os
import sys
import webbrowser
from collections.abc import Mapping

ELSEWHERE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI")
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


def is_watched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody at a desktop of this machine started this process: a terminal at all ends, and a screen."""
    if any(environment.get(name) for name in ELSEWHERE):
        return False
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return False
    return sys.platform == "darwin" or any(environment.get(name) for name in SCREENS)


def show(uri: str) -> bool:
    """Open a page in the browser of whoever watches. Returns whether one took it; without a watcher none is asked."""
    if not is_watched():
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    # Exactly this class stands for browsers of text, which would take the terminal.
    return type(browser) is not webbrowser.GenericBrowser and browser.open(uri)
