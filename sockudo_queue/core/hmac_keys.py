"""HMAC objects keyed with a secret: copying one costs a fraction of deriving the key again."""

from __future__ import annotations

import hmac
from functools import lru_cache


@lru_cache(maxsize=1024)
def hmac_key(secret: str) -> hmac.HMAC:
    """Return the HMAC-SHA256 of a secret. Copy it and never update it. Raises `UnicodeError`."""
    return hmac.new(secret.encode(), digestmod="sha256")
