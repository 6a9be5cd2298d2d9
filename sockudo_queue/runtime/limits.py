"""The process limits: raises them where allowed, and checks that they suffice for a start."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import threading
from pathlib import Path
from typing import Final

from sockudo_queue.errors import StartError

_ARENA_MAX: Final = -8
_ARENAS: Final = 2
_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1_048_576
"""Minimum bytes of an allocation that returns to the system when it is freed."""


def set_up() -> int:
    """Raise the limit on descriptors to the hard one, and let all threads share two heaps. Return that limit.

    Shells and service managers set 1,024 descriptors for programs that still use select(2); this one does not. Each
    connection needs some. By default glibc gives each thread its own heap, up to eight per core, and free memory in one
    is not available to the others: with 37 threads that looks like a memory leak. Call it before the first thread
    starts.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some kernels enforce a lower bound than the hard limit; then the old limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Other C libraries have neither this function nor these heaps.
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_ARENA_MAX, _ARENAS)
        # By default glibc raises it after the first large job; later large jobs would then fragment the heaps.
        allocator.mallopt(_MMAP_THRESHOLD, _LARGE)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def start_thread(thread: threading.Thread) -> None:
    """Start a thread that the daemon needs. Raises `StartError` if the system refuses another thread."""
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        raise too_few_threads() from None


def too_few_threads() -> StartError:
    """Return the error for a start that needs more threads than this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    now = "" if soft == resource.RLIM_INFINITY else f", now {soft}"
    return StartError(
        f"the system does not allow this process more than {threading.active_count()} threads; raise the limit on "
        f"processes (ulimit -u{now}; TasksMax of systemd; the pids limit of a container), or lower QUEUE_WORKERS"
    )


def check_descriptors(needed: int) -> None:
    """Raise `StartError` if fewer than `needed` descriptors can be opened in addition to the open ones."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed += _open_descriptors()
    if limit < needed:
        raise StartError(
            f"this process may open {limit} files and connections, and needs at least {needed}; raise the limit "
            "(ulimit -n, LimitNOFILE of systemd), or lower QUEUE_WORKERS"
        )


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 3
