"""Whether a time limit is longer than training needs from one checkpoint to the next."""

from anchorface.infra.launch.resources import GRACE
from anchorface.records import AnchorfaceError, ConfigurationError


def require_interval(minutes: int, checkpoint_every: int, run_folder: str) -> None:
    """Refuse a time limit in which a run, at its speed so far, does not come from one checkpoint to the next; of a run
    that has not begun nothing is known.

    Args:
        minutes: the limit. checkpoint_every: samples. run_folder: with the run's lines of progress.

    Raises:
        ConfigurationError: it is shorter; says what the run needs.
    """
    from anchorface.training.run_folders import look

    try:
        rate = look(run_folder).last.get("samples_per_second", 0.0)
    except AnchorfaceError:
        return  # no run there: whoever carries the work out says what is wrong
    needed = (checkpoint_every / rate + GRACE) / 60 if rate else 0.0
    if minutes < needed:
        raise ConfigurationError(
            f"--minutes {minutes}: {run_folder} makes {rate:.3g} samples a second, so the {checkpoint_every:,} samples "
            f"from one checkpoint to the next, and {GRACE} s to end in good order, take {needed:.1f} minutes: give "
            f"more, or --set checkpoint_every={max(int((minutes * 60 - GRACE) * rate), 1)}")
