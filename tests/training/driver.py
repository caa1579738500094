"""A launcher in a process of its own: `python driver.py arguments-file`, a pickled dictionary for `launch.train`, or
for what it names as `work` (ours, written by the test that starts this). Lines of progress go to the standard output;
the exit status is the command's.
"""

import pickle
import sys
from pathlib import Path

from anchorface.cli.app import told
from anchorface.training.launch import train


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    import typer

    try:
        arguments = pickle.loads(Path(sys.argv[1]).read_bytes())
        told(arguments.pop("work", train))(**arguments, report=say)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
