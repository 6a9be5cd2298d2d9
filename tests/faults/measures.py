"""How far the tests of faults go, and the figures that they have measured.

By default they go as far as a few minutes allow. With SOCKUDO_QUEUE_TEST_SCALE=1 they use the full counts on which the
promises rest.
"""

from __future__ import annotations

import os
from typing import Final

SCALE: Final = float(os.environ.get("SOCKUDO_QUEUE_TEST_SCALE") or "0.1")

# Told at the end of a run, see tests/conftest.py.
FIGURES: Final[list[str]] = []


def scaled(full: int, least: int) -> int:
    """Return a count at the scale of this run, but not fewer than `least`."""
    return max(least, round(full * SCALE))


def figure(text: str) -> None:
    """Keep a measured figure for the end of the run."""
    FIGURES.append(text)
