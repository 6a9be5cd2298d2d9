"""Alerts: events that are reported to the operator's own URL, as pure values.

An alert holds names, reasons and numbers, and never a URL, a body or a secret. Its type and the keys of its data are an
interface, which `docs/alerts.md` lists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

TEXT_LIMIT: Final = 200
"""Characters of each text. Names of apps and reasons come from outside."""

BREAKER_OPENED: Final = "webhook.breaker_opened"
BREAKER_CLOSED: Final = "webhook.breaker_closed"
DEAD_LETTERS: Final = "webhook.dead_letters"
DEAD_LETTERS_TRIMMED: Final = "queue.dead_letters_trimmed"
RECORDS_LOST: Final = "queue.records_lost"
JOBS_EVICTED: Final = "queue.jobs_evicted"
BROKER_LOST: Final = "queue.broker_lost"
BROKER_RESUMED: Final = "queue.broker_resumed"
SOURCE_REFUSED: Final = "queue.source_refused"
SOURCE_RESUMED: Final = "queue.source_resumed"
TEST: Final = "alert.test"
TYPES: Final = (
    BREAKER_OPENED,
    BREAKER_CLOSED,
    DEAD_LETTERS,
    DEAD_LETTERS_TRIMMED,
    RECORDS_LOST,
    JOBS_EVICTED,
    BROKER_LOST,
    BROKER_RESUMED,
    SOURCE_REFUSED,
    SOURCE_RESUMED,
    TEST,
)

Value = str | int | float | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `at` is in seconds since 1970.

    Waiting alerts of one `subject` are combined. With `is_change` the subject has changed its state, so only the newest
    alert counts. Otherwise the event recurs, and `count` is the number of occurrences.
    """

    type: str
    subject: tuple[str, ...]
    at: float
    data: dict[str, Value]
    count: int = 1
    is_change: bool = False

    @property
    def is_of_queue(self) -> bool:
        """Return whether it concerns the queue as a whole, as few alerts do, rather than one of many webhooks."""
        return self.type.startswith("queue.")

    def after(self, earlier: Alert | None) -> Alert:
        """Return this alert; its count includes that of an earlier one that it replaces."""
        return self if earlier is None else msgspec.structs.replace(self, count=earlier.count + self.count)


RaiseAlert = Callable[[Alert], object]
"""Accepts an alert from any thread. Never blocks, never raises."""


def ignore(_alert: Alert) -> None:
    """Discard an alert."""


def breaker_opened(app: str, webhook: str, at: float, *, reason: str, failing_s: float, open_s: float) -> Alert:
    """Return the alert that a webhook's circuit breaker opened."""
    data: dict[str, Value] = _names(app, webhook) | {
        "reason": bounded(reason),
        "failing_s": round(failing_s, 1),
        "open_s": round(open_s, 3),
    }
    return Alert(type=BREAKER_OPENED, subject=_breaker(app, webhook), at=at, data=data, is_change=True)


def breaker_closed(app: str, webhook: str, at: float, *, failing_s: float) -> Alert:
    """Return the alert that a webhook responds again."""
    data: dict[str, Value] = _names(app, webhook) | {"failing_s": round(failing_s, 1)}
    return Alert(type=BREAKER_CLOSED, subject=_breaker(app, webhook), at=at, data=data, is_change=True)


def dead_letter(app: str, webhook: str | None, at: float, *, reason: str, last: str | None) -> Alert:
    """Return the alert of one dead letter. The subject of dead letters without a webhook is the reason alone.

    The id of an unconfigured app comes from the job, so every job could create a new subject.
    """
    subject = (DEAD_LETTERS, reason) if webhook is None else (DEAD_LETTERS, bounded(app), bounded(webhook))
    data = _names(app, webhook) | {"reason": bounded(reason), "last": None if last is None else bounded(last)}
    return Alert(type=DEAD_LETTERS, subject=subject, at=at, data=data)


def loss(type_: str, count: int, at: float) -> Alert:
    """Return the alert that the queue lost something: `DEAD_LETTERS_TRIMMED`, `RECORDS_LOST`, `JOBS_EVICTED`."""
    return Alert(type=type_, subject=(type_,), at=at, data={}, count=count)


def broker_changed(reason: str | None, at: float) -> Alert:
    """Return the alert that the queue server does not answer or refuses, for a reason; None means it is back."""
    data: dict[str, Value] = {} if reason is None else {"reason": bounded(reason)}
    type_ = BROKER_RESUMED if reason is None else BROKER_LOST
    return Alert(type=type_, subject=("broker",), at=at, data=data, is_change=True)


def source_changed(source: str, reason: str | None, at: float) -> Alert:
    """Return the alert that the queue server refuses one queue format; None means it accepts it again."""
    data: dict[str, Value] = {"source": bounded(source)}
    if reason is not None:
        data["reason"] = bounded(reason)
    type_ = SOURCE_RESUMED if reason is None else SOURCE_REFUSED
    return Alert(type=type_, subject=("source", bounded(source)), at=at, data=data, is_change=True)


def trial_alert(at: float) -> Alert:
    """Return the alert that an operator requests as a test."""
    return Alert(type=TEST, subject=(TEST,), at=at, data={})


def bounded(text: str) -> str:
    """Return text of at most `TEXT_LIMIT` characters that can be encoded as JSON."""
    text = text[:TEXT_LIMIT].encode(errors="backslashreplace").decode()  # a lone surrogate cannot be encoded as UTF-8
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _names(app: str, webhook: str | None) -> dict[str, Value]:
    return {"app": bounded(app), "webhook": None if webhook is None else bounded(webhook)}


def _breaker(app: str, webhook: str) -> tuple[str, ...]:
    return ("breaker", bounded(app), bounded(webhook))
