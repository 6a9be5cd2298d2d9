"""HMACs of secrets before any text: taking a copy of one costs a fraction of deriving its key anew."""

from __future__ import annotations

import hmac
from functools import lru_cache


@lru_cache(maxsize=1024)
def hmac_key(secret: str) -> hmac.HMAC:
    """Return the HMAC-SHA256 of a secret, to be copied and not to be changed. Raises `UnicodeError`."""
    return hmac.new(secret.encode(), digestmod="sha256")
