"""The interface between the pages of dead letters and the queue; it consists of plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sockudo_queue.core.ages import age_seconds
from sockudo_queue.observability.web.actions import Actor

MAX_ID_LENGTH: Final = 1_000
"""Maximum characters of an id. The daemon creates no longer ones; such an id is shown, but actions cannot use it."""


class DeadLetterFilter(NamedTuple):
    """A filter of dead letters; an empty field matches everything.

    Ages are in seconds since the dead letter was created.
    """

    id: str = ""
    app: str = ""
    webhook: str = ""
    reason: str = ""
    older: float | None = None
    newer: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == DeadLetterFilter()


def filter_of(given: Mapping[str, str], record_id: str = "") -> DeadLetterFilter:
    """Return the filter of a form. Raises `ValueError` with a text for the user."""
    older, newer = (_age(given[name], label) for name, label in (("older", "Older than"), ("newer", "Newer than")))
    return DeadLetterFilter(record_id, given["app"], given["webhook"], given["reason"], older, newer)


def _age(text: str, label: str) -> float | None:
    try:
        return age_seconds(text) if text else None
    except ValueError as fault:
        raise ValueError(f"{label} {fault}.") from None


class DeadLetterPosition(NamedTuple):
    """The end of a page: after the first `passed` of the letters with the time `died_ms`."""

    died_ms: int
    passed: int

    def __str__(self) -> str:
        return f"{self.died_ms}-{self.passed}"


def dead_letter_position_of(text: str) -> DeadLetterPosition | None:
    """Parse a position. Returns None if the text is not valid."""
    died, dash, passed = text.partition("-")
    if not dash or len(text) > 40 or not all(part.isascii() and part.isdigit() for part in (died, passed)):
        return None
    return DeadLetterPosition(min(int(died), 2**53), int(passed))


class DeadLetterSummary(NamedTuple):
    """One dead letter in a list. Numbers are None if they are unknown."""

    id: str
    job: str
    died_ms: int
    app: str
    webhook: str
    reason: str
    last: str
    attempts: int | None
    events: int | None


class DeadLetterTry(NamedTuple):
    """One failed try."""

    at_ms: int
    reason: str
    took_ms: int


class EarlierDeadLetter(NamedTuple):
    """An earlier dead letter of the same record, which was replayed."""

    died_ms: int
    reason: str
    attempts: int
    last: str


class DeadLetterDetails(NamedTuple):
    """All displayed data of one dead letter. Its body is never shown, because it contains the app's secret.

    `events` are names and channels. `obstacle` says why a replay would fail again; empty if there is no obstacle.
    """

    summary: DeadLetterSummary
    source: str
    size: int
    digest: str
    tries: Sequence[DeadLetterTry]
    unlisted_tries: int
    earlier: Sequence[EarlierDeadLetter]
    events: Sequence[tuple[str, str]]
    more_events: int
    unreadable: str
    obstacle: str


class FoundDeadLetters(NamedTuple):
    """One page. `next` is the start of the next page; None at the end, or if the queue has no order."""

    summaries: Sequence[DeadLetterSummary]
    next: DeadLetterPosition | None
    is_complete: bool


class DeadLetterProgress(NamedTuple):
    """The progress or the result of an action. Times are in seconds since 1970.

    `gone` counts letters that another action or process removed first; `left` counts those not replayed, by reason.
    """

    action: str
    chosen: str
    user: str
    started_at: float
    ended_at: float | None
    seen: int
    done: int
    gone: int
    left: Mapping[str, int]
    fault: str


class DeadLetterOperations(Protocol):
    """The operations behind the pages. Every method but `work` may block for seconds and may raise `BrokerError`."""

    is_ordered: bool
    """Whether dead letters can be listed newest first."""

    def total(self) -> int:
        """Count the dead letters of the queue."""

    def search(
        self, wanted: DeadLetterFilter, before: DeadLetterPosition | None, limit: int, is_over: Callable[[], bool]
    ) -> FoundDeadLetters: ...

    def find(self, record_id: str) -> DeadLetterDetails | None: ...

    def start(self, action: str, wanted: DeadLetterFilter, actor: Actor) -> str | None:
        """Start to replay or purge. Returns the reason if that is not possible now, else None.

        Waits briefly for the end, because a few letters take only a moment.
        """

    def work(self) -> DeadLetterProgress | None:
        """Return the progress of the last action, or None if there was none since the start."""
