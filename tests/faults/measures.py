"""The scale of the fault tests, and the figures that they measured.

By default they take a few minutes. With SOCKUDO_QUEUE_TEST_SCALE=1 they use the full counts on which the
promises rest.
"""

from __future__ import annotations

import os
from typing import Final

SCALE: Final = float(os.environ.get("SOCKUDO_QUEUE_TEST_SCALE") or "0.1")

# Printed at the end of a run, see tests/conftest.py.
FIGURES: Final[list[str]] = []


def scaled(full: int, minimum: int) -> int:
    """Return a count at the scale of this run, but not fewer than `minimum`."""
    return max(minimum, round(full * SCALE))


def figure(text: str) -> None:
    """Keep a measured figure for the end of the run."""
    FIGURES.append(text)
