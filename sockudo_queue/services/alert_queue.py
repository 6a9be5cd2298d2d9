"""Alerts that wait to be sent: bounded, combined by subject, and each subject limited in how often it is reported.

Pure but for its state; times are in seconds.
"""

from __future__ import annotations

from typing import Final

from sockudo_queue.core.alert import Alert
from sockudo_queue.runtime.token_bucket import TokenBucket

MOST_SUBJECTS: Final = 200
"""Subjects that are known at the same time, each with one waiting alert at most: some 200 KB. The few about the queue
as a whole come on top, since an outage of many webhooks must not hide them."""
CHANGE_SECONDS: Final = 60.0
CHANGE_BURST: Final = 4
"""A subject may report four changes in a row, so that an outage and its end arrive immediately. One that goes on to
change reports its newest state once a minute."""


class _Subject:
    """One subject: the alert that waits, since when, and how often it may be reported."""

    __slots__ = ("bucket", "last_type", "since", "waiting")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.waiting: Alert | None = None
        self.since = 0.0
        self.last_type = ""


class AlertQueue:
    """For one thread at a time."""

    def __init__(self, reminder: float) -> None:
        """`reminder`: seconds between two alerts of something that goes on happening."""
        self._reminder = reminder
        self._subjects: dict[tuple[str, ...], _Subject] = {}

    def __len__(self) -> int:
        """Return how many alerts wait."""
        return sum(subject.waiting is not None for subject in self._subjects.values())

    def put(self, alert: Alert, now: float) -> bool:
        """Add an alert; False where there are too many subjects, and it is lost."""
        subject = self._subjects.get(alert.subject)
        if subject is None:
            if len(self._subjects) >= MOST_SUBJECTS and not alert.is_of_queue:
                return False
            subject = self._subjects[alert.subject] = _Subject(self._new_bucket(alert))
        if alert.is_change and alert.type == subject.last_type:
            return True  # two threads have seen one change
        if subject.waiting is None:
            subject.since = now
        subject.last_type, subject.waiting = alert.type, alert.after(subject.waiting)
        return True

    def take(self, now: float, *, early: bool = False) -> Alert | None:
        """Return the next alert that may be sent now: of the queue before those of webhooks, the oldest first.

        `early` ignores how often each subject may be reported.
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
        """Forget subjects of which nothing waits and nothing was sent lately."""
        for key, subject in list(self._subjects.items()):
            if subject.waiting is None and subject.bucket.is_full(now):
                del self._subjects[key]

    def _new_bucket(self, alert: Alert) -> TokenBucket:
        return TokenBucket(CHANGE_SECONDS, CHANGE_BURST) if alert.is_change else TokenBucket(self._reminder, 1)
