"""The secrets with which a webhook's requests are signed by Standard Webhooks; no message holds one."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from sockudo_queue.config import ConfigProblems
from sockudo_queue.core.secret import Secret

PREFIX: Final = "whsec_"
SHORTEST: Final = 24
LONGEST: Final = 64
"""Bytes of a secret, as the specification wants them."""
_EXAMPLE: Final = "whsec_ and the base64 form of 24 to 64 random bytes"


def read_signing_secrets(value: Any, where: str, problems: ConfigProblems) -> tuple[Secret, ...]:
    """Return the secrets, in their order; each signs, so that a receiver can change from one to the next."""
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.faults.append(f'{where}: signing_secrets must be a list; for example ["${{ORDERS_SIGNING_SECRET}}"]')
        return ()
    secrets = []
    for number, text in enumerate(value, 1):
        fault = _fault(text)
        if fault is None:
            secrets.append(Secret(text.strip()))
        else:
            problems.faults.append(f"{where}: signing_secrets, item {number}: {fault}; for example {_EXAMPLE}")
    return tuple(secrets)


def _fault(text: object) -> str | None:
    if not isinstance(text, str) or not text.strip().startswith(PREFIX):
        return f"must begin with {PREFIX}"
    try:
        key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        return "is no base64 behind its prefix"
    if not SHORTEST <= len(key) <= LONGEST:
        return f"must stand for {SHORTEST} to {LONGEST} bytes"
    return None
