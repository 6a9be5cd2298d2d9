"""The selection of dead letters by the options of a command."""

from __future__ import annotations

import argparse

from sockudo_queue.drivers.base import Driver
from sockudo_queue.operations.dead_letters import Selection


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
    """Say that nothing matches, and how many there are without filters, in case a filter is misspelled."""
    there = driver.depth()["dead-letter"]
    return "no dead letter matches" + (f"; without the filters there are {there:,}" if there else "")
