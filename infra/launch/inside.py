"""The first process of work on a cluster: `python -P -m anchorface.infra.launch.inside`.

In: an Order in the environment. Out: the exit status of the verb. Before it begins, the code must be that which was
submitted, and the packages those of its lock.
"""

import os
import signal
import subprocess
import sys

from anchorface.infra import supply
from anchorface.infra.launch.order import ORDER, Order
from anchorface.infra.launch.resources import GRACE
from anchorface.infra.launch.work import ROOMS
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.lineage import code_hash
from anchorface.records.state import parsed

SHOWN = 8


def main() -> int:
    """Carry the order out. Returns the exit status: the verb's, 128 + the number of the signal that ended it, or 2."""
    try:
        order = parsed(os.environ.pop(ORDER, ""), Order, ORDER)
        require_same(order)
    except AnchorfaceError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 2
    for name in order.kept_back:
        if name not in os.environ:
            print(f"{name} is set where this was submitted and not here: the cluster would show it to all, so it is "
                  "taken from the environment of the cluster's nodes", flush=True)
    try:
        os.chdir(order.folder)
    except OSError:
        os.chdir("/")
        print(f"{order.folder} is not on this node: relative paths begin at /", flush=True)
    return carry_out([sys.executable, "-P", "-m", "anchorface", *order.command], order.seconds)


def require_same(order: Order) -> None:
    """Refuse other code than was submitted, and other packages than those of the locks that lie beside the code.

    Raises:
        ConfigurationError: says which.
    """
    here = code_hash(ROOMS)
    if here != order.tree:
        raise ConfigurationError(f"the code here is {here}, submitted was {order.tree}: build the image of the commit "
                                 "that you submit from (infra/images), or submit from that of the image")
    others = supply.differing(supply.locked())
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ConfigurationError(f"packages of this node are not those of the locks: {', '.join(others[:SHOWN])}{more};"
                                 " install requirements.lock and cluster.lock on the cluster's nodes, or build their "
                                 "image from them (infra/images)")


def carry_out(command: list[str], seconds: int) -> int:
    """Run a command. After `seconds` (0: never) it is sent SIGTERM, and SIGKILL GRACE seconds later.

    A signal to this process is not handed on: Ray sends it to every process of a job, and a second one would end the
    work at once.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(command)
    try:
        status = child.wait(seconds or None)
    except subprocess.TimeoutExpired:
        print("the time that was asked for is up: the work is told to end", flush=True)
        child.terminate()
        try:
            status = child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
