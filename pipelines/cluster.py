"""Ray, started once: on this machine, or the cluster that `RAY_ADDRESS` names.

In: how many CPUs Ray may use here. Out: a connected Ray whose workers import this repository's packages.
"""

import logging
import os
import warnings
from pathlib import Path

import ray
from ray.data import DataContext

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "anchorface"
NOT_SHIPPED = [".git", ".venv", "runs", "mlruns", "data", "shared", "tests", "*.tar", "*.parquet", "*.log"]


def connect(num_cpus: int | None = None) -> None:
    """Start or join Ray; does nothing when this process is connected already.

    On one machine the workers inherit this process's environment, which is much faster to start than a
    runtime environment. On a cluster the packages travel as `working_dir`.

    Args:
        num_cpus: CPUs that Ray may use on this machine, all of them if None; a cluster knows its own.
    """
    if not ray.is_initialized():
        paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        if os.environ.get("RAY_ADDRESS"):
            shipped = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
            runtime = {"working_dir": str(ROOT), "excludes": NOT_SHIPPED, "env_vars": shipped}
            ray.init(namespace=NAMESPACE, runtime_env=runtime, logging_level=logging.WARNING)
        else:
            os.environ.update(environment)
            # Ray's C++ side prints a false alarm for every actor pool, and Ray Train one a second without a dashboard.
            # Progress comes from pipelines.progress and training.launch; Ray's log files keep what workers print.
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            with warnings.catch_warnings():
                # Ray forks and at once starts another program, which does Lance no harm.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                ray.init(
                    num_cpus=num_cpus, include_dashboard=False, namespace=NAMESPACE, logging_level=logging.WARNING,
                    log_to_driver=False,
                )
    quiet_data()


def quiet_data() -> None:
    """Silence Ray Data's own bars and plans: stages report their progress themselves (pipelines.progress)."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
