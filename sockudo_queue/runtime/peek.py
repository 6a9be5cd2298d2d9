"""Checks a socket without releasing the interpreter lock.

`poll` and `socket.recv` release the interpreter lock around the system call. A call that returns immediately does not
need that, and the thread then waits for the lock behind every other busy thread: with five workers and fast receivers,
two such checks per job doubled the thread switches. Functions of `ctypes.PyDLL` keep the lock.
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
_buffer: Final = ctypes.create_string_buffer(1)  # shared by all threads, because its content is not used


def is_quiet(descriptor: int) -> bool:
    """Return whether a socket has nothing to read: no bytes, no end of the stream, no error. Never blocks."""
    return _recv(descriptor, _buffer, 1, _FLAGS) < 0 and ctypes.get_errno() in _AGAIN
