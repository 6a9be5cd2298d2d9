"""What the pages of dead letters ask the queue for, and what they get: values alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sockudo_queue.core.ages import age_seconds
from sockudo_queue.observability.web.actions import Actor

LONGEST_ID: Final = 1_000
"""Characters of an id. A longer one is none of ours; it is shown, but cannot be acted on by its id."""


class LetterFilter(NamedTuple):
    """Which dead letters are meant; an empty field matches everything. Ages are in seconds since the death."""

    id: str = ""
    app: str = ""
    webhook: str = ""
    reason: str = ""
    older: float | None = None
    newer: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == LetterFilter()


def filter_of(given: Mapping[str, str], record_id: str = "") -> LetterFilter:
    """Return the filter that a form describes. Raises `ValueError` with a line for the person."""
    older, newer = (_age(given[name], label) for name, label in (("older", "Older than"), ("newer", "Newer than")))
    return LetterFilter(record_id, given["app"], given["webhook"], given["reason"], older, newer)


def _age(text: str, label: str) -> float | None:
    try:
        return age_seconds(text) if text else None
    except ValueError as fault:
        raise ValueError(f"{label} {fault}.") from None


class LetterPosition(NamedTuple):
    """Where a page ends: after the first `passed` of the letters that died at `died_ms`."""

    died_ms: int
    passed: int

    def __str__(self) -> str:
        return f"{self.died_ms}-{self.passed}"


def letter_position_of(text: str) -> LetterPosition | None:
    """Read a position as its text; None for any other text."""
    died, dash, passed = text.partition("-")
    if not dash or len(text) > 40 or not all(part.isascii() and part.isdigit() for part in (died, passed)):
        return None
    return LetterPosition(min(int(died), 2**53), int(passed))


class LetterSummary(NamedTuple):
    """One dead letter in a list. Numbers are None where they cannot be known."""

    id: str
    job: str
    died_ms: int
    app: str
    webhook: str
    reason: str
    last: str
    attempts: int | None
    events: int | None


class LetterTry(NamedTuple):
    """One try that failed."""

    at_ms: int
    reason: str
    took_ms: int


class LetterDeath(NamedTuple):
    """An earlier death, after which the letter was replayed."""

    died_ms: int
    reason: str
    attempts: int
    last: str


class LetterDetails(NamedTuple):
    """Everything that a page shows of one dead letter; never its bytes, which hold the app's secret.

    `events` are names and channels. `obstacle` says why a replay would be of no use; it is empty where it would be.
    """

    summary: LetterSummary
    source: str
    size: int
    digest: str
    tries: Sequence[LetterTry]
    unlisted_tries: int
    deaths: Sequence[LetterDeath]
    events: Sequence[tuple[str, str]]
    more_events: int
    unreadable: str
    obstacle: str


class FoundLetters(NamedTuple):
    """One page. `next` is where the next one begins; None where there is none, or where the queue has no order."""

    summaries: Sequence[LetterSummary]
    next: LetterPosition | None
    is_complete: bool


class LetterWork(NamedTuple):
    """What an action has done so far, or in the end. Times are in seconds since 1970.

    `gone` counts those that somebody else has taken, `left` by reason those that were not replayed.
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


class LetterTools(Protocol):
    """What the pages ask. Every method but `work` may block for seconds, and may raise `BrokerError`."""

    is_ordered: bool
    """Whether dead letters can be listed from the newest on."""

    def total(self) -> int:
        """Count the dead letters of the queue."""

    def search(
        self, wanted: LetterFilter, before: LetterPosition | None, limit: int, is_over: Callable[[], bool]
    ) -> FoundLetters: ...

    def find(self, record_id: str) -> LetterDetails | None: ...

    def start(self, action: str, wanted: LetterFilter, actor: Actor) -> str | None:
        """Begin to replay or purge; return why that cannot begin now, or None.

        Waits a moment for the end, which is all that a few letters take.
        """

    def work(self) -> LetterWork | None:
        """Return how far the last action is; None where there was none since the start."""
