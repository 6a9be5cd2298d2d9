"""Sends alerts to the operator's URL: takes them from any thread without a wait, and posts them from its own thread.

Everything is bounded: the alerts that wait, the requests in a given time, the tries of each. A receiver that fails
costs alerts and nothing else, and its failures raise no alerts.
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
"""How long an alert waits at most for the thread that sends it."""
ROUND_SECONDS: Final = 2.0
"""How long that thread goes on before it gives a sign of life."""
POST_SECONDS: Final = 1.0
POST_BURST: Final = 10
"""One request a second on average, and ten in a row after a quiet time."""
TRIES: Final = 5
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until a receiver that has failed is tried again, with this or another alert."""

Post = Callable[[str, bytes], Outcome]
"""Posts a body under a message's id. Blocks for seconds at most and never raises."""


class AlertOutbox:
    """Put from any thread; one thread calls `flush` every `FLUSH_SECONDS`."""

    def __init__(
        self,
        post: Post,
        replica: str,
        log: Any,
        *,
        reminder: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replica` names this daemon; `reminder` is as for `AlertQueue`."""
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
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._retry_at = 0.0
        self._is_failing = False

    def put(self, alert: Alert) -> None:
        """Keep an alert to be sent, or drop it where too many wait. Never waits, never raises."""
        with self._lock:
            if not self._queue.put(alert, self._clock()):
                self._counts["dropped"] += 1
                self._lost += 1

    def flush(self) -> None:
        """Send what is due now; blocks for `ROUND_SECONDS` and one request more at most."""
        with self._posting:
            until = self._clock() + ROUND_SECONDS
            while self._clock() < until and self._post_next():
                pass
        with self._lock:
            self._queue.forget_quiet(self._clock())

    def close(self) -> None:
        """Send what waits at a stop, without each subject's pauses, and only while the receiver accepts it."""
        with self._posting:
            self._retry_at = 0.0
            while self._post_next(early=True):
                pass

    def counts(self) -> Mapping[str, int]:
        """Return how many alerts were sent, failed after all tries, or were dropped because too many waited."""
        return self._counts

    def unsent(self) -> int:
        """Return how many alerts wait, with the one that is being sent."""
        with self._lock:
            return len(self._queue) + (self._message is not None)

    def _post_next(self, *, early: bool = False) -> bool:
        """Post one message, if one is due; True where it has arrived."""
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
        self._retry_at = self._clock() + min(max(pause, outcome.retry_after or 0.0), LONGEST_PAUSE)
        if outcome.verdict is Verdict.PERMANENT or self._tries >= TRIES:
            with self._lock:
                self._message = None
                self._counts["failed"] += 1
                self._lost += 1
        if not self._is_failing:
            self._is_failing = True
            self._log.warning("alert.failed", reason=outcome.reason)
