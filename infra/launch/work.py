"""A piece of work that is handed to a launcher: a verb with its words, its code, and what it needs."""

import itertools
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from anchorface.infra.launch.resources import Resources
from anchorface.records import ConfigurationError
from anchorface.records.git import checkout
from anchorface.records.lineage import code_hash

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("curate", "train", "sweep", "evaluate", "restore", "doctor")
"""What may be submitted: verbs that go on where they stopped when they are run again, or change nothing."""
ROOMS = (
    "records", "degradation", "faces", "synthetic", "identity_index", "models", "pipelines", "training", "restoration",
    "evaluation", "infra", "cli",
)
PASSED = re.compile(r"(AWS|AZURE|MLFLOW|ANCHORFACE)_\w+|GOOGLE_APPLICATION_CREDENTIALS|(?i:https?_proxy|no_proxy)")
"""Variables that work gets as they stand where it is submitted; more by name."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLACE = re.compile(r"\{(\w[\w.]*)\}")
MOST_TASKS = 1000
"""Of an array: Slurm's own limit (MaxArraySize 1001)."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that carries the work out. commit: git's, `unknown` outside a repository. tree: hash of the source files
    as they stand (`records.lineage.code_hash`). changed: files that are not as in the commit."""

    commit: str
    tree: str
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One piece of work.

    name: `<verb>-<6 hex digits>`, one for each submission: letters, digits and - as Kubernetes wants them. command: the
    words after `anchorface`, a list and never a line for a shell. environment: names of variables that are passed on;
    their values stand in no file of ours. folder: where it runs, and what relative paths in its words begin at.
    array: commands of several tasks that take the place of `command`, each a job of its own with these resources;
    empty: one.
    """

    name: str
    command: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)
    environment: tuple[str, ...] = ()
    code: Code
    folder: str
    array: tuple[tuple[str, ...], ...] = ()

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """Of all tasks."""
        return self.array or (self.command,)


def work(
    verb: str, words: Sequence[str], resources: Resources | None = None, *, environment: Sequence[str] = (),
    each: Mapping[str, Sequence[str]] | None = None, clean: bool = False, folder: str = "", name: str = "",
) -> Work:
    """Work as it can be handed to a launcher.

    Args:
        words: the verb's own, as they would follow it on the command line.
        environment: names of variables beside PASSED.
        each: name -> values: a task for each combination, with the value in the place of `{name}` in the words.
        clean: refuse a tree with changes that are not committed.
        folder: where it runs; if empty, the current one. name: if empty, a new one.

    Raises:
        ConfigurationError: a verb that cannot be submitted, a word with a zero byte, a variable that is not set, values
            that stand nowhere in the words or give two tasks the same, or changes where there may be none; says so.
    """
    if verb not in VERBS:
        raise ConfigurationError(f"{verb}: only {', '.join(VERBS)} can be submitted; run it here: anchorface {verb}")
    if any("\0" in word for word in words):
        raise ConfigurationError("a word with a zero byte in it is no argument")
    for variable in environment:
        if not VARIABLE.fullmatch(variable):
            raise ConfigurationError(f"{variable[:40]}: give the name of a variable; its value is taken from here")
        if variable not in os.environ:
            raise ConfigurationError(f"{variable} is not set here: set it, or do not pass it on")
    passed = {key for key in os.environ if PASSED.fullmatch(key)} | set(environment)
    command = (verb, *words)
    return Work(
        name=name or f"{verb}-{secrets.token_hex(3)}", command=command, resources=resources or Resources(),
        environment=tuple(sorted(passed)), code=code(clean), folder=folder or os.getcwd(),
        array=tuple(tasks(command, each)) if each else (),
    )


def tasks(command: Sequence[str], each: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """A command for each combination of values, the last name's values changing fastest; see `work`."""
    used = {name for word in command for name in PLACE.findall(word)}
    if unused := each.keys() - used:
        raise ConfigurationError(f"--each {sorted(unused)[0]}: no word has {{{sorted(unused)[0]}}} in it, so all tasks "
                                 "would be the same")
    made = []
    for values in itertools.product(*each.values()):
        given = dict(zip(each, values, strict=True))
        made.append(tuple(_filled(word, given) for word in command))
    if len(set(made)) < len(made):
        raise ConfigurationError("--each: a value stands twice")
    if len(made) > MOST_TASKS:
        raise ConfigurationError(f"--each: {len(made):,} tasks; {MOST_TASKS:,} at most, or use `anchorface sweep`")
    return made


def _filled(word: str, given: Mapping[str, str]) -> str:
    return PLACE.sub(lambda found: given.get(found[1], found[0]), word)


def code(clean: bool = False) -> Code:
    """The code here. clean: refuse changes that are not committed.

    Raises:
        ConfigurationError: names them.
    """
    found = checkout(ROOT)
    changed = found.changed if found else ()
    if clean and (changed or not found):
        named = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise ConfigurationError(
            f"--clean: not committed: {named}; commit or stash them" if found else
            f"--clean: {ROOT} is no git repository, so nobody can say whether the code is that of a commit")
    return Code(commit=found.commit if found else "unknown", tree=code_hash(ROOMS), changed=changed)


def single(launched: Work, launcher: str) -> Work:
    """The work, if it is one task.

    Raises:
        ConfigurationError: it is an array.
    """
    if launched.array:
        raise ConfigurationError(f"{launcher} knows no arrays (--each): submit the tasks one by one, or `anchorface "
                                 "sweep`, which carries out its trials itself")
    return replace(launched, array=())
