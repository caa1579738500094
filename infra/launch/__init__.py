"""Work handed to machines: to this one, to a Ray cluster, to Slurm, to Kubernetes.

In: a verb with its words (`work`) and what it needs (`Resources`). Out: a `Submission`, whose state, log and end are
asked of the same launcher.
"""

from importlib import import_module
from typing import cast

from anchorface.infra.launch.submission import Launcher
from anchorface.records import ConfigurationError

LAUNCHERS = {"local": "Local", "ray": "Ray", "slurm": "Slurm", "kubernetes": "Kubernetes"}
"""Module -> the class in it, loaded when it is asked for."""


def launcher(name: str) -> Launcher:
    """The launcher of this name.

    Raises:
        ConfigurationError: there is none; names those that there are.
    """
    if name not in LAUNCHERS:
        raise ConfigurationError(f"--on {name}: it is one of {', '.join(LAUNCHERS)}")
    return cast(Launcher, getattr(import_module(f"{__name__}.{name}"), LAUNCHERS[name])())
