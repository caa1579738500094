"""What a test has started and may have left."""

import psutil


def marked(variable: str, value: str) -> list[str]:
    """The command lines of the processes that live with this value of a variable in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:80])
        except (psutil.Error, OSError):
            continue
    return found
