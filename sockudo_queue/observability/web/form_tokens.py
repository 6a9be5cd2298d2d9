"""Tokens that prove that a form came from a page of this daemon, or of a replica with the same login.

Tokens are not stored: the key is derived from the secrets of the login, so a token is valid on every replica and after
a restart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from typing import Final

HOUR: Final = 3_600
VALID_HOURS: Final = 12
"""Validity in hours. It also limits the use of a leaked token, which is useless without the login."""
AHEAD_HOURS: Final = 1
"""Hours by which the clock of the replica that created a token may be ahead of the local clock."""
MAX_TOKEN_LENGTH: Final = 64
_SALT: Final = b"sockudo-queue form tokens, version 1"
_ROUNDS: Final = 100_000
"""Iterations of the key derivation; they slow down guessing a weak password from a saved page."""


class FormTokens:
    """Creates and checks tokens. Thread-safe."""

    def __init__(self, secrets: Callable[[], bytes], clock: Callable[[], float] = time.time) -> None:
        """`secrets` returns the current secrets of the login; a change invalidates all tokens."""
        self._secrets, self._clock = secrets, clock
        self._derived: tuple[bytes, bytes] = (b"", b"")
        self._deriving = threading.Lock()

    def make(self, purpose: str) -> str:
        """Return a token for one kind of action, valid for `VALID_HOURS`."""
        return self._token(purpose, self._hour())

    def is_valid(self, token: str, purpose: str) -> bool:
        hour = token.partition(".")[0]
        if len(token) > MAX_TOKEN_LENGTH or not (hour.isascii() and hour.isdigit()):
            return False
        age = self._hour() - int(hour)
        if not -AHEAD_HOURS <= age <= VALID_HOURS:
            return False
        return hmac.compare_digest(token.encode(errors="replace"), self._token(purpose, int(hour)).encode())

    def _hour(self) -> int:
        return int(self._clock() // HOUR)

    def _token(self, purpose: str, hour: int) -> str:
        digest = hmac.digest(self._key(), f"{hour}\n{purpose}".encode(), "sha256")
        return f"{hour}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def _key(self) -> bytes:
        secrets = self._secrets()
        with self._deriving:
            if self._derived[0] != secrets:
                self._derived = secrets, hashlib.pbkdf2_hmac("sha256", secrets, _SALT, _ROUNDS)
            return self._derived[1]
