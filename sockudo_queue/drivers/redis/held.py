"""Deliveries of paused webhooks on Redis: one sorted set per source, which claims do not read.

A member's score combines the place of its webhook with the time at which it was parked. A place is a hash of the names.
Two webhooks at one place could only be resumed together, so the place gets most of the score's bits: among 10,000
webhooks, the probability that any two share a place is 1 in 20,000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from sockudo_queue.core.controls import WebhookKey

PLACES: Final = 1 << 40
PLACE_WIDTH: Final = 1 << 13
"""Scores of one place. Times the number of places this is 2^53, so every score is exact. The scripts count in units of
1,024 s and start again at 0 after 97 days, which only affects the order."""
MAX_DUE: Final = 100
"""Due records up to which a source receives held ones. Few, because endpoints may be slow, and records of other
webhooks that become due wait behind these."""
MAX_WEBHOOKS: Final = 100
"""Webhooks of which one call moves held deliveries."""


def place_of(app: str, webhook: str) -> int:
    """Return the lowest score of a webhook's held deliveries."""
    digest = hashlib.sha256(WebhookKey(app, webhook).encode()).digest()
    return int.from_bytes(digest[:8], "big") % PLACES * PLACE_WIDTH


def places_of(webhooks: Collection[WebhookKey]) -> list[int]:
    """Return the sorted places of webhooks without duplicates."""
    return sorted({place_of(*webhook) for webhook in webhooks})
