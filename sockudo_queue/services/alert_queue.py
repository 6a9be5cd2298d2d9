"""Waiting alerts: bounded, combined by subject, with a rate limit per subject.

Pure except for its state; times are in seconds.
"""

from __future__ import annotations

from typing import Final

from sockudo_queue.core.alert import Alert
from sockudo_queue.runtime.token_bucket import TokenBucket

MAX_SUBJECTS: Final = 200
"""Maximum number of known subjects, each with at most one waiting alert: about 200 KB. The few about the queue as a
whole are accepted beyond it, because an outage of many webhooks must not hide them."""
CHANGE_SECONDS: Final = 60.0
CHANGE_BURST: Final = 4
"""A subject may report four changes in a row, so that an outage and its end arrive immediately. A subject that keeps
changing reports its newest state once a minute."""


class _Subject:
    """One subject: its waiting alert, the time since when it waits, and its rate limit."""

    __slots__ = ("bucket", "last_type", "since", "waiting")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.waiting: Alert | None = None
        self.since = 0.0
        self.last_type = ""


class AlertQueue:
    """Not thread-safe."""

    def __init__(self, reminder: float) -> None:
        """`reminder` is the number of seconds between two alerts of a recurring event."""
        self._reminder = reminder
        self._subjects: dict[tuple[str, ...], _Subject] = {}

    def __len__(self) -> int:
        """Return the number of waiting alerts."""
        return sum(subject.waiting is not None for subject in self._subjects.values())

    def put(self, alert: Alert, now: float) -> bool:
        """Add an alert. Return False if there are too many subjects and the alert is lost."""
        subject = self._subjects.get(alert.subject)
        if subject is None:
            if len(self._subjects) >= MAX_SUBJECTS and not alert.is_of_queue:
                return False
            subject = self._subjects[alert.subject] = _Subject(self._new_bucket(alert))
        if alert.is_change and alert.type == subject.last_type:
            return True  # two threads have reported the same change
        if subject.waiting is None:
            subject.since = now
        subject.last_type, subject.waiting = alert.type, alert.after(subject.waiting)
        return True

    def take(self, now: float, *, early: bool = False) -> Alert | None:
        """Return the next alert that may be sent now: those of the queue before those of webhooks, oldest first.

        `early` ignores the rate limit of each subject.
        """
        due = [
            (not subject.waiting.is_of_queue, subject.since, key)
            for key, subject in self._subjects.items()
            if subject.waiting is not None and (early or subject.bucket.has_token(now))
        ]
        if not due:
            return None
        subject = self._subjects[min(due)[-1]]
        alert, subject.waiting = subject.waiting, None
        subject.bucket.take(now)
        return alert

    def forget_quiet(self, now: float) -> None:
        """Forget subjects without a waiting alert that sent nothing recently."""
        for key, subject in list(self._subjects.items()):
            if subject.waiting is None and subject.bucket.is_full(now):
                del self._subjects[key]

    def _new_bucket(self, alert: Alert) -> TokenBucket:
        return TokenBucket(CHANGE_SECONDS, CHANGE_BURST) if alert.is_change else TokenBucket(self._reminder, 1)
