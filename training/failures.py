"""An error of ours ends a run on Ray Train at once: another attempt would only meet it again.

In: what workers raised. Out: the first AnchorfaceError among it, which Ray Train's controller then raises in the
launcher as a ControllerError. Everything else (a worker that died, a machine that is gone) is for the failure policy.
"""

from typing import Any

from ray.train import UserCallback

from anchorface.records import AnchorfaceError, errors


class EndAtOurErrors(UserCallback):
    """Heard by the controller after workers have raised something."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise an error of ours, with its words alone: what led to it may not be known where it is read."""
        for error in worker_exceptions.values():
            if isinstance(error, AnchorfaceError):
                raise errors.from_value(*errors.to_value(error))
