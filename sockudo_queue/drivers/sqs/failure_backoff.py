"""What does not work at present, by kind of work, and when each may be tried again. Asks and sends nothing itself."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable
from sockudo_queue.runtime.backoff import longer

SHORT_PAUSE: Final = 0.5
LONG_PAUSE: Final = 8.0
"""Seconds between two tries after calls that failed for now. The first time it may be tried again at once."""
REFUSED_SHORT_PAUSE: Final = 1.0
REFUSED_LONG_PAUSE: Final = 15.0
"""Seconds between two tries after a refusal: a queue that is gone, or forbidden, is not there the next moment."""
REFUSED_FACTOR: Final = 3.0
"""How many times longer a pause after a refusal is than the one before."""


@dataclass(slots=True)
class _Fault:
    error: BrokerError
    pause: float
    again_at: float


class FailureBackoff:
    """The faults at present. Safe from any thread; cheap while there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, _Fault] = {}

    def check(self, kind: str) -> None:
        """Raise the last error of any other kind of work, or of this one while its pause lasts."""
        if not self._faults:
            return
        with self._lock:
            for name, fault in self._faults.items():
                if name != kind or time.monotonic() < fault.again_at:
                    raise _again(fault.error)

    def pause_of(self, kind: str) -> float:
        """Return the seconds until this kind of work may be tried again; 0 while it is not in trouble."""
        fault = self._faults.get(kind)
        return max(fault.again_at - time.monotonic(), 0.0) if fault else 0.0

    @contextmanager
    def watching(self, kind: str) -> Iterator[None]:
        """Learn from one piece of work whether its kind works."""
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
        return longer(before or 0.0, REFUSED_SHORT_PAUSE, REFUSED_LONG_PAUSE, REFUSED_FACTOR)
    return 0.0 if before is None else longer(before, SHORT_PAUSE, LONG_PAUSE)


def _again(error: BrokerError) -> BrokerError:
    """Return an error of the same text that can be raised from several threads."""
    return BrokerUnavailable(str(error))
