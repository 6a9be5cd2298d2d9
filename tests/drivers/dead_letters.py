"""What every driver's dead letters do, against its real broker: walked, replayed, purged, and dropped by age.

A driver's test module inherits from `DeadLetterConformance` and gives the fixture `queue` of `conformance.py`.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from sockudo_queue.core import delivery_state
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import Claim, DeadLetter, Driver, Retry, Settlement, StoredDeadLetter
from sockudo_queue.errors import BrokerUnavailable
from sockudo_queue.observability.status_page.dead_letters import DeadLetterFilter
from sockudo_queue.observability.status_page.dead_letters_view import PURGE, REPLAY
from sockudo_queue.observability.web.actions import Actor
from sockudo_queue.services.dead_letter_tools import DeadLetterTools
from tests.drivers.conformance import FAR, DriverUnderTest, deliver_all, settle, take, take_all
from tests.helpers.jobs import jobs


def kill(driver: Driver, queue: DriverUnderTest, count: int) -> list[Claim]:
    """Let `count` jobs become dead letters, each with its own state."""
    queue.push(*jobs(count))
    killed: list[Claim] = []
    result = driver.next(None)
    while result.claim is not None:
        killed.append(result.claim)
        result = driver.next(Settlement(result.claim, (DeadLetter(b"died", "exhausted"),)))
        assert result.accepted
    assert len(killed) == count
    return killed


def find(driver: Driver, record_id: str) -> StoredDeadLetter:
    letter = driver.dead_letters.find(record_id)
    assert letter is not None
    return letter


def letters(driver: Driver) -> list[StoredDeadLetter]:
    return list(driver.dead_letters.letters())


class DeadLetterConformance:
    """Inherit from it, and give the fixture `queue`."""

    many_letters: ClassVar[int] = 450
    """More than a page of the driver."""
    keeps_order: ClassVar[bool] = True

    def test_without_dead_letters_there_are_none(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(2))
        take(driver)
        assert letters(driver) == []
        assert driver.dead_letters.find("nobody") is None
        assert driver.dead_letters.drop_older(0) == 0

    def test_dead_letter_has_all_its_fields(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(b"\x01not\nJSON")
        claim = take(driver)
        settle(driver, claim, DeadLetter(b'{"reason":"unreadable"}', "unreadable"))
        [letter] = letters(driver)
        assert (letter.id, letter.body, letter.state) == (claim.id, b"\x01not\nJSON", b'{"reason":"unreadable"}')
        assert letter.source == claim.source
        assert claim.server_ms <= letter.died_ms <= claim.now_ms() + 1000
        assert "JSON" not in repr(letter)
        assert driver.dead_letters.find(claim.id) == letter

    def test_scan_returns_each_dead_letter_once_oldest_first(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        claims = kill(driver, queue, self.many_letters)
        found = letters(driver)
        assert Counter(letter.id for letter in found) == Counter(claim.id for claim in claims)
        assert [letter.died_ms for letter in found] == sorted(letter.died_ms for letter in found)

    def test_newest_letters_come_first_and_none_is_newer_than_asked_for(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        claims = kill(driver, queue, self.many_letters)
        found = list(driver.dead_letters.newest())
        assert Counter(letter.id for letter in found) == Counter(claim.id for claim in claims)
        died = [letter.died_ms for letter in found]
        assert died == sorted(died, reverse=True) or not self.keeps_order
        middle = sorted(died)[len(died) // 2]
        older = list(driver.dead_letters.newest(middle))
        assert sorted(letter.died_ms for letter in older) == sorted(each for each in died if each <= middle)

    def test_page_lists_shows_replays_and_purges(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(5))
        for number, claim in enumerate(take_all(driver)):
            state = DeliveryState(job=f"j{number}", app="shop", reason=("refused", "exhausted")[number % 2])
            assert settle(driver, claim, DeadLetter(delivery_state.encode(state), str(state.reason)))
        tools = DeadLetterTools(driver, lambda _: None, threading.Event())
        ids, page = set[str](), tools.search(DeadLetterFilter(), None, 2, lambda: False)
        while page.next is not None:
            ids |= {summary.id for summary in page.summaries}
            page = tools.search(DeadLetterFilter(), page.next, 2, lambda: False)
        ids |= {summary.id for summary in page.summaries}
        assert len(ids) == (5 if self.keeps_order else 2)
        [refused, *others] = tools.search(DeadLetterFilter(reason="refused"), None, 9, lambda: False).summaries
        assert len(others) == 2
        details = tools.find(refused.id)
        assert details is not None
        assert (details.summary, details.obstacle) == (refused, "")

        assert self._acted(tools, REPLAY, DeadLetterFilter(id=refused.id)) == (1, 0, {})
        assert self._acted(tools, REPLAY, DeadLetterFilter(id=refused.id)) == (0, 1, {})
        assert self._acted(tools, REPLAY, DeadLetterFilter(reason="exhausted")) == (2, 0, {})
        assert self._acted(tools, PURGE, DeadLetterFilter(app="shop")) == (2, 0, {})
        assert letters(driver) == []
        assert len(deliver_all(driver)) == 3

    @staticmethod
    def _acted(tools: DeadLetterTools, action: str, wanted: DeadLetterFilter) -> tuple[int, int, object]:
        assert tools.start(action, wanted, Actor("ada", "127.0.0.1")) is None
        tools.finish(20)
        work = tools.work()
        assert work is not None
        assert work.ended_at is not None
        assert work.fault == ""
        return work.done, work.gone, work.left

    def test_replay_or_purge_during_a_scan_does_not_disturb_it(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        kill(driver, queue, self.many_letters)
        seen = 0
        for number, letter in enumerate(driver.dead_letters.letters()):
            seen += 1
            done = driver.dead_letters.replay([letter], [b"s"]) if number % 2 else driver.dead_letters.purge([letter])
            assert done == [True]
        assert seen == self.many_letters
        assert letters(driver) == []
        assert len(take_all(driver)) == self.many_letters // 2

    def test_a_replayed_letter_is_claimed_under_its_id_with_the_new_state(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        [claim] = kill(driver, queue, 1)
        [letter] = letters(driver)
        assert driver.dead_letters.replay([letter], [b"again"]) == [True]
        assert driver.depth()["dead-letter"] == 0
        replayed = take(driver)
        assert (replayed.id, replayed.body, replayed.state) == (claim.id, claim.body, b"again")
        assert replayed.lapses == 0
        assert settle(driver, replayed)
        assert queue.is_empty()

    def test_an_empty_state_leaves_the_state_of_a_letter_as_it_is(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        kill(driver, queue, 1)
        driver.dead_letters.replay(letters(driver), [b""])
        assert take(driver).state == b"died"

    def test_a_share_is_replayed_alone(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(1))
        claim = take(driver)
        settle(driver, claim, DeadLetter(b"a", "refused"), DeadLetter(b"b", "exhausted"), splits=True)
        first, second = sorted(letters(driver), key=lambda letter: letter.id)
        assert driver.dead_letters.replay([first], [b"again"]) == [True]
        assert letters(driver) == [second]
        assert [(found.id, found.state) for found in deliver_all(driver)] == [(first.id, b"again")]

    def test_replayed_dead_letter_that_fails_again_is_a_new_dead_letter(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        kill(driver, queue, 1)
        [old] = letters(driver)
        driver.dead_letters.replay([old], [b"again"])
        settle(driver, take(driver), DeadLetter(b"died again", "exhausted"))
        [new] = letters(driver)
        assert (new.id, new.body, new.state) == (old.id, old.body, b"died again")
        assert new.token != old.token
        assert driver.dead_letters.replay([old], [b"x"]) == [False]
        assert driver.dead_letters.purge([old]) == [False]
        assert letters(driver) == [new]

    def test_dead_letter_is_replayed_only_once(self, queue: DriverUnderTest) -> None:
        driver, other = queue.driver(), queue.driver()
        kill(driver, queue, 1)
        [letter] = letters(driver)
        assert driver.dead_letters.replay([letter], [b"again"]) == [True]
        assert other.dead_letters.replay([letter], [b"again"]) == [False]
        assert other.dead_letters.purge([letter]) == [False]
        held = take(driver)
        assert other.dead_letters.purge([letter]) == [False]
        assert settle(driver, held)
        assert queue.is_empty()

    def test_concurrent_replays_duplicate_and_lose_nothing(self, queue: DriverUnderTest) -> None:
        tools = [queue.driver() for _ in range(4)]
        claims = kill(tools[0], queue, self.many_letters // 4)
        found = letters(tools[0])

        def replay_all(tool: Driver) -> int:
            return sum(tool.dead_letters.replay(found, [b"again"] * len(found)))

        with ThreadPoolExecutor(len(tools)) as pool:
            assert sum(pool.map(replay_all, tools)) == len(claims)
        assert Counter(c.body for c in deliver_all(tools[0])) == Counter(c.body for c in claims)
        assert queue.is_empty()

    def test_a_purged_letter_is_gone(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        kill(driver, queue, 3)
        first, second, third = letters(driver)
        assert driver.dead_letters.purge([first, third]) == [True, True]
        assert driver.dead_letters.purge([first]) == [False]
        assert letters(driver) == [second]
        assert driver.dead_letters.purge([second]) == [True]
        assert queue.is_empty()

    def test_a_purge_touches_no_other_record(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(3))
        dead, later, held = take(driver), take(driver), take(driver)
        settle(driver, dead, DeadLetter(b"d", "refused"))
        settle(driver, later, Retry(b"l", 1000))
        driver.dead_letters.purge(letters(driver))
        assert dict(driver.depth()) == {"ready": 0, "active": 1, "delayed": 1, "held": 0, "dead-letter": 0}
        assert settle(driver, held)
        queue.advance(FAR)
        assert take(driver).id == later.id

    def test_what_is_replayed_waits_behind_what_is_due(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(2))
        dead, delayed = take(driver), take(driver)
        settle(driver, dead, DeadLetter(b"d", "refused"))
        settle(driver, delayed, Retry(b"l", 1))
        queue.advance(5)
        driver.dead_letters.replay(letters(driver), [b"r"])
        assert [claim.id for claim in take_all(driver)] == [delayed.id, dead.id]

    def test_old_letters_are_dropped_and_counted(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        kill(driver, queue, 3)
        assert driver.dead_letters.drop_older(60_000) == 0
        queue.advance(61)
        [young] = kill(driver, queue, 1)
        assert driver.dead_letters.drop_older(60_000) == 3
        assert [letter.id for letter in letters(driver)] == [young.id]
        assert driver.dead_letters.drop_older(60_000) == 0

    def test_a_replay_whose_reply_was_lost_can_be_asked_for_again(self, queue: DriverUnderTest) -> None:
        lossy, driver = queue.lossy(), queue.driver()
        first, second = kill(driver, queue, 2)
        lossy.driver.dead_letters.replay([find(driver, first.id)], [b"again"])  # the script is known from here on
        letter = find(driver, second.id)
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.dead_letters.replay([letter], [b"again"])
        assert driver.dead_letters.replay([letter], [b"again"]) == [False]
        queue.advance(FAR)
        assert sorted(claim.id for claim in deliver_all(driver)) == sorted([first.id, second.id])
        assert queue.is_empty()
