"""Ends an attempt from outside that libcurl does not end: one past its deadline, and one that is sent without end.

libcurl looks at the clock between two calls of OpenSSL, and some of these go on for as long as the receiver sends what
means nothing. It counts headers and body, and not what stands between the chunks of a body or comes before a
handshake has ended. So somebody else looks at the connection now and then, and shuts it down.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from typing import Final

CUT_AFTER: Final = 0.1
"""Seconds past the deadline of an attempt after which its connection is cut."""
LOOK_AFTER: Final = 0.1
"""Seconds of an attempt before which it is not looked at: nearly all have ended, and a look costs system calls."""
OVERHEAD: Final = 1 << 20
"""Bytes that an answer may have beside its body: libcurl takes some 300 KB of headers, and a handshake is shorter."""
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
"""Linux has it; elsewhere floods end at the deadline."""
_RECEIVED: Final = struct.Struct("128xQ")  # what has been received, in the kernel's struct tcp_info

Mark = tuple[int, int]
"""What tells a socket from a later one with the same descriptor: its device and inode."""


class Leash:
    """The leash of one handle, which makes one attempt after the other. `pull` is for a thread that makes none."""

    __slots__ = ("_connection", "_cut_at", "_flooded_at", "_limit", "_look_from", "_seen", "_seen_bytes")

    def __init__(self, max_response_bytes: int) -> None:
        self._limit = max_response_bytes + OVERHEAD
        self._connection: tuple[int, Mark] | None = None
        self._cut_at = self._flooded_at = 0.0  # of the attempt, and so what tells it from others
        self._look_from = 0.0
        self._seen: object = None  # the attempt that `pull` has seen, and its connection
        self._seen_bytes = -1

    def begin(self, timeout: float) -> None:
        """Begin a new attempt; seconds."""
        now = time.monotonic()
        self._cut_at, self._look_from = now + timeout + CUT_AFTER, now + min(timeout, LOOK_AFTER)

    def note_connection(self, descriptor: int, _purpose: int) -> int:
        """Remember the socket of a new connection, for libcurl. Must not raise."""
        with contextlib.suppress(OSError):
            self._connection = (descriptor, _mark_of(descriptor))
        return 0  # and go on

    @property
    def is_overdue(self) -> bool:
        """Tell whether the attempt should have ended by itself."""
        return time.monotonic() >= self._cut_at

    @property
    def is_flooded(self) -> bool:
        """Tell whether the attempt was cut because too much came."""
        return self._flooded_at == self._cut_at

    def pull(self) -> None:
        """Look at the attempt under way, and cut its connection if that must be. Costs little; never raises."""
        # Read first: the next attempt may begin at any moment, and what is found out is not about that one.
        attempt, connection = self._cut_at, self._connection
        if connection is None or time.monotonic() < self._look_from:
            return
        if self._seen != (attempt, connection):
            self._seen, self._seen_bytes = (attempt, connection), -1
        descriptor, mark = connection
        with contextlib.suppress(OSError):
            copy = os.dup(descriptor)
            if _mark_of(copy) != mark:  # libcurl has closed it meanwhile, and this is somebody else's
                os.close(copy)
                return
            with socket.socket(fileno=copy) as link:
                is_flooded = self._gets_too_much(link)
                if is_flooded:
                    self._flooded_at = attempt
                if is_flooded or time.monotonic() >= attempt:
                    link.shutdown(socket.SHUT_RDWR)

    def _gets_too_much(self, link: socket.socket) -> bool:
        """Compare with what this connection had received by the first look at this attempt."""
        if _TCP_INFO is None:
            return False
        try:
            state = link.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
        except OSError:
            return False
        if len(state) < _RECEIVED.size:
            return False  # a kernel that does not tell
        (received,) = _RECEIVED.unpack_from(state)
        if self._seen_bytes < 0:
            self._seen_bytes = received
        return bool(received - self._seen_bytes > self._limit)


def _mark_of(descriptor: int) -> Mark:
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino
