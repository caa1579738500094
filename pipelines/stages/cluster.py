"""Ray, started once: on this machine, or the cluster that `RAY_ADDRESS` names.

In: how many CPUs Ray may use here. Out: a connected Ray whose workers import the installed `anchorface`, the same code
as this process.
"""

import logging
import os

import ray
from ray.data import DataContext

from anchorface.pipelines.stages import own_ray
from anchorface.records.errors import ConfigurationError
from anchorface.records.lineage import code_hash

NAMESPACE = "anchorface"
ENVIRONMENT = {"NO_ALBUMENTATIONS_UPDATE": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def connect(num_cpus: int | None = None) -> None:
    """Start or join Ray; does nothing when this process is connected already.

    Without `RAY_ADDRESS` it is a Ray of this process's own, even where another one runs on the machine.
    On one machine the workers inherit this process's environment, which is much faster to start than a runtime
    environment.

    Args:
        num_cpus: CPUs that Ray may use on this machine, all of them if None; a cluster knows its own.

    Raises:
        ConfigurationError: a cluster whose workers lack anchorface, or have another state of its code; or a Ray of
            one's own that does not start.
    """
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(namespace=NAMESPACE, runtime_env={"env_vars": ENVIRONMENT}, logging_level=logging.WARNING,
                     log_to_driver=False)
            _require_same_code()
        else:
            os.environ.update(ENVIRONMENT)
            own_ray.start(NAMESPACE, num_cpus)
    quiet_data()


def is_there() -> bool:
    """Whether Ray runs already, here or as a cluster to join."""
    return ray.is_initialized() or bool(os.environ.get("RAY_ADDRESS"))


def quiet_data() -> None:
    """Silence Ray Data's own bars and plans: stages report their progress themselves."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False


def _require_same_code() -> None:
    here = code_hash()
    try:
        there = ray.get(ray.remote(num_cpus=0)(_code_there).remote())
    except ray.exceptions.RayError as error:
        ray.shutdown()
        raise ConfigurationError(f"the workers of the Ray cluster at {os.environ['RAY_ADDRESS']} cannot import "
                                 f"anchorface ({error}); install it on every node, as here: {here}") from error
    if there != here:
        ray.shutdown()
        raise ConfigurationError(f"the workers of the Ray cluster at {os.environ['RAY_ADDRESS']} have anchorface "
                                 f"{there}, this process has {here}; install the same on both")


def _code_there() -> str:
    return code_hash()
