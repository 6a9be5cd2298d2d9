"""Sends alerts to the operator's URL: accepts them from any thread without blocking, and posts them from its own
thread.

Everything is bounded: the waiting alerts, the rate of requests, the attempts of each alert. A failing receiver loses
alerts and affects nothing else, and its failures raise no alerts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from sockudo_queue.core.alert import Alert
from sockudo_queue.core.outcome import Outcome, Verdict
from sockudo_queue.runtime.backoff import Backoff
from sockudo_queue.runtime.token_bucket import TokenBucket
from sockudo_queue.services.alert_message import AlertMessage, message_of
from sockudo_queue.services.alert_queue import AlertQueue

FLUSH_SECONDS: Final = 1.0
"""Maximum time until the sending thread sees a new alert."""
ROUND_SECONDS: Final = 2.0
"""Maximum time for which that thread sends before it reports that it is alive."""
POST_SECONDS: Final = 1.0
POST_BURST: Final = 10
"""The rate is one request per second on average, with ten in a row after a quiet period."""
TRIES: Final = 5
FIRST_PAUSE: Final = 1.0
MAX_PAUSE: Final = 60.0
"""Maximum pause in seconds after a failure of the receiver, before this or another alert is sent."""

Post = Callable[[str, bytes], Outcome]
"""Posts a body under a message id. Blocks for a few seconds at most and never raises."""


class AlertOutbox:
    """`put` may be called from any thread; one thread calls `flush` every `FLUSH_SECONDS`."""

    def __init__(
        self,
        post: Post,
        replica: str,
        log: Any,
        *,
        reminder: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replica` is the name of this daemon; `reminder` is as for `AlertQueue`."""
        self._post = post
        self._replica = replica
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()  # held for microseconds
        self._queue = AlertQueue(reminder)
        self._counts = {"sent": 0, "failed": 0, "dropped": 0}
        self._lost = 0  # since the last alert that arrived
        self._posting = threading.Lock()
        self._rate = TokenBucket(POST_SECONDS, POST_BURST)
        self._message: AlertMessage | None = None
        self._lost_in_message = 0
        self._tries = 0
        self._backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        self._retry_at = 0.0
        self._is_failing = False

    def put(self, alert: Alert) -> None:
        """Queue an alert, or drop it if too many are waiting. Never blocks, never raises."""
        with self._lock:
            if not self._queue.put(alert, self._clock()):
                self._counts["dropped"] += 1
                self._lost += 1

    def flush(self) -> None:
        """Send the alerts that are due; blocks for at most `ROUND_SECONDS` plus one request."""
        with self._posting:
            until = self._clock() + ROUND_SECONDS
            while self._clock() < until and self._post_next():
                pass
        with self._lock:
            self._queue.forget_quiet(self._clock())

    def close(self) -> None:
        """Send the waiting alerts at shutdown, without rate limits, and only while the receiver accepts them."""
        with self._posting:
            self._retry_at = 0.0
            while self._post_next(early=True):
                pass

    def counts(self) -> Mapping[str, int]:
        """Return how many alerts were sent, failed after all attempts, or were dropped from a full queue."""
        return self._counts

    def unsent(self) -> int:
        """Return the number of waiting alerts, including the one being sent."""
        with self._lock:
            return len(self._queue) + (self._message is not None)

    def _post_next(self, *, early: bool = False) -> bool:
        """Post one message if one is due; return whether it arrived."""
        now = self._clock()
        if now < self._retry_at or not self._rate.has_token(now):
            return False
        message = self._message or self._next_message(now, early=early)
        if message is None:
            return False
        self._rate.take(now)
        self._tries += 1
        outcome = self._post(*message)
        if outcome.delivered:
            self._arrived()
        else:
            self._failed(outcome)
        return outcome.delivered

    def _next_message(self, now: float, *, early: bool) -> AlertMessage | None:
        with self._lock:
            alert = self._queue.take(now, early=early)
            if alert is None:
                return None
            self._lost_in_message = self._lost
            self._message, self._tries = message_of(alert, self._replica, self._lost), 0
            return self._message

    def _arrived(self) -> None:
        with self._lock:
            self._message = None
            self._counts["sent"] += 1
            self._lost -= self._lost_in_message
        self._backoff.reset()
        if self._is_failing:
            self._is_failing = False
            self._log.info("alert.resumed", lost=self._lost_in_message)

    def _failed(self, outcome: Outcome) -> None:
        pause = self._backoff.next()
        self._retry_at = self._clock() + min(max(pause, outcome.retry_after or 0.0), MAX_PAUSE)
        if outcome.verdict is Verdict.PERMANENT or self._tries >= TRIES:
            with self._lock:
                self._message = None
                self._counts["failed"] += 1
                self._lost += 1
        if not self._is_failing:
            self._is_failing = True
            self._log.warning("alert.failed", reason=outcome.reason)
