"""Where a user's own files stand, outside every workspace and run folder: state that is kept, and what was fetched.

Both may be elsewhere than in the home folder, which in a container need not be there, or be written.
"""

import os
from pathlib import Path

from anchorface.records.errors import ConfigurationError, StorageError
from anchorface.records.storage import make_folder, require_writable

STATE, CACHE = "XDG_STATE_HOME", "XDG_CACHE_HOME"


def state_home(*names: str) -> Path:
    """A place in $XDG_STATE_HOME/anchorface (~/.local/state/anchorface), which need not be there.

    Raises:
        ConfigurationError: this user has no home folder, and the variable is not set.
    """
    return _home(STATE, ".local", "state").joinpath("anchorface", *names)


def cache_home(*names: str) -> Path:
    """A place in $XDG_CACHE_HOME/anchorface (~/.cache/anchorface), which need not be there. Raises as `state_home`."""
    return _home(CACHE, ".cache").joinpath("anchorface", *names)


def state_folder(*names: str) -> Path:
    """As `state_home`, made and found to be writable.

    Raises:
        StorageError: it cannot be written. ConfigurationError: as `state_home`.
    """
    place = state_home(*names)
    try:
        make_folder(str(place))
        require_writable(str(place / "file"))
    except StorageError as error:
        raise StorageError(f"{error}. Name a folder that can be written in ${STATE}") from error
    return place


def _home(variable: str, *below: str) -> Path:
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home().joinpath(*below)
    except RuntimeError as error:  # neither HOME nor an entry in the system's list of users
        raise ConfigurationError(f"this user has no home folder: name one that can be written in ${variable}, or in "
                                 "$HOME") from error
