"""The request headers that the daemon or its HTTP library sets and a webhook may not configure; pure."""

from __future__ import annotations

from typing import Final

_RESERVED: Final = frozenset(
    {
        # The body and its destination.
        "content-length",
        "content-type",
        "host",
        # Set by libcurl to negotiate with the receiver.
        "accept-encoding",
        "expect",
        # Hop-by-hop: they describe the connection, which libcurl owns. RFC 9110, section 7.6.1.
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # Pusher's.
        "x-pusher-key",
        "x-pusher-signature",
        # Standard Webhooks; also reserved for a webhook without signing secrets, or it could forge them.
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)
_OWN_PREFIX: Final = "x-sockudo-"


def is_reserved(name: str) -> bool:
    """Return whether a webhook may not set this header. The case of letters does not matter."""
    lower = name.lower()
    return lower in _RESERVED or lower.startswith(_OWN_PREFIX)
