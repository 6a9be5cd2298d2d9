"""Validates the secrets of Standard Webhooks; pure. No message contains a secret."""

from __future__ import annotations

import base64
import binascii
from typing import Final

PREFIX: Final = "whsec_"
MIN_BYTES: Final = 24
MAX_BYTES: Final = 64
"""Bytes of a secret, as the specification requires."""
SIGNING_EXAMPLE: Final = "whsec_ and the base64 form of 24 to 64 random bytes"


def signing_secret_fault(text: object) -> str | None:
    """Return why the text is not a valid Standard Webhooks secret, or None."""
    if not isinstance(text, str) or not text.strip().startswith(PREFIX):
        return f"must begin with {PREFIX}"
    try:
        key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        return "is not valid base64 after its prefix"
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        return f"must encode {MIN_BYTES} to {MAX_BYTES} bytes"
    return None
