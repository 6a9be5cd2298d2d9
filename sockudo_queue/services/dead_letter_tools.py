"""The queue operations behind the dead letter pages.

Other programs can write any value into a dead letter, so every text is truncated before it is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from sockudo_queue.core.delivery_state import HISTORY_LIMIT, TRIES_LIMIT, DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.drivers.base import BufferedDriver, Driver
from sockudo_queue.history.entry import MAX_EVENTS, MAX_TEXT_LENGTH
from sockudo_queue.observability.status_page.dead_letters import (
    MAX_ID_LENGTH,
    DeadLetterDetails,
    DeadLetterFilter,
    DeadLetterPosition,
    DeadLetterProgress,
    DeadLetterSummary,
    DeadLetterTry,
    EarlierDeadLetter,
    FoundDeadLetters,
)
from sockudo_queue.observability.web.actions import Actor
from sockudo_queue.operations.dead_letters import DeadLetterEntry
from sockudo_queue.operations.replay import FindApp, obstacle
from sockudo_queue.services.dead_letter_work import MAX_REASON_LENGTH, DeadLetterWork, selection_of

ANSWER_WITHIN: Final = 1.0
"""Seconds that a request waits for the end of an action before the page shows its progress."""


class DeadLetterTools:
    """See `DeadLetterOperations`. Safe from any thread. One action runs at a time."""

    def __init__(self, driver: Driver, find_app: FindApp, stopping: threading.Event) -> None:
        self.is_ordered = not isinstance(driver, BufferedDriver)
        self._driver, self._find_app, self._stopping = driver, find_app, stopping
        self._lock = threading.Lock()
        self._work: DeadLetterWork | None = None

    def total(self) -> int:
        return self._driver.depth()["dead-letter"]

    def search(
        self, wanted: DeadLetterFilter, before: DeadLetterPosition | None, limit: int, is_over: Callable[[], bool]
    ) -> FoundDeadLetters:
        selection, found = selection_of(wanted, time.time()), list[DeadLetterSummary]()
        reached = before
        for entry, position in self._newest(before):
            if len(found) == limit or (reached != before and is_over()):
                return self._page(found, reached)
            if selection.holds(entry):
                found.append(_summary(entry))
            reached = position
        return FoundDeadLetters(found, None, is_complete=True)

    def find(self, record_id: str) -> DeadLetterDetails | None:
        letter = self._driver.dead_letters.find(record_id)
        if letter is None:
            return None
        entry = DeadLetterEntry(letter)
        return _details(entry, obstacle(entry, self._find_app, takes_unreadable=True) or "")

    def start(self, action: str, wanted: DeadLetterFilter, actor: Actor) -> str | None:
        with self._lock:
            if self._stopping.is_set():
                return "the daemon is being stopped."
            if self._work is not None and self._work.is_running:
                return "another action is running; wait until it has ended."
            work = DeadLetterWork(
                action,
                wanted,
                actor,
                self._driver.dead_letters,
                self._find_app,
                self._stopping,
                is_ordered=self.is_ordered,
            )
            if not work.start():
                return "the system refused to start a thread; try again later."
            self._work = work
        work.wait(ANSWER_WITHIN)
        return None

    def work(self) -> DeadLetterProgress | None:
        work = self._work
        return None if work is None else work.progress()

    def finish(self, seconds: float) -> None:
        """Wait for the end of the running action; a stopping daemon ends it."""
        if self._work is not None:
            self._work.wait(seconds)

    def _newest(self, before: DeadLetterPosition | None) -> Iterator[tuple[DeadLetterEntry, DeadLetterPosition]]:
        """Yield letters, each with the position after it."""
        died_ms, passed = before or (-1, 0)
        to_skip = passed
        for letter in self._driver.dead_letters.newest(None if before is None else died_ms):
            if letter.died_ms == died_ms and to_skip:
                to_skip -= 1
                continue
            passed = passed + 1 if letter.died_ms == died_ms else 1
            died_ms, to_skip = letter.died_ms, 0
            yield DeadLetterEntry(letter), DeadLetterPosition(died_ms, passed)

    def _page(self, found: list[DeadLetterSummary], reached: DeadLetterPosition | None) -> FoundDeadLetters:
        if self.is_ordered:
            return FoundDeadLetters(found, reached, is_complete=False)
        newest_first = sorted(found, key=lambda summary: -summary.died_ms)
        return FoundDeadLetters(newest_first, None, is_complete=False)


def _summary(entry: DeadLetterEntry) -> DeadLetterSummary:
    state, job = entry.state, entry.job
    return DeadLetterSummary(
        entry.letter.id[:MAX_ID_LENGTH],
        entry.job_id[:MAX_TEXT_LENGTH],
        entry.letter.died_ms,
        entry.app[:MAX_TEXT_LENGTH],
        entry.webhook[:MAX_TEXT_LENGTH],
        entry.reason[:MAX_TEXT_LENGTH],
        entry.last[:MAX_TEXT_LENGTH],
        state.attempts if state else None,
        len(job.events) if isinstance(job, Job) else None,
    )


def _details(entry: DeadLetterEntry, reason_against: str) -> DeadLetterDetails:
    job = entry.job
    events = job.events if isinstance(job, Job) else ()
    return DeadLetterDetails(
        _summary(entry),
        entry.letter.source,
        len(entry.letter.body),
        entry.digest,
        _tries(entry.state),
        entry.unlisted_tries,
        _earlier(entry.state),
        [(event.name[:MAX_TEXT_LENGTH], event.channel[:MAX_TEXT_LENGTH]) for event in events[:MAX_EVENTS]],
        max(len(events) - MAX_EVENTS, 0),
        job[:MAX_TEXT_LENGTH] if isinstance(job, str) else "",
        reason_against[:MAX_REASON_LENGTH],
    )


def _tries(state: DeliveryState | None) -> list[DeadLetterTry]:
    tries = state.tries[-TRIES_LIMIT:] if state is not None else ()
    return [DeadLetterTry(each.at, each.reason[:MAX_TEXT_LENGTH], each.took_ms) for each in tries]


def _earlier(state: DeliveryState | None) -> list[EarlierDeadLetter]:
    failures = state.history[-HISTORY_LIMIT:] if state is not None else ()
    return [
        EarlierDeadLetter(each.died, each.reason[:MAX_TEXT_LENGTH], each.attempts, (each.last or "")[:MAX_TEXT_LENGTH])
        for each in failures
    ]
