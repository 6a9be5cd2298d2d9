"""Ends an attempt from outside that libcurl does not end: one past its deadline, and one that is sent without end.

libcurl looks at the clock between two calls of OpenSSL, and some of these go on for as long as the receiver sends what
means nothing. It counts headers and body, and not what stands between the chunks of a body or comes before a
handshake has ended. So another thread looks at the connection now and then, and shuts it down.

A descriptor of a closed connection may belong to something else a moment later. So the watchdog owns each socket from
the moment that libcurl has it until libcurl wants it closed, and looks at it under the lock that closing it takes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import Final

CUT_AFTER: Final = 0.1
"""Seconds past the deadline of an attempt after which its connection is cut."""
LOOK_AFTER: Final = 0.1
"""Seconds for which an attempt is left alone once it was noticed: nearly all end meanwhile, and a look costs a system
call."""
OVERHEAD: Final = 1 << 20
"""Bytes that an answer may have beside its body: libcurl takes some 300 KB of headers, and a handshake is shorter."""
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
"""Linux has it; elsewhere floods end at the deadline."""
_RECEIVED: Final = struct.Struct("128xQ")  # what has been received, in the kernel's struct tcp_info


class ConnectionWatchdog:
    """Watches the connections of one handle, which makes one attempt after the other.

    `deadline` (monotonic) is set by the thread that makes the attempts, at the beginning of each; no two attempts have
    the same. `enforce` is for another thread.
    """

    __slots__ = ("_flooded", "_limit", "_lock", "_look_at", "_seen", "_seen_bytes", "_sockets", "deadline")

    def __init__(self, max_response_bytes: int) -> None:
        self.deadline = 0.0
        self._limit = max_response_bytes + OVERHEAD
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}  # by descriptor, the latest last
        self._flooded = -1.0  # the deadline of the attempt that was cut because too much came
        self._seen: object = None  # the attempt that `enforce` has noticed, and its connection
        self._look_at = 0.0
        self._seen_bytes = 0

    def opened(self, descriptor: int, _purpose: int) -> int:
        """Own the socket of a new connection, for libcurl. Must not raise."""
        try:
            own = socket.socket(fileno=descriptor)
        except Exception:  # noqa: BLE001 - without a descriptor or memory to spare, as it may be
            return 1  # libcurl gives the connection up
        with self._lock:
            self._sockets[descriptor] = own
        return 0

    def closed(self, descriptor: int) -> int:
        """Close the socket of a connection that libcurl does not use any more. Must not raise."""
        with self._lock, contextlib.suppress(OSError):
            own = self._sockets.pop(descriptor, None)
            if own is None:
                os.close(descriptor)
            else:
                own.close()
        return 0

    @property
    def is_overdue(self) -> bool:
        """Tell whether the attempt should have ended without help."""
        return time.monotonic() >= self.deadline + CUT_AFTER

    @property
    def is_flooded(self) -> bool:
        """Tell whether the attempt was cut because too much came."""
        return self._flooded == self.deadline

    def enforce(self) -> None:
        """Look at the attempt in progress, and cut its connection if that must be. Costs little; never raises."""
        # Read first: the next attempt may begin at any moment, and what is found out is not about that one.
        deadline, now = self.deadline, time.monotonic()
        with self._lock, contextlib.suppress(OSError):
            if not self._sockets:
                return
            latest = next(reversed(self._sockets.values()))
            if self._seen != (deadline, latest):
                self._seen, self._look_at = (deadline, latest), min(now + LOOK_AFTER, deadline + CUT_AFTER)
                self._seen_bytes = -1
            if now < self._look_at:
                return
            received = _received(latest)
            if self._seen_bytes < 0:
                self._seen_bytes = received
            if received - self._seen_bytes > self._limit:
                self._flooded = deadline
            if self._flooded == deadline or now >= deadline + CUT_AFTER:
                latest.shutdown(socket.SHUT_RDWR)


def _received(connection: socket.socket) -> int:
    """Return the bytes that a connection has received, or 0 where the kernel does not say. Raises `OSError`."""
    if _TCP_INFO is None:
        return 0
    state = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
    if len(state) < _RECEIVED.size:
        return 0
    (received,) = _RECEIVED.unpack_from(state)
    return int(received)
