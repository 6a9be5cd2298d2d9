"""The signal mask. Imports almost nothing, because a signal before the mask is set ends the process."""

import signal

BLOCKED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_before: list[set[int]] = []  # the mask of the process, while signals are blocked


def block_signals() -> None:
    """Block the signals in all threads; the main thread waits for them.

    Call it before everything else. Until then a signal ends the process, or is lost if this is process 1 of a
    container. A thread that was started earlier does not block the signals, so one could end the whole process there.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
    if not _before:
        _before.append(set(before))


def restore_signals() -> None:
    """Unblock the signals of `block_signals`; a pending one is delivered now.

    Signals that the parent process had blocked stay blocked.
    """
    if _before:
        signal.pthread_sigmask(signal.SIG_SETMASK, _before.pop())
