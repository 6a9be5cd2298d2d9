"""The signals that the daemon waits for; `signal_mask` blocks them."""

from __future__ import annotations

import signal
import time
from collections.abc import Set
from typing import Final

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD_SIGNAL: Final = signal.SIGHUP
POLL_INTERVAL: Final = 0.05
"""Seconds between two checks for a signal; the maximum delay until a stop is noticed."""


def signalled(signals: Set[signal.Signals], timeout: float) -> int | None:
    """Wait for one of the signals, for at most `timeout` seconds.

    Polls instead of letting `sigtimedwait` wait: if the process is frozen and resumes after the timeout, CPython 3.11
    returns uninitialised memory, whose content would be taken for a signal.
    """
    give_up_at = time.monotonic() + timeout
    while (received := signal.sigtimedwait(signals, 0)) is None:
        left = give_up_at - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(left, POLL_INTERVAL))
    return received.si_signo
