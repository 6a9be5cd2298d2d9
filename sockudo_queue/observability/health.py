"""Tracks whether the daemon is alive and ready, and why not; `web` serves it.

Other parts report to `Health` and `Heartbeats`. A probe only reads this state, so it never waits for the network or a
driver.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from sockudo_queue.runtime.streams import visible


class Heartbeats:
    """The time of each registered thread's last heartbeat. Safe from any thread; `beat` is one store in a dict."""

    def __init__(self) -> None:
        self._allowances: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._resting: dict[str, Callable[[], bool]] = {}

    def register(self, name: str, allowance: float) -> None:
        """Expect a beat of this thread at least every `allowance` seconds from now on."""
        self._last[name] = time.monotonic()
        self._allowances[name] = allowance

    def unregister(self, name: str) -> None:
        """Expect no more beats of a thread that ends."""
        self._allowances.pop(name, None)
        self._last.pop(name, None)

    def beat(self, name: str) -> None:
        self._last[name] = time.monotonic()

    def watch(self, name: str, is_alive: Callable[[], bool]) -> None:
        """Only check that a thread exists, because it may be idle for any time and sends no beats."""
        self._resting[name] = is_alive

    def ended(self) -> list[str]:
        """Return the watched threads that have ended."""
        return [name for name, is_alive in self._resting.items() if not is_alive()]

    def late(self) -> dict[str, tuple[float, float]]:
        """Return the overdue threads, each with the seconds since its last beat and its allowance."""
        ages = self._ages()
        allowed = self._allowances.copy()
        return {name: (ages[name], allowed[name]) for name in ages if name in allowed and ages[name] > allowed[name]}

    def oldest_by_kind(self) -> dict[str, float]:
        """Return the age of the oldest beat in seconds by kind of thread: `worker` for `worker-1`, `worker-2`."""
        oldest: dict[str, float] = {}
        for name, age in self._ages().items():
            kind = name.rstrip("0123456789").rstrip("-")
            oldest[kind] = max(age, oldest.get(kind, 0.0))
        return oldest

    def _ages(self) -> dict[str, float]:
        now, last = time.monotonic(), self._last.copy()
        return {name: now - last[name] for name in self._allowances.copy() if name in last}


class Health:
    """The state behind the probes. It starts as not ready, with the reason `starting`. Safe from any thread."""

    def __init__(self, beats: Heartbeats | None = None) -> None:
        self.beats = beats if beats is not None else Heartbeats()
        self._lock = threading.Lock()
        self._reasons: Mapping[str, str] = {"starting": "the daemon is starting"}

    def ready(self, source: str = "starting") -> None:
        """Remove one reason for not being ready; the others remain."""
        with self._lock:
            self._reasons = {name: reason for name, reason in self._reasons.items() if name != source}

    def not_ready(self, source: str, reason: str) -> None:
        """Set or replace the reason of one source: one line for operators, without secrets."""
        with self._lock:
            self._reasons = {**self._reasons, source: reason}

    @property
    def reasons(self) -> Mapping[str, str]:
        """The reasons for not being ready, by source; empty means ready."""
        return self._reasons

    def live_page(self) -> tuple[int, str]:
        late = self.beats.late()
        return _page(
            [f"{name}: no sign of life for {age:.0f} s, allowed {allowed:g}" for name, (age, allowed) in late.items()]
            + [f"{name}: the thread has ended" for name in self.beats.ended()]
        )

    def ready_page(self) -> tuple[int, str]:
        return _page([visible(f"{source}: {reason}") for source, reason in self.reasons.items()])


def _page(faults: list[str]) -> tuple[int, str]:
    return (503, "\n".join(faults)) if faults else (200, "ok")
