"""What git says of a folder: its commit, and which files are not as in it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """commit: 40 hex digits. changed: paths below the root that were changed, or that git does not know, in order."""

    commit: str
    changed: tuple[str, ...]


def checkout(folder: Path) -> Checkout | None:
    """The state of a repository's root; None where `folder` is none, or without git."""
    try:
        top, commit, changes = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (("rev-parse", "--show-toplevel"), ("rev-parse", "HEAD"),
                          ("status", "--porcelain", "-z", "--untracked-files=all",
                           "--no-renames"))
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if Path(top.strip()).resolve() != folder.resolve():
        return None  # an installation inside somebody else's repository
    return Checkout(commit=commit.strip(), changed=tuple(sorted(line[3:] for line in changes.split("\0") if line)))
