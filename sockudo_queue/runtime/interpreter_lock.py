"""Two ways of many threads to share the interpreter lock: a gate for workers, and a system call that keeps the lock.

**The gate** limits the number of workers that run Python; the others wait for the network or at the gate. Python's lock
has no priorities: if a hundred workers compete for it, a health probe waits behind all of them, several times per
response. Waiting at the gate costs nothing, so a probe competes with only a few threads, and the work takes as long as
before (`docs/verification/performance.md` has the figures).

**The check of a socket** keeps the lock. `poll` and `socket.recv` release it around the system call. A call that
returns immediately does not need that, and the thread then waits for the lock behind every other busy thread: with
five workers and fast receivers, two such checks per job doubled the thread switches. Functions of `ctypes.PyDLL` keep
the lock.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

CONCURRENCY: Final = 2
"""One runs, and one is on its way to or from the network or is being woken. More threads only compete for the lock."""

_FLAGS: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT
_AGAIN: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_recv: Final = _libc.recv
_recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_recv.restype = ctypes.c_ssize_t
_buffer: Final = ctypes.create_string_buffer(1)  # shared by all threads, because its content is not used


class _ThisThread(threading.local):
    """Whether the current thread holds the gate."""

    holds = False


class PythonGate:
    """Admits threads in the order of their requests. Safe from any thread.

    A thread that holds it must leave it, by `released`, for every call that may block; otherwise it would stop all
    others. Threads that never enter it, such as services, may make the same calls.
    """

    def __init__(self, concurrency: int = CONCURRENCY) -> None:
        self._lock = threading.Lock()
        self._free = concurrency
        self._queue: deque[threading.Lock] = deque()
        self._this_thread = _ThisThread()

    def enter(self) -> None:
        """Wait until this thread may run Python."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._this_thread.holds = True
                return
            admitted = threading.Lock()
            admitted.acquire()
            self._queue.append(admitted)
        admitted.acquire()
        self._this_thread.holds = True

    def leave(self) -> None:
        """Admit the thread that has waited longest. Does nothing if this thread does not hold the gate."""
        if not self._this_thread.holds:
            return
        self._this_thread.holds = False
        with self._lock:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._free += 1

    def released(self, wait: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that may block. If this thread holds the gate, another thread runs meanwhile."""
        if not self._this_thread.holds:
            return wait(*args, **kwargs)
        self.leave()
        try:
            return wait(*args, **kwargs)
        finally:
            self.enter()

    def around(self, wait: Callable[P, T]) -> Callable[P, T]:
        """Return a function that makes a call through `released`. It costs no further Python call."""
        return cast(Callable[P, T], partial(cast(Any, self.released), wait))


def is_quiet(descriptor: int) -> bool:
    """Return whether a socket has nothing to read: no bytes, no end of the stream, no error. Never blocks."""
    return _recv(descriptor, _buffer, 1, _FLAGS) < 0 and ctypes.get_errno() in _AGAIN
