"""The mask of signals. It imports next to nothing, because a signal that comes before it is set ends the process."""

import signal

HELD_BACK = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_before: list[set[int]] = []  # the mask of the process, while signals are blocked


def block_signals() -> None:
    """Keep signals for the main thread, which waits for them.

    Call it first of all. Until then a signal ends the process, or is lost where it is process 1 of a container; and a
    thread that was started before it and does not block a signal is ended by it, with the whole process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    if not _before:
        _before.append(set(before))


def restore_signals() -> None:
    """Let through again what `block_signals` holds back; one that waits is delivered now.

    What the parent process had blocked stays blocked.
    """
    if _before:
        signal.pthread_sigmask(signal.SIG_SETMASK, _before.pop())
