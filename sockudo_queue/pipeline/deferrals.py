"""Computes the delay of a deferral: the reserved time, or an increasing estimate."""

from __future__ import annotations

import random
from typing import Final

from sockudo_queue.delivery.admission.endpoint import MAX_RESERVATION, Deferral

MAX_GUESS: Final = 8 * MAX_RESERVATION
"""Maximum delay in seconds, for an endpoint with more waiting jobs than can get a reservation."""


def delay_ms(deferral: Deferral, guesses: int) -> int:
    """Return the delay in milliseconds.

    An estimate grows with each earlier one, so that a backlog is not polled constantly.
    """
    if not deferral.grows:
        return max(round(deferral.delay * 1000), 1)
    grown = min(deferral.delay * (1 << min(guesses, 6)), max(deferral.delay, MAX_GUESS))
    # Spreads jobs that were deferred at the same time.
    return max(round(grown * (1 + random.random() / 4) * 1000), 1)  # noqa: S311 - guards nothing
