"""The limit on open descriptors, which counts connections to endpoints and to the queue."""

from __future__ import annotations

import contextlib
import resource


def raise_limit() -> int:
    """Raise the soft limit of this process to its hard one, and return what holds now.

    Shells and service managers give 1,024 for programs that still use select(2); nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some kernels have a lower bound of their own than the hard limit says; then the old one stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
