"""The current failures by kind of work, and when each may be retried. Makes no calls."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable
from sockudo_queue.runtime.backoff import next_pause

SHORT_PAUSE: Final = 0.5
LONG_PAUSE: Final = 8.0
"""Seconds between retries after temporary failures. The first retry may follow immediately."""
REFUSED_SHORT_PAUSE: Final = 1.0
REFUSED_LONG_PAUSE: Final = 15.0
"""Seconds between retries after a refusal; longer, because a missing or forbidden queue does not return quickly."""
REFUSED_FACTOR: Final = 3.0
"""The factor between a pause after a refusal and the previous one."""


@dataclass(slots=True)
class _Fault:
    error: BrokerError
    pause: float
    again_at: float


class FailureBackoff:
    """The current failures. Safe from any thread; cheap if there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, _Fault] = {}

    def check(self, kind: str) -> None:
        """Raise the last error of any other kind of work, or of this kind until its pause is over."""
        if not self._faults:
            return
        with self._lock:
            for name, fault in self._faults.items():
                if name != kind or time.monotonic() < fault.again_at:
                    raise _again(fault.error)

    def pause_of(self, kind: str) -> float:
        """Return the seconds until this kind of work may be retried; 0 if it does not fail."""
        fault = self._faults.get(kind)
        return max(fault.again_at - time.monotonic(), 0.0) if fault else 0.0

    @contextmanager
    def watching(self, kind: str) -> Iterator[None]:
        """Record whether one piece of work of this kind succeeds."""
        try:
            yield
        except BrokerError as error:
            self._failed(kind, error)
            raise
        if self._faults:
            with self._lock:
                self._faults.pop(kind, None)

    def _failed(self, kind: str, error: BrokerError) -> None:
        with self._lock:
            before = self._faults.get(kind)
            pause = _pause(error, before.pause if before else None)
            spread = random.uniform(0.9, 1.1)  # noqa: S311 - spreads the tries of replicas, guards nothing
            self._faults[kind] = _Fault(error, pause, time.monotonic() + pause * spread)


def _pause(error: BrokerError, before: float | None) -> float:
    if isinstance(error, BrokerRefused):
        return next_pause(before or 0.0, REFUSED_SHORT_PAUSE, REFUSED_LONG_PAUSE, REFUSED_FACTOR)
    return 0.0 if before is None else next_pause(before, SHORT_PAUSE, LONG_PAUSE)


def _again(error: BrokerError) -> BrokerError:
    """Return an unavailability error with the same text, which several threads can raise."""
    return BrokerUnavailable(str(error))
