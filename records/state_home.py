"""Where this user's own state stands, outside every workspace and run folder."""

import os
from pathlib import Path


def state_home(*names: str) -> Path:
    """A place in $XDG_STATE_HOME/anchorface (~/.local/state/anchorface), which need not be there."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state", "anchorface", *names)
