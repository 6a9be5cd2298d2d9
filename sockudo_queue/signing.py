"""The exact bytes of a webhook's body, and the signature over those bytes."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import lru_cache

from sockudo_queue.job import Event
from sockudo_queue.redaction import Secret


def body_of(time_ms: int, events: Iterable[Event]) -> bytes:
    """Return `{"time_ms":T,"events":[…]}` with every event's bytes as they stood in the job."""
    return b'{"time_ms":%d,"events":[%b]}' % (time_ms, b",".join([event.raw for event in events]))


def sign(secret: Secret, body: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256 of the body, as Pusher's `X-Pusher-Signature` wants it."""
    signature = _keyed(secret).copy()
    signature.update(body)
    return signature.hexdigest()


@lru_cache(maxsize=1024)
def _keyed(secret: Secret) -> hmac.HMAC:
    """Return the HMAC of a secret before any text; taking a copy of it costs a fraction of deriving its key anew."""
    return hmac.new(secret.reveal().encode(), digestmod="sha256")
