"""A program that carries out a command and writes how it ended.

    python -I supervise.py STATUS SECONDS GRACE MARK WORDS...

STATUS: the file that says so, `{"exit": 0, "told": ""}`. SECONDS: after so many it is over, by force; GRACE before, the
command is told to end; 0: never. MARK: `NAME=value`, a variable of all its processes: none of them outlives it. SIGTERM
to this program is passed on, once. It stands on Python alone, so that it begins in a blink.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(status: str, seconds: float, grace: float, mark: str, words: list[str]) -> None:
    """See the module."""
    os.umask(0o077)
    told: list[str] = []
    child = subprocess.Popen(words, close_fds=False)

    def end(why: str) -> None:
        if not told:
            told.append(why)
            signal.setitimer(signal.ITIMER_REAL, grace)
            with contextlib.suppress(ProcessLookupError):
                child.terminate()

    def alarm(number: int, frame: object) -> None:
        if told:
            end_marked(mark)
        else:
            end("time")

    signal.signal(signal.SIGTERM, lambda number, frame: end("cancelled"))
    signal.signal(signal.SIGALRM, alarm)
    if seconds:
        signal.setitimer(signal.ITIMER_REAL, max(seconds - grace, 0.001))
    code = child.wait()
    end_marked(mark)
    beside = Path(f"{status}.tmp")
    beside.write_text(json.dumps({"exit": code, "told": told[0] if told else ""}))
    os.replace(beside, status)


def end_marked(mark: str) -> None:
    """Kill every process of this user with the variable in its environment, but this one."""
    looked, wanted = 0, f"\0{mark}\0".encode()
    while looked < 20:  # one may start another meanwhile
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
        marked = [number for number in found if wanted in b"\0" + _environment(number)]
        if not marked:
            return
        for number in marked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        looked += 1
        time.sleep(0.1)


def _environment(number: int) -> bytes:
    """Of a process; nothing of one that is gone, over, or another user's."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/environ").read_bytes()
    return b""


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5:])
