"""A Slurm of the tests' own: munged, slurmctld and several slurmd on this machine, on loopback, in a temporary folder.

Nothing of it is known to the machine: clients find it by SLURM_CONF. It ends with the block.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
NODES, CPUS = 3, 8
DEVICES = ("null", "zero")
SETTINGS = """ClusterName=anchorface
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
SlurmUser=root
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={kill_wait}
ReturnToService=2
GresTypes=gpu
DefMemPerCPU=100
"""


@contextlib.contextmanager
def slurm(folder: Path, kill_wait: int = 120) -> Iterator[Path]:
    """A running Slurm with three nodes of 8 CPUs each, the first with 2 GPUs that are none, and two queues: `low`,
    which `high` preempts. Gives its slurm.conf.

    Args:
        kill_wait: seconds from SIGTERM to SIGKILL (KillWait).
    """
    control, *ports = free_ports(1 + NODES)
    nodes = [f"node{port}" for port in ports]  # Slurm's control groups are named by them, and others may test here too
    for name in ("state", *(f"spool-{node}" for node in nodes)):
        (folder / name).mkdir()
    tracking = "cgroup" if os.access("/sys/fs/cgroup/freezer", os.W_OK) else "linuxproc"
    lines = [SETTINGS.format(control=control, folder=folder, tracking=tracking, kill_wait=kill_wait)]
    for node, port in zip(nodes, ports, strict=True):
        gpus = f" Gres=gpu:{len(DEVICES)}" if node == nodes[0] else ""
        lines.append(f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
                     f"RealMemory=16000{gpus}\n")
    lines.append("PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60\n"
                 "PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 MaxNodes=2\n")
    (folder / "slurm.conf").write_text("".join(lines))
    (folder / "gres.conf").write_text("".join(f"NodeName={nodes[0]} Name=gpu File=/dev/{name}\n" for name in DEVICES))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    (folder / "munge.key").write_bytes(secrets.token_bytes(64))
    (folder / "munge.key").chmod(0o600)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (
        ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))]
    commands = [["munged", "--foreground", "--force", *munge],
                ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
                *(["slurmd", "-D", "-N", node, "-f", str(folder / "slurm.conf")] for node in nodes)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with open(folder / f"{command[0]}-{len(started)}.out", "wb") as said:
                started.append(subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL))
            time.sleep(0.5)
        until(lambda: ask("sinfo", "--noheader", "--format=%T %D", "--partition=low").split() == ["idle", "3"], 60)
        yield folder / "slurm.conf"
    finally:
        with contextlib.suppress(AssertionError):
            until(_no_job_is_left, 30)
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
        os.environ.pop("SLURM_CONF", None)


def _no_job_is_left() -> bool:
    ask("scancel", "--user=root", "--state=PENDING")
    ask("scancel", "--user=root", "--signal=KILL", "--full")
    return not ask("squeue", "--noheader")


def is_here() -> bool:
    """Whether a Slurm can be started: Debian's packages slurm-wlm and munge, and root, who alone may start slurmd."""
    return all(map(shutil.which, PROGRAMS)) and os.geteuid() == 0


def ask(*words: str) -> str:
    """What one of Slurm's programs prints; nothing where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""


def until(holds, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Wait for something to hold, looking twice a second."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as open_ones:
        held = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
