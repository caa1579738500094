"""Slurm: one allocation, a Ray of its own in it, and the work on top; see `slurm_script`.

Slurm's own programs are asked (SLURM_CONF as usual); the log is a file beside the submission, which the nodes must see,
as they must see the folder of the work and its Python.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from anchorface.infra.launch.following import lines
from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.slurm_script import ALWAYS, script
from anchorface.infra.launch.submission import Phase, State, Submission, folder, keep, made_folder, now
from anchorface.infra.launch.work import Work
from anchorface.records import ConfigurationError, LauncherError
from anchorface.records.storage import join

PROGRAMS_HINT = "submit from a login node of the cluster, or take another --on"
SECONDS = 60
"""For which one of Slurm's programs may take its time."""
EARLY = 60
"""Seconds by which Slurm may tell of the end too early (`--signal`)."""
PHASES = {
    "PENDING": Phase.WAITING, "CONFIGURING": Phase.WAITING, "REQUEUED": Phase.WAITING, "REQUEUE_HOLD": Phase.WAITING,
    "REQUEUE_FED": Phase.WAITING, "SPECIAL_EXIT": Phase.WAITING, "RESV_DEL_HOLD": Phase.WAITING,
    "PREEMPTED": Phase.FAILED, "RUNNING": Phase.RUNNING, "COMPLETING": Phase.RUNNING, "SUSPENDED": Phase.RUNNING,
    "STOPPED": Phase.RUNNING, "SIGNALING": Phase.RUNNING, "STAGE_OUT": Phase.RUNNING, "RESIZING": Phase.RUNNING,
    "COMPLETED": Phase.SUCCEEDED, "CANCELLED": Phase.CANCELLED, "FAILED": Phase.FAILED, "TIMEOUT": Phase.FAILED,
    "NODE_FAIL": Phase.FAILED, "OUT_OF_MEMORY": Phase.FAILED, "BOOT_FAIL": Phase.FAILED, "DEADLINE": Phase.FAILED,
    "REVOKED": Phase.FAILED,
}
WORST = (Phase.RUNNING, Phase.WAITING, Phase.UNKNOWN, Phase.FAILED, Phase.CANCELLED, Phase.SUCCEEDED)
"""Of several tasks, the first of these that one is in is said of all."""


class Slurm:
    """See the module and `submission.Launcher`."""

    def render(self, work: Work) -> dict[str, str]:
        """The batch script."""
        for place in (work.folder, folder()):
            if not place.isprintable():
                raise ConfigurationError(f"{place!r}: Slurm takes no path with such letters")
        needs = work.resources
        if work.array and needs.feed_nodes:
            raise ConfigurationError("Slurm knows no arrays of heterogeneous jobs: --each, or --feed-nodes, not both")
        if needs.feed_cpus and not needs.feed_nodes:
            raise ConfigurationError("--feed-cpus is of --feed-nodes: give both")
        if needs.minutes and needs.minutes * 60 <= GRACE + EARLY:
            raise ConfigurationError(f"--minutes {needs.minutes}: Slurm tells of the end up to {GRACE + EARLY} s "
                                     f"before, so nothing would be done; give more than {(GRACE + EARLY) // 60}")
        task = "-%a" if work.array else ""
        log = join(folder(), work.name).replace("%", "%%") + f"{task}.log"
        return {f"{work.name}.sh": script(work, log)}

    def ready(self, work: Work) -> None:
        """Ask Slurm whether it would take the job."""
        made = self.render(work)
        _ask("scontrol", "ping")
        offer = _require_queue(work.resources)
        _require_image(work)
        if not work.resources.feed_nodes:  # Slurm tests no heterogeneous jobs
            try:
                _submit(work, made, "--test-only")
            except LauncherError as error:
                raise LauncherError(f"{error}; {offer}") from None

    def submit(self, work: Work) -> Submission:
        """`sbatch`; the values of passed variables go through its environment."""
        made = self.render(work)
        made_folder()
        number, _, cluster = _submit(work, made, "--parsable").strip().partition(";")
        if not number.isdigit():
            raise LauncherError(f"sbatch answered {number[:80]!r}, which is no number of a job")
        log = join(folder(), work.name + ("-{task}" if work.array else "") + ".log")
        return keep(Submission(launcher="slurm", id=number, name=work.name, command=work.commands[0], submitted=now(),
                               address=cluster, log=log, tasks=len(work.commands)))

    def state(self, submission: Submission) -> State:
        """What `scontrol` says, or after some minutes, where Slurm keeps accounts, `sacct`."""
        found = [(line.get("JobState", ""), line) for line in _jobs(submission)]
        if not found:
            return _accounted(submission)
        phases = [PHASES.get(state, Phase.UNKNOWN) for state, _ in found]
        counts = [_count(line.get("ArrayTaskId", "0")) for _, line in found]
        phase = next(each for each in WORST if each in phases)
        if phase.over and sum(counts) < submission.tasks:
            return _accounted(submission)
        _, line = found[phases.index(phase)]
        such = sum(count for count, each in zip(counts, phases, strict=True) if each == phase)
        detail = [f"{such} of {submission.tasks} tasks"] if submission.tasks > 1 else []
        if phase == Phase.WAITING and line.get("Reason", "None") != "None":
            detail.append(f"reason: {line['Reason']}")
        if phase == Phase.RUNNING:
            detail.append(f"on {line.get('NodeList', '')}")
        if phase == Phase.FAILED:
            detail.append(f"{line['JobState']}, exit status {line.get('ExitCode', '').partition(':')[0]}")
        if line.get("Restarts", "0") != "0":
            detail.append(f"begun again {line['Restarts']} times")
        return State(phase=phase, detail=", ".join(detail))

    def log(self, submission: Submission, follow: bool) -> Iterator[str]:
        """The tasks' files, all at once."""
        places = [Path(submission.log.replace("{task}", str(task))) for task in range(submission.tasks)]
        return lines(places, lambda: not follow or self.state(submission).phase in (
            Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.UNKNOWN))

    def cancel(self, submission: Submission) -> None:
        """`scancel`: SIGTERM, and after Slurm's KillWait the end by force."""
        if not self.state(submission).phase.over:
            _ask("scancel", *_cluster(submission), submission.id)
        while self.state(submission).phase in (Phase.RUNNING, Phase.WAITING):
            time.sleep(1)


def _require_queue(needs: Resources) -> str:
    """Refuse a partition that is not there, more minutes than it allows, or GPUs that no node of it has. Returns what
    it has, in words."""
    queues: dict[str, list[dict[str, str]]] = {}
    fields = ("name", "nodes", "cpus", "memory", "gres", "limit", "sizes")
    told = _ask("sinfo", "--noheader", "--format=%P|%D|%c|%m|%G|%l|%s")
    for line in told.splitlines():
        row = dict(zip(fields, line.split("|"), strict=True))
        queues.setdefault(row["name"].rstrip("*"), []).append(row)
    if not queues:
        raise LauncherError("Slurm has no queue (partition): ask whoever runs the cluster")
    if needs.queue and needs.queue not in queues:
        raise ConfigurationError(f"--queue {needs.queue}: Slurm has no such partition; it has "
                                 f"{', '.join(sorted(queues))}")
    default = next((name for name, rows in queues.items() if rows[0]["name"].endswith("*")), "")
    rows = queues.get(needs.queue or default, [])
    if not rows:
        raise ConfigurationError(f"Slurm has no default queue: give --queue, one of {', '.join(sorted(queues))}")
    queue = needs.queue or default
    most = max(_gpus(row["gres"]) for row in rows)
    if needs.gpus > most:
        other = [name for name, each in queues.items() if max(_gpus(row["gres"]) for row in each) >= needs.gpus]
        raise ConfigurationError(
            f"--gpus {needs.gpus}: no node of {queue} has more than {most}; take at most {most}, more nodes, or "
            + (f"--queue {' or '.join(other)}" if other else "another cluster"))
    limit = _minutes(rows[0]["limit"])
    if limit and needs.minutes > limit:
        raise ConfigurationError(f"--minutes {needs.minutes}: {queue} gives at most {limit}; the work is begun again "
                                 "where it stopped, so fewer will do")
    each = ", ".join(f"{row['nodes']} of {row['cpus']} CPUs, {row['memory']} MB, GPUs: {_gpus(row['gres'])}"
                     for row in rows)
    return f"nodes of {queue}: {each}; a job may have {rows[0]['sizes']} of them"


def _require_image(work: Work) -> None:
    """Refuse a container's file that is missing, or an image that only a Slurm with Pyxis can run."""
    image = work.resources.image
    if image.endswith((".sif", ".sqsh")) and not Path(work.folder, image).exists():
        raise ConfigurationError(f"--image {image}: there is no such file")
    if image and not image.endswith(".sif") and "--container-image" not in _ask("srun", "--help"):
        raise LauncherError(f"--image {image}: this Slurm has no Pyxis (srun knows no --container-image): give a file "
                            "NAME.sif, which Apptainer runs, or leave it out")


def _count(tasks: str) -> int:
    """How many tasks of an array a line of Slurm's is about, such as `3`, or `0-7,9%2` for those that wait."""
    ends = [each.partition("-")[::2] for each in tasks.partition("%")[0].split(",")]
    return sum(int(last or first) - int(first) + 1 for first, last in ends)


def _gpus(gres: str) -> int:
    """GPUs in Slurm's words, such as `gpu:2(S:0)`, `gpu:a100:4,nvme:1`, `(null)`."""
    return sum(int(found) for found in re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres))


def _minutes(limit: str) -> int:
    """Slurm's `days-hours:minutes:seconds` in minutes; 0 for `infinite`."""
    days, _, clock = limit.rpartition("-")
    numbers = [int(part) for part in clock.split(":") if part.isdigit()]
    if not numbers:
        return 0
    hours, minutes, _ = [0, 0, *numbers][-3:]
    return (int(days or 0) * 24 + hours) * 60 + minutes


def _submit(work: Work, made: dict[str, str], *options: str) -> str:
    environment = {key: value for key, value in os.environ.items()
                   if key in {*ALWAYS, *work.environment} or not key.startswith(("SBATCH_", "SLURM_"))}
    return _ask("sbatch", *options, given=next(iter(made.values())), environment=environment)


def _ask(*words: str, given: str = "", environment: dict[str, str] | None = None) -> str:
    """What one of Slurm's programs prints.

    Raises:
        LauncherError: it is missing, does not answer or refuses; says what it said.
    """
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except FileNotFoundError as error:
        raise LauncherError(f"{words[0]} is not installed here: {PROGRAMS_HINT}") from error
    except subprocess.TimeoutExpired as error:
        raise LauncherError(f"{words[0]}: Slurm did not answer in {SECONDS} s: {PROGRAMS_HINT}") from error
    if done.returncode:
        said = " ".join(line.partition("error: ")[2] or line for line in done.stderr.splitlines())[:500]
        raise LauncherError(f"{words[0]}: {said or f'exit status {done.returncode}'}")
    if words[0] == "scontrol" and "DOWN" in done.stdout and "UP" not in done.stdout:
        raise LauncherError(f"Slurm's controller does not answer ({done.stdout.strip()}): {PROGRAMS_HINT}")
    return done.stdout


def _cluster(submission: Submission) -> Sequence[str]:
    return (f"--clusters={submission.address}",) if submission.address else ()


def _jobs(submission: Submission) -> list[dict[str, str]]:
    """What Slurm knows of a job's tasks; nothing of one that it has forgotten."""
    try:
        told = _ask("scontrol", *_cluster(submission), "--oneliner", "show", "job", submission.id)
    except LauncherError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [dict(word.partition("=")[::2] for word in line.split()) for line in told.splitlines()
            if "JobState=" in line]


def _accounted(submission: Submission) -> State:
    """What the accounts say of a job that the controller has forgotten."""
    try:
        told = _ask("sacct", *_cluster(submission), "--noheader", "--parsable2", "--allocations",
                    "--format=State,ExitCode", f"--jobs={submission.id}").split()
    except LauncherError:
        told = []
    states = [line.partition("|")[0].partition("+")[0] for line in told]
    phases = [PHASES[state] for state in states if state in PHASES]
    if not phases:
        return State(phase=Phase.UNKNOWN, detail="Slurm has forgotten it, or a task of it, and keeps no accounts; its "
                                                 "log tells how it ended")
    return State(phase=next(each for each in WORST if each in phases), detail=", ".join(sorted(set(states))))
