"""The batch script of a piece of work, a function of the work alone.

One Ray lives in the allocation: its head on the first node, where the script runs too, and a worker on each other node,
one `srun` each (`ray_node`). They hear of the end by their standard input, which the script holds open. The work is a
step of its own on the first node; its exit status is the job's, and its temporary files go with the job (those of one
that was killed, with the next: `records.scratch`).

Work that was told to end (SIGTERM: a node that is taken away, `scontrol requeue`, time that is up) and says that the
same command goes on (exit status 75), or that died of it, is put into the queue again. At the end of the time Slurm
tells the script alone (USR1), and the script tells the work, unless Slurm did already, as it does at a preemption; work
that has not begun by then begins after the next start.
"""

import shlex
import sys

from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.work import Work
from anchorface.records.scratch import LOCK, PREFIX

ALWAYS = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "SLURM_CONF")
MODULE = "anchorface.infra.launch.ray_node"
SCRIPT = """
# {code}
set -u
{command}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(od -An -vtx1 -N32 /dev/urandom | tr -d ' \\n')
export PYTHONUNBUFFERED=1 RAY_BACKEND_LOG_LEVEL=fatal SLURM_EXPORT_ENV=ALL

id={id} over=
job() {{ scontrol --oneliner show job "$id" | tr ' ' '\\n' | grep -m1 "^$1=" | cut -d= -f2-; }}
told() {{ over=1; case "$(job PreemptTime)" in ''|None) scancel --signal=TERM "$id" ;; esac; }}
trap told USR1
trap : TERM
scratch=$(mktemp -d -t {prefix}XXXXXXXX) && exec 4>"$scratch/{lock}" && flock -x 4 || exit 1
trap 'rm -rf "$scratch"' EXIT

coproc HEAD {{ exec {head}; }}
head=$HEAD_PID open=${{HEAD[1]}} status=75
if read -r RAY_ADDRESS <&"${{HEAD[0]}}"; then
{workers}export RAY_ADDRESS ANCHORFACE_RAY_NODES={nodes}
if [ -z "$over" ]; then
TMPDIR=$scratch {work} "$@" </dev/null &
work=$!
while kill -0 "$work" 2>/dev/null; do wait "$work"; done
wait "$work"
status=$?
fi
exec {{open}}>&-
{end}else
wait "$head"
status=$?
fi
wait
case "$status" in
75|143) [ "$(job JobState)" != RUNNING ] || scontrol requeue "$id" ;;
esac
exit "$status"
"""


def script(work: Work, log: str) -> str:
    """The text that `sbatch` reads. log: the file that all steps print into, with `%a` for a task of an array."""
    needs = work.resources
    options = [f"--job-name={work.name}", f"--output={log}", "--open-mode=append", f"--chdir={work.folder}",
               f"--export={','.join(sorted({*ALWAYS, *work.environment}))}", "--requeue"]
    if needs.minutes:
        options += [f"--time={needs.minutes}", f"--signal=B:USR1@{GRACE}"]
    if work.array:
        options.append(f"--array=0-{len(work.array) - 1}")
    parts = [[*options, *_part(needs, needs.nodes, needs.cpus, needs.gpus)]]
    if needs.feed_nodes:
        parts.append(_part(needs, needs.feed_nodes, needs.feed_cpus, 0))
    head = "\n#SBATCH hetjob\n".join("\n".join(f"#SBATCH {shlex.quote(option)}" for option in part) for part in parts)
    workers = [_node(work, f"--nodes={needs.nodes - 1} --ntasks={needs.nodes - 1} --relative=1", needs.cpus,
                     needs.gpus)] if needs.nodes > 1 else []
    if needs.feed_nodes:
        workers.append(_node(work, f"--het-group=1 --nodes={needs.feed_nodes} --ntasks={needs.feed_nodes}",
                             needs.feed_cpus, 0))
    held = range(5, 5 + len(workers))
    return f"#!/bin/bash\n{head}\n" + SCRIPT.format(
        code=told_of(work), command=_command(work), nodes=needs.nodes + needs.feed_nodes, prefix=PREFIX, lock=LOCK,
        id='"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' if work.array else '"$SLURM_JOB_ID"',
        head=_node(work, "--nodes=1 --ntasks=1 --relative=0", needs.cpus, needs.gpus, head=True),
        workers="".join(f"exec {number}> >(exec {each})\n" for number, each in zip(held, workers, strict=True)),
        work=_step(work, "--nodes=1 --ntasks=1 --relative=0", needs.cpus) + " -m anchorface",
        end="".join(f"exec {number}>&-\n" for number in held))


def told_of(work: Work) -> str:
    """One line about the code: version, commit and what was changed since."""
    changed = f", changed: {' '.join(work.code.changed[:20])}" if work.code.changed else ""
    return f"anchorface {work.code.tree}, commit {work.code.commit}{changed}".replace("\n", " ")


def _part(needs: Resources, nodes: int, cpus: int, gpus: int) -> list[str]:
    """What is asked of the nodes of one part of a job."""
    asked = [f"--nodes={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}" if cpus else "--exclusive"]
    for option, value in (("gpus-per-node", gpus), ("mem", f"{needs.memory_gib}G" if needs.memory_gib else ""),
                          ("partition", needs.queue), ("account", needs.account)):
        if value:
            asked.append(f"--{option}={value}")
    return asked


def _command(work: Work) -> str:
    """The verb and its words as the script's own arguments."""
    if not work.array:
        return f"set -- {shlex.join(work.command)}"
    tasks = "\n".join(f"{number}) set -- {shlex.join(words)} ;;" for number, words in enumerate(work.array))
    return f'case "$SLURM_ARRAY_TASK_ID" in\n{tasks}\nesac'


def _node(work: Work, where: str, cpus: int, gpus: int, *, head: bool = False) -> str:
    address = "" if head else ' --address "$RAY_ADDRESS"'
    memory = work.resources.memory_gib
    return f"{_step(work, where, cpus)} -m {MODULE} --cpus {cpus} --gpus {gpus} --memory-gib {memory}{address}"


def _step(work: Work, where: str, cpus: int) -> str:
    """A step that shares what the job has with the other steps, and Python in it."""
    needs, image = work.resources, shlex.quote(work.resources.image)
    options = f"srun --overlap --mem=0 --kill-on-bad-exit=0 {where}{f' --cpus-per-task={cpus}' if cpus else ''}"
    folder = shlex.quote(work.folder)
    if not needs.image:
        return f"{options} {shlex.quote(sys.executable)} -P"
    if needs.image.endswith(".sif"):
        return (f"{options} apptainer exec {'--nv ' if needs.gpus else ''}--bind {folder} --pwd {folder} {image} "
                "python -P")
    return (f"{options} --container-image={image} --container-mounts={folder}:{folder} --container-workdir={folder} "
            "python -P")
