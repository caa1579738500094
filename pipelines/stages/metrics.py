"""Numbers of work in progress for Prometheus: Ray's metrics, where this process is one of Ray's.

In: what works (curation, feed, training) and its numbers. Out, at the metrics ports of Ray's nodes, where its agent
runs (`ray[default]`): `ray_anchorface_WHAT_NAME{...}`, about ten seconds late; without Ray nothing.

A cluster's head tells Prometheus itself where its ports are, a Ray of a process's own by records.metrics_targets.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any


class Metrics:
    """The numbers of one piece of work.

    Args:
        what: `curation`, `feed` or `training`. tags: labels of all its numbers, without secrets.
    """

    def __init__(self, what: str, **tags: str) -> None:
        self.what, self.tags = what, tags

    def set(self, values: Mapping[str, float], **tags: str) -> None:
        """Show these values, for about twenty seconds: then Ray forgets what was not set again, so a query asks for the
        last of some minutes. tags: more labels.
        """
        self._each("Gauge", "set", values, tags)

    def add(self, values: Mapping[str, float]) -> None:
        """Add these, which are more than 0, to counters; their names get `_total` in Prometheus."""
        self._each("Counter", "inc", values, {})

    def _each(self, kind: str, action: str, values: Mapping[str, float], more: Mapping[str, str]) -> None:
        ray = sys.modules.get("ray")  # loading it takes a second; who has not, is none of its processes
        if ray is None or not ray.is_initialized():
            return
        from ray.util import metrics

        tags = {**self.tags, **more}
        for key, value in values.items():
            made = _metric(getattr(metrics, kind), metric_name(f"{self.what}_{key}"), f"{self.what}: {key}", *tags)
            getattr(made, action)(float(value), tags=tags)


@cache
def _metric(kind: type[Any], name: str, description: str, *tag_keys: str) -> Any:
    """One of Ray's, the same for all who name it in this process."""
    return kind(name, description=description, tag_keys=tag_keys)


def metric_name(key: str) -> str:
    """A number's name as Ray and Prometheus allow it."""
    return "anchorface_" + "".join(letter if letter.isalnum() else "_" for letter in key)
