"""Deliveries of paused webhooks on Redis: one sorted set per source, which claims do not read.

A member's score combines the place of its webhook with the second in which it was parked. A place is a hash of the
names. If two webhooks share a place, resuming one also moves the deliveries of the other; these are claimed once and
parked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from sockudo_queue.core.controls import WebhookKey

PLACES: Final = 1 << 20
PLACE_WIDTH: Final = 1 << 33
"""Seconds since 1970 that a place has room for. Times the number of places this is 2^53, so every score is exact."""
MOST_DUE: Final = 1_000
"""Due records up to which a source receives held ones. One daemon delivers this many in less than a second."""
LEAST_MOVED: Final = 100
"""Records that one call moves even if more are due: the backlog of other webhooks must not delay a resumed one."""


def place_of(app: str, webhook: str) -> int:
    """Return the lowest score of a webhook's held deliveries."""
    digest = hashlib.sha256(WebhookKey(app, webhook).encode()).digest()
    return int.from_bytes(digest[:4], "big") % PLACES * PLACE_WIDTH


def places_of(webhooks: Collection[WebhookKey]) -> list[int]:
    """Return the sorted places of webhooks without duplicates."""
    return sorted({place_of(*webhook) for webhook in webhooks})
