"""What was submitted: where it runs and under which id, kept as a file for each; its state is asked of the launcher.

The files stand in $XDG_STATE_HOME/anchorface/jobs (~/.local/state), for their owner alone:

    train-3fa9c1.json   the Submission
    train-3fa9c1.log    what the work prints, where the launcher writes it there
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from anchorface.infra.launch.work import Work
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.addresses import all_redacted
from anchorface.records.homes import state_folder, state_home
from anchorface.records.state import inside, read_state
from anchorface.records.storage import exists, join, list_files, write_atomic

FOLDER = "jobs"


class Phase(Enum):
    """Where work is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether nothing of it runs or will run."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a launcher says of work, now. detail: a few words, such as why it waits or its exit status."""

    phase: Phase
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Work that a launcher has taken.

    launcher: its name. id: what the launcher calls the work. name: the work's. command: of the first task. submitted:
    ISO 8601, UTC. address: the cluster, without secrets; empty for this machine. log: the file that it prints into,
    with `{task}` where there are several; empty if the launcher keeps it. tasks: how many.
    """

    launcher: str
    id: str
    name: str
    command: tuple[str, ...]
    submitted: str
    address: str = ""
    log: str = ""
    tasks: int = 1


class Launcher(Protocol):
    """Someone who carries work out; where it is, it knows from the usual environment (RAY_ADDRESS, KUBECONFIG,
    SLURM_CONF), or from the submission. Each raises LauncherError for what does not answer or refuses,
    ConfigurationError for what it does not have."""

    def render(self, work: Work) -> dict[str, str]:
        """File name -> text of all that would be sent; nothing is asked or started."""

    def ready(self, work: Work) -> None:
        """Refuse all that can be refused before a start, with the remedy."""

    def submit(self, work: Work) -> Submission:
        """Hand the work over."""

    def state(self, submission: Submission) -> State:
        """Ask how it goes."""

    def log(self, submission: Submission, follow: bool) -> Iterator[str]:
        """Lines that the work printed, without ends of lines. follow: go on until the work is over."""

    def cancel(self, submission: Submission) -> None:
        """End it, in good order if it can, and wait until nothing of it is left; nothing if it is over."""


def folder() -> str:
    """Where submissions are kept."""
    return str(state_home(FOLDER))


def made_folder() -> str:
    """The same, made: what cannot be kept should not be begun.

    Raises:
        StorageError: it cannot be written.
    """
    return str(state_folder(FOLDER))


def now() -> str:
    """The time, as a Submission says it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def keep(submission: Submission) -> Submission:
    """Write a submission into its file, without secrets, and return it."""
    told = all_redacted(asdict(submission))
    write_atomic(join(made_folder(), f"{submission.name}.json"), json.dumps(told, indent=1).encode())
    return submission


def find(name: str) -> Submission:
    """A submission by the name of its work.

    Raises:
        ConfigurationError: there is none of this name. DataError: its file is damaged.
    """
    place = join(folder(), f"{inside(name)}.json")
    if "/" in name or not exists(place):
        raise ConfigurationError(f"{name}: there is no such job here; `anchorface jobs` lists them")
    return read_state(place, Submission)


def kept() -> tuple[list[Submission], list[str]]:
    """All submissions, the oldest first, and what is wrong with files that are damaged."""
    found, damaged = [], []
    for place in list_files(folder(), (".json",)) if exists(folder()) else ():
        try:
            found.append(read_state(place, Submission))
        except AnchorfaceError as error:
            damaged.append(str(error))
    return sorted(found, key=lambda each: (each.submitted, each.name)), damaged
