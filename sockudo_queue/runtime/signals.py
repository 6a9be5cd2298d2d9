"""The signals that the daemon waits for; `signal_mask` keeps them for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Set
from typing import Final

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD_SIGNAL: Final = signal.SIGHUP
LOOK_EVERY: Final = 0.05
"""Seconds between two looks for a signal; a stop is noticed that late at most."""


def signalled(signals: Set[signal.Signals], timeout: float) -> int | None:
    """Wait for one of the signals, for at most `timeout` seconds.

    Looks again and again rather than let `sigtimedwait` wait: where the process is frozen meanwhile and goes on after
    the time is over, CPython 3.11 returns memory that nobody wrote, and any number in it would pass for a signal.
    """
    give_up_at = time.monotonic() + timeout
    while (received := signal.sigtimedwait(signals, 0)) is None:
        left = give_up_at - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(left, LOOK_EVERY))
    return received.si_signo
