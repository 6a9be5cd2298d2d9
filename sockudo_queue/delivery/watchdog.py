"""Ends attempts that libcurl does not end: those past their deadline, and those with an endless response.

libcurl checks the clock only between calls of OpenSSL, and some of these last as long as the receiver sends meaningless
records. It limits headers and body, but not the bytes between the chunks of a body or during a handshake. So another
thread checks the connection regularly, and shuts it down if needed.

The descriptor of a closed connection may soon belong to something else. So the watchdog owns each socket from the time
libcurl gets it until libcurl asks to close it. It checks sockets under the same lock that closing takes.
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
"""Seconds past an attempt's deadline after which its connection is cut."""
CHECK_AFTER: Final = 0.1
"""Seconds before a new attempt is first checked: nearly all end earlier, and a check costs a system call."""
OVERHEAD: Final = 1 << 20
"""Bytes allowed beside a response's body: libcurl accepts some 300 KB of headers, and a handshake is shorter."""
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
"""Only on Linux; elsewhere floods end at the deadline."""
_RECEIVED: Final = struct.Struct("128xQ")  # `tcpi_bytes_received` in the kernel's struct tcp_info


class ConnectionWatchdog:
    """Watches the connections of one handle, which makes one attempt after another.

    The thread that makes the attempts sets `deadline` (monotonic) at the start of each; no two attempts have the same.
    `enforce` is for another thread.
    """

    __slots__ = ("_check_at", "_flooded", "_limit", "_lock", "_seen", "_seen_bytes", "_sockets", "deadline")

    def __init__(self, max_response_bytes: int) -> None:
        self.deadline = 0.0
        self._limit = max_response_bytes + OVERHEAD
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}  # by descriptor, the latest last
        self._flooded = -1.0  # the deadline of the attempt that was cut because of too many bytes
        self._seen: object = None  # the last attempt that `enforce` saw, and its connection
        self._check_at = 0.0
        self._seen_bytes = 0

    def opened(self, descriptor: int, _purpose: int) -> int:
        """Take ownership of a new connection's socket; libcurl calls it. Must not raise."""
        try:
            own = socket.socket(fileno=descriptor)
        except Exception:  # noqa: BLE001 - for example no free descriptor or memory
            return 1  # libcurl abandons the connection
        with self._lock:
            self._sockets[descriptor] = own
        return 0

    def closed(self, descriptor: int) -> int:
        """Close the socket of a connection that libcurl no longer uses. Must not raise."""
        with self._lock, contextlib.suppress(OSError):
            own = self._sockets.pop(descriptor, None)
            if own is None:
                os.close(descriptor)
            else:
                own.close()
        return 0

    @property
    def is_overdue(self) -> bool:
        """Return whether the attempt is past its deadline and should have ended already."""
        return time.monotonic() >= self.deadline + CUT_AFTER

    @property
    def is_flooded(self) -> bool:
        """Return whether the attempt was cut because too many bytes came."""
        return self._flooded == self.deadline

    def enforce(self) -> None:
        """Check the attempt in progress, and cut its connection if needed. Cheap; never raises."""
        # Read first: the next attempt may start at any time, and this check is not about that one.
        deadline, now = self.deadline, time.monotonic()
        with self._lock, contextlib.suppress(OSError):
            if not self._sockets:
                return
            latest = next(reversed(self._sockets.values()))
            if self._seen != (deadline, latest):
                self._seen, self._check_at = (deadline, latest), min(now + CHECK_AFTER, deadline + CUT_AFTER)
                self._seen_bytes = -1
            if now < self._check_at:
                return
            received = _received(latest)
            if self._seen_bytes < 0:
                self._seen_bytes = received
            if received - self._seen_bytes > self._limit:
                self._flooded = deadline
            if self._flooded == deadline or now >= deadline + CUT_AFTER:
                latest.shutdown(socket.SHUT_RDWR)


def _received(connection: socket.socket) -> int:
    """Return the bytes that a connection has received, or 0 if the kernel does not report them. Raises `OSError`."""
    if _TCP_INFO is None:
        return 0
    state = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
    if len(state) < _RECEIVED.size:
        return 0
    (received,) = _RECEIVED.unpack_from(state)
    return int(received)
