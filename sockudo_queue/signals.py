"""The signals that the daemon waits for. Standard library only: they are blocked before anything else is imported."""

from __future__ import annotations

import signal
from collections.abc import Set
from typing import Final

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD_SIGNAL: Final = signal.SIGHUP


def block_signals() -> None:
    """Keep signals for the main thread, which waits for them.

    Call it first of all. Until then a signal ends the process, or is lost where it is process 1 of a container; and a
    thread that was started before it and does not block a signal is ended by it, with the whole process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS | {RELOAD_SIGNAL})


def signalled(signals: Set[signal.Signals], timeout: float) -> int | None:
    """Wait for one of the signals, for at most `timeout` seconds."""
    received = signal.sigtimedwait(signals, timeout)
    return received.si_signo if received else None
