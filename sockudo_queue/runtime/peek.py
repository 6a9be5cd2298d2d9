"""Look at a socket without giving other threads their turn.

`poll` and `socket.recv` let go of the interpreter's lock around the system call. A call that returns at once does not
need that, and the thread then waits for the lock behind every other busy thread: with five workers and receivers that
answer at once, two such looks per job doubled the switches between threads. Functions of `ctypes.PyDLL` keep the lock.
"""

from __future__ import annotations

import ctypes
import errno
import socket
from typing import Final

_FLAGS: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT
_AGAIN: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_recv: Final = _libc.recv
_recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_recv.restype = ctypes.c_ssize_t
_buffer: Final = ctypes.create_string_buffer(1)  # shared by all threads, as what is in it does not matter


def is_quiet(descriptor: int) -> bool:
    """Return whether nothing waits to be read on a socket: no bytes, no end of the stream, no error. Never blocks."""
    return _recv(descriptor, _buffer, 1, _FLAGS) < 0 and ctypes.get_errno() in _AGAIN
