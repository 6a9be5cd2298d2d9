"""How long a deferral takes: what was promised, or a guess that grows."""

from __future__ import annotations

import random
from typing import Final

from sockudo_queue.delivery.admission.endpoint import LONGEST_RESERVATION, Deferral

LONGEST_GUESS: Final = 8 * LONGEST_RESERVATION
"""Seconds that a job waits at most for an endpoint with more jobs than can be promised a start time."""


def delay_ms(deferral: Deferral, guesses: int) -> int:
    """Return the milliseconds to wait; a guess grows with those before it, so that a backlog does not go round."""
    if not deferral.grows:
        return max(round(deferral.delay * 1000), 1)
    grown = min(deferral.delay * (1 << min(guesses, 6)), max(deferral.delay, LONGEST_GUESS))
    # Spreads what was put off together.
    return max(round(grown * (1 + random.random() / 4) * 1000), 1)  # noqa: S311 - guards nothing
