"""Where the deliveries of a paused webhook wait on Redis: one sorted set for each source, which no claim looks at.

The score of a member is the place of its webhook and, within it, the second in which it was parked. A place is a number
made of the names. Should two webhooks have the same one, resuming the one moves the deliveries of the other too; these
are claimed once and parked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from sockudo_queue.core.controls import WebhookKey

PLACES: Final = 1 << 20
PLACE_WIDTH: Final = 1 << 33
"""Seconds since 1970 that a place has room for. Together with the places that is 2^53, so every score is exact."""
MOST_DUE: Final = 1_000
"""Due records up to which a source gets more of what was held. One daemon delivers that many in less than a second."""
LEAST_MOVED: Final = 100
"""Records that one call moves although there are more due: others' backlog must not keep a resumed webhook waiting."""


def place_of(app: str, webhook: str) -> int:
    """Return the lowest score of a webhook's held deliveries."""
    digest = hashlib.sha256(WebhookKey(app, webhook).encode()).digest()
    return int.from_bytes(digest[:4], "big") % PLACES * PLACE_WIDTH


def places_of(webhooks: Collection[WebhookKey]) -> list[int]:
    """Return the places of webhooks in order, each once."""
    return sorted({place_of(*webhook) for webhook in webhooks})
