"""Which dead letters a command means."""

from __future__ import annotations

import argparse

from sockudo_queue.drivers.base import Driver
from sockudo_queue.operations.letters import Selection


def selection_of(options: argparse.Namespace) -> Selection:
    """Return the selection that the arguments of a command describe."""
    return Selection(
        frozenset(getattr(options, "ids", ())),
        options.app,
        options.webhook,
        options.reason,
        options.older_than,
        options.newer_than,
    )


def none_matches(driver: Driver) -> str:
    """Say that filters leave nothing, and whether it is the filters: a slip in a name is not to look like an end."""
    there = driver.depth()["dead-letter"]
    return "no dead letter matches" + (f"; without the filters there are {there:,}" if there else "")
