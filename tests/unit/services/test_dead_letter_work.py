"""An action of the page on a queue in memory: one at a time, within bounds, and over with the daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import structlog.testing
from msgspec.structs import replace

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import App
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import StoredDeadLetter
from sockudo_queue.errors import BrokerUnavailable
from sockudo_queue.observability.status_page.dead_letters import DeadLetterFilter, DeadLetterProgress
from sockudo_queue.observability.status_page.dead_letters_view import PURGE, REPLAY
from sockudo_queue.observability.web.actions import Actor
from sockudo_queue.services import dead_letter_work
from sockudo_queue.services.dead_letter_work import (
    MAX_REASON_LENGTH,
    MAX_REASONS,
    OTHER_REASONS,
    TOO_LATE,
    DeadLetterWork,
)
from tests.helpers.jobs import job

ADA = Actor("ada", "10.0.0.1")
ALL = DeadLetterFilter()


class Letters:
    """A store with as many letters as wanted; `on_replay` is called before each group."""

    def __init__(self, count: int, *, died_ms: int = 1, owed: str | None = "orders") -> None:
        states = [DeliveryState(job=f"j{number}", app=f"app{number}", webhook=owed) for number in range(count)]
        self.there = [
            StoredDeadLetter(str(number), "list", "t", died_ms, job(number), delivery_state.encode(state))
            for number, state in enumerate(states)
        ]
        self.groups: list[int] = []
        self.on_replay: Callable[[], object] = bool
        self.dies_again_after_ms: int | None = None

    def letters(self) -> Iterator[StoredDeadLetter]:
        return iter(self.there)

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        return iter(self.there[::-1])

    def find(self, record_id: str) -> StoredDeadLetter | None:
        return next((letter for letter in self.there if letter.id == record_id), None)

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        assert len(letters) == len(states)
        if self.dies_again_after_ms is not None and len(self.there) < 1_000:
            self.there += [replace(each, died_ms=each.died_ms + self.dies_again_after_ms) for each in letters]
        return self.purge(letters)

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        self.on_replay()
        self.groups.append(len(letters))
        return [True] * len(letters)

    def drop_older(self, age_ms: int) -> int:
        return 0


def work_on(
    letters: Letters, action: str = REPLAY, wanted: DeadLetterFilter = ALL, stopping: threading.Event | None = None
) -> tuple[DeadLetterProgress, dict[str, object]]:
    with structlog.testing.capture_logs() as logged:
        work = DeadLetterWork(action, wanted, ADA, letters, find_app, stopping or threading.Event())
        assert work.start()
        work.wait(10)
    [began, line] = logged
    assert began["event"] == "operator.started"
    assert began.items() - {("event", "operator.started")} <= line.items()
    return work.progress(), dict(line)


def find_app(app_id: str) -> App | None:
    return None


def test_calls_are_small_and_the_log_says_who_did_what() -> None:
    letters = Letters(25)
    done, line = work_on(letters, wanted=DeadLetterFilter(webhook="orders", newer=3_000_000_000.0))
    assert letters.groups == [10, 10, 5]
    assert (done.done, done.seen, done.fault) == (25, 25, "")
    assert (line["event"], line["by"], line["action"]) == ("operator.acted", "ada at 10.0.0.1", "replay")
    assert (line["count"], line["webhook"]) == (25, "orders")
    assert line["chosen"] == "webhook orders, newer than 3000000000 s"
    letters = Letters(1_001)
    done, line = work_on(letters, PURGE)
    assert letters.groups == [500, 500, 1]
    assert (line["action"], line["count"], line["chosen"]) == ("purge", 1_001, "all")


@pytest.mark.parametrize("skew_ms", [60_000, 0, -60_000])
@pytest.mark.parametrize("later_ms", [1, 0, -1])
def test_each_dead_letter_is_replayed_once_despite_clock_skew(skew_ms: int, later_ms: int) -> None:
    letters = Letters(25, died_ms=round(time.time() * 1000) + skew_ms)
    letters.dies_again_after_ms = later_ms
    done, line = work_on(letters)
    # The last group dies again only after the scan has reached the end.
    assert (done.done, done.left, line["left"]) == (25, {TOO_LATE: 20}, 20)


def test_purge_keeps_dead_letters_created_after_its_start() -> None:
    letters = Letters(3, died_ms=1)
    late = replace(letters.there[0], id="late", died_ms=2)
    letters.on_replay = lambda: letters.there.append(late)
    done, _ = work_on(letters, PURGE)
    assert (done.done, done.left) == (3, {})
    letters = Letters(501, died_ms=1)
    letters.on_replay = lambda: letters.there.append(late) if late not in letters.there else None
    done, _ = work_on(letters, PURGE)
    assert (done.done, done.left) == (501, {TOO_LATE: 1})


def test_without_an_order_the_time_of_the_start_is_the_limit() -> None:
    letters = Letters(3, died_ms=round(time.time() * 1000) + 60_000)
    letters.there[1] = replace(letters.there[1], died_ms=1)
    work = DeadLetterWork(REPLAY, ALL, ADA, letters, find_app, threading.Event(), is_ordered=False)
    assert work.start()
    work.wait(10)
    assert (work.progress().done, work.progress().left) == (1, {TOO_LATE: 2})


def test_an_action_remembers_a_bounded_number_of_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_work, "REMEMBERED", 10)
    work = DeadLetterWork(REPLAY, ALL, ADA, Letters(100), find_app, threading.Event())
    assert work.start()
    work.wait(10)
    assert (work.progress().done, len(work._met)) == (100, 10)


def test_a_stop_ends_it_after_the_group_in_hand() -> None:
    letters, stopping = Letters(100), threading.Event()
    letters.on_replay = stopping.set
    done, line = work_on(letters, stopping=stopping)
    assert (done.done, letters.groups) == (10, [10])
    assert line["reason"] == "the daemon was stopped"


def test_an_outage_ends_it_and_what_was_done_is_counted() -> None:
    letters = Letters(100)

    def fail_later() -> None:
        if letters.groups:
            raise BrokerUnavailable("Redis is away")

    letters.on_replay = fail_later
    done, line = work_on(letters)
    assert (done.done, done.fault, line["reason"]) == (10, "Redis is away", "Redis is away")
    assert done.ended_at is not None


def test_reasons_to_leave_letters_are_bounded_in_number_and_length() -> None:
    def find(app_id: str) -> App:
        return App(id=app_id, webhooks=())

    work = DeadLetterWork(REPLAY, ALL, ADA, Letters(100, owed="w" * 1_000), find, threading.Event())
    assert work.start()
    work.wait(10)
    left = work.progress().left
    assert len(left) == MAX_REASONS + 1
    assert left[OTHER_REASONS] == 100 - MAX_REASONS
    assert max(map(len, left)) <= MAX_REASON_LENGTH
