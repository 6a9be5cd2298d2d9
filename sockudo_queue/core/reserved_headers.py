"""The request headers that the daemon or its HTTP library sets, so that no webhook may configure them; pure."""

from __future__ import annotations

from typing import Final

_RESERVED: Final = frozenset(
    {
        # What the body is and where it goes.
        "content-length",
        "content-type",
        "host",
        # What libcurl asks of the receiver.
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
        # Those of Standard Webhooks; reserved also where a webhook has no signing secrets, or it could forge them.
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)
_OWN_PREFIX: Final = "x-sockudo-"


def is_reserved(name: str) -> bool:
    """Tell whether a header, in letters of any case, is not for a webhook to set."""
    lower = name.lower()
    return lower in _RESERVED or lower.startswith(_OWN_PREFIX)
