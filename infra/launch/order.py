"""What a cluster is told to carry out: an Order, as data.

In: Work. Out: the JSON of an Order in the variable ORDER, and one entrypoint without a word of the user's in it. Ray
puts an entrypoint through a shell, KubeRay through two with other rules for quotes: no way of quoting survives both.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from anchorface.infra.launch.resources import GRACE
from anchorface.infra.launch.work import PASSED, Work
from anchorface.records import ConfigurationError
from anchorface.records.addresses import SECRET, has_secret

ORDER = "ANCHORFACE_ORDER"
ENTRYPOINT = "python -P -m anchorface.infra.launch.inside"
"""-P: a folder where the work runs takes no module's place."""
SECRET_NAME = re.compile(rf"{SECRET}|connection_string|_key(?:_|$)|credentials", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """command: the words after `anchorface`. folder: where it runs. seconds: after so many it is told to end, 0: never.
    tree: hash of the code that it was submitted with. kept_back: names of variables that stayed where it was submitted.
    """

    command: tuple[str, ...]
    folder: str
    seconds: int
    tree: str
    kept_back: tuple[str, ...]


def order(work: Work, folder: str, kept_back: tuple[str, ...] = ()) -> str:
    """The JSON of an Order, without a `$`, which Kubernetes would expand.

    Raises:
        ConfigurationError: a word holds a password: manifests, dashboards and logs show commands.
    """
    for word in work.command:
        if has_secret(word):
            raise ConfigurationError(f"{word}: a password in an address would be shown by the cluster; leave it out, "
                                     "and set it in the environment (AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_USERNAME, ...)")
    minutes = work.resources.minutes
    made = Order(command=work.command, folder=folder, seconds=max(minutes * 60 - GRACE, 0), tree=work.code.tree,
                 kept_back=kept_back)
    return json.dumps(asdict(made)).replace("$", "\\u0024")


def is_secret(name: str, value: str) -> bool:
    """Whether a variable holds a password, a key or a token, by its name or by a password in an address."""
    return bool(SECRET_NAME.search(name)) or has_secret(value)


def plain_and_secret(work: Work, values: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables of a work that anybody may see, and the names of the others.

    Raises:
        ConfigurationError: a secret was asked for by its name.
    """
    secrets = tuple(name for name in work.environment if is_secret(name, values.get(name, "")))
    for name in secrets:
        if not PASSED.fullmatch(name):
            raise ConfigurationError(f"{name}: a Ray cluster shows to all what a job is given; set it in the "
                                     "environment of the cluster's nodes, and do not pass it on")
    return {name: values[name] for name in work.environment if name in values and name not in secrets}, secrets
