"""What this process sets for itself at the start: how many descriptors it may open, and how its memory is kept.

Must be called before the first thread starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
from typing import Final

_ARENA_MAX: Final = -8
_ARENAS: Final = 2


def set_up() -> int:
    """Raise the limit on descriptors to the hard one, and let all threads share two heaps. Return that limit.

    Shells and service managers give 1,024 descriptors for programs that still use select(2); nothing here does. Each
    connection needs some. By itself glibc gives every thread a heap of its own, up to eight per core, and what is free
    in one is no use to the others: with 37 threads that is memory that seems to leak.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some kernels have a lower bound of their own than the hard limit says; then the old one stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Other C libraries have no such switch, and no such heaps.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
