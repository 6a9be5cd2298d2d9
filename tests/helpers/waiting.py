"""Waits by polling: no test sleeps for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.005
# After a costly check, such as one that asks the daemon for a page, the pause is longer: else polling would take most
# of the CPU time of a test.
_PAUSE_BY_COST = 4
_LONGEST_PAUSE = 0.025


def eventually(
    check: Callable[[], T],
    timeout: float = 5.0,
    message: str | Callable[[], str] = "",
    *,
    pause: float = POLL_SECONDS,
) -> T:
    """Call `check` every 5 ms, or with another `pause` in seconds, until its result is true, and return that.

    An AssertionError of `check` counts as "not yet", so a check may use asserts; the last one is shown when `timeout`
    seconds have passed. `message` may be a function if it should describe the state at the end.
    """
    deadline = time.monotonic() + timeout
    while True:
        failure: AssertionError | None = None
        began = time.monotonic()
        try:
            answer = check()
        except AssertionError as error:
            failure = error
        else:
            if answer:
                return answer
        ended = time.monotonic()
        if ended >= deadline:
            details = (message() if callable(message) else message) or repr(check)
            raise AssertionError(f"not so within {timeout:g} s: {details}") from failure
        time.sleep(max(pause, min(_PAUSE_BY_COST * (ended - began), _LONGEST_PAUSE)))
