"""Records of which something else has removed a part: what is left is found again, and what is lost is counted."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from typing import Any

import pytest

from sockudo_queue.drivers.base import DeadLetter, Driver, RecordAudit, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis import source as sources
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused
from tests.drivers.conformance import is_idle, settle, take, take_all
from tests.drivers.redis_lists import SOURCES, RedisLists, link_to
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.jobs import job, jobs

WELL = RecordAudit(0, 0, 0)
HOUR_MS = 3_600_000


def own(part: str) -> str:
    return own_key(SOURCES[0], part)


def dump(client: Any) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.keys("*")}


def delay(lists: RedisLists, driver: Driver, count: int = 3) -> None:
    """Leave jobs that wait for their next try."""
    lists.push(*jobs(count))
    for claim in take_all(driver):
        assert settle(driver, claim, Retry(b'{"tried":1}', HOUR_MS))


def kill(queue: RedisLists | RedisV2, driver: Driver, count: int) -> None:
    """Leave dead letters; their state says when they died."""
    queue.push(*jobs(count, first=50))
    for claim in take_all(driver):
        assert settle(driver, claim, DeadLetter(b'{"reason":"exhausted","died":1750000000000}', "exhausted"))


def test_an_audit_changes_nothing_where_all_is_well(lists: RedisLists, v2: RedisV2) -> None:
    driver = v2.driver()
    delay(lists, driver)
    kill(lists, driver, 2)
    kill(v2, driver, 2)
    lists.push(*jobs(2))
    v2.push(*jobs(3))
    take(driver)
    stored = dump(lists.client)

    assert driver.audit() == WELL

    assert dump(lists.client) == stored


def test_lost_delayed_record_is_put_back(lists: RedisLists) -> None:
    driver = lists.driver()
    delay(lists, driver)
    lists.client.delete(own("delayed"))
    assert is_idle(driver)

    assert driver.audit() == RecordAudit(0, 3, 0)

    claims = take_all(driver)
    assert sorted(claim.body for claim in claims) == jobs(3)
    assert {claim.state for claim in claims} == {b'{"tried":1}'}
    assert all(settle(driver, claim) for claim in claims)
    assert lists.is_empty()


def test_a_claim_that_has_lost_its_lease_is_put_back_and_its_owner_settles_nothing(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.push(job(1))
    settle(driver, take(driver), Requeue())
    claim = take(driver)  # of a receipt that a record which began anew would get again
    lists.client.delete(own("active"))

    assert driver.audit() == RecordAudit(0, 1, 0)

    again = take(driver)
    assert again.id == claim.id
    assert not settle(driver, claim)
    assert settle(driver, again)


def test_dead_letters_stay_dead_letters(lists: RedisLists, v2: RedisV2) -> None:
    driver = v2.driver()
    kill(lists, driver, 2)
    kill(v2, driver, 2)
    delay(lists, driver, 1)
    before = {letter.id: letter.body for letter in driver.dead_letters.letters()}
    lists.client.delete(own("dead"), own_key(BASE, "dead"))

    assert driver.audit() == RecordAudit(0, 4, 0)

    letters = list(driver.dead_letters.letters())
    assert {letter.id: letter.body for letter in letters} == before
    assert {letter.died_ms for letter in letters if letter.source == SOURCES[0]} == {1_750_000_000_000}
    assert is_idle(driver)
    assert driver.dead_letters.replay(letters, [b""] * 4) == [True] * 4


def test_records_without_a_body_are_counted(lists: RedisLists) -> None:
    driver = lists.driver()
    delay(lists, driver)
    lists.client.delete(own("records"))
    lists.advance(2 * HOUR_MS / 1000)

    assert driver.next(None).lost == 3
    assert driver.next(None).lost == 0
    assert lists.is_empty()


def test_a_settlement_of_a_record_without_a_body_counts_it(lists: RedisLists, v2: RedisV2) -> None:
    driver = v2.driver()
    for queue in (lists, v2):
        queue.push(job(1))
        claim = take(driver)
        lists.client.delete(own("records"), v2.key("jobs"))
        result = driver.next(Settlement(claim, (Retry(b"{}", 0),)))
        assert result.lost == 1


def test_jobs_of_queue_v2_without_a_payload_are_counted(v2: RedisV2) -> None:
    driver = v2.driver()
    v2.push(*jobs(4))
    settle(driver, take(driver), Retry(b"{}", 0))
    take(driver)
    v2.client.delete(v2.key("jobs"))
    v2.advance(HOUR_MS)

    assert driver.next(None).lost == 4


def test_id_already_completed_is_not_counted_as_lost(v2: RedisV2) -> None:
    """An id may wait in more than one place: the second claim finds that it is done."""
    driver = v2.driver(completed=10)
    v2.push(job(1))
    claim = take(driver)
    settle(driver, claim)
    v2.client.lpush(v2.key("wait"), claim.id)

    assert driver.next(None).lost == 0


def test_dead_letters_without_a_body_are_removed_and_counted(lists: RedisLists, v2: RedisV2) -> None:
    driver = v2.driver()
    kill(lists, driver, 2)
    kill(v2, driver, 3)
    lists.client.delete(own("records"), own_key(BASE, "records"))

    assert driver.audit() == RecordAudit(5, 0, 0)
    assert driver.depth()["dead-letter"] == 0


def test_jobs_of_queue_v2_that_are_nowhere_are_counted_and_left(v2: RedisV2) -> None:
    driver = v2.driver()
    v2.push(*jobs(3))
    v2.client.delete(v2.key("wait"))

    assert driver.audit() == RecordAudit(0, 0, 3)
    assert v2.client.hlen(v2.key("jobs")) == 3


def test_too_many_records_are_counted_and_left(lists: RedisLists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "AUDIT_LIMIT", 2)
    driver = lists.driver()
    delay(lists, driver)
    lists.client.delete(own("delayed"))

    assert driver.audit() == RecordAudit(0, 0, 3)
    assert is_idle(driver)


def test_many_records_are_put_back_bit_by_bit(lists: RedisLists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "RESTORE_BATCH_SIZE", 2)
    driver = lists.driver()
    delay(lists, driver)
    lists.client.delete(own("delayed"))

    assert [driver.audit() for _ in range(3)] == [RecordAudit(0, 2, 0), RecordAudit(0, 1, 0), WELL]


def test_odd_values_and_members_do_not_stop_an_audit(lists: RedisLists) -> None:
    driver = lists.driver()
    values = {
        b"a": b"",
        b"b": b"\x01",
        b"\xff": b"\x01[1]\nx",
        b"": b'\x01{"died":"x"}\n',
        b"c/1": b"\x01" + b"[" * 2_000,
    }
    lists.client.hset(own("records"), mapping={**values, b"d": b'\x01{"died":1e400}\nx'})
    lists.client.zadd(own("dead"), {b"no receipt": 1, b"/": float("inf")})

    assert driver.audit() == RecordAudit(1, 5, 0)
    assert driver.audit() == WELL


def test_a_user_without_the_rights_is_served_all_the_same(lists: RedisLists, cleanup: ExitStack) -> None:
    lists.client.execute_command("ACL", "SETUSER", "few", "on", ">p", "~*", "+@all", "-hlen", "-hkeys")
    cleanup.callback(lists.client.execute_command, "ACL", "DELUSER", "few")
    driver = lists.over(link_to(lists.server.port, username="few", password="p"))
    lists.push(job(1))

    assert driver.audit() == WELL
    assert settle(driver, take(driver))


@pytest.mark.parametrize("command", ["zadd", "hset"])
@pytest.mark.parametrize("form", ["fresh", "odd id", "queue v2, odd id"])
def test_refused_claims_leave_no_copies_behind(
    lists: RedisLists, v2: RedisV2, cleanup: ExitStack, form: str, command: str
) -> None:
    """An audit would put back every copy of a job that was not claimed."""
    lists.client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">p", "~*", "+@all", f"-{command}")
    cleanup.callback(lists.client.execute_command, "ACL", "DELUSER", "few")
    if form == "fresh":
        lists.push(job(1))
    elif form == "odd id":
        lists.client.hset(own("records"), "an id", job(1))
        lists.client.zadd(own("delayed"), {"an id/1": 1})
    else:
        v2.producer.enqueue_payloads([("x" * 300, job(1))])
    stored = dump(lists.client)
    refused = v2.over(link_to(lists.server.port, username="few", password="p"))
    for _ in range(3):
        with contextlib.suppress(BrokerRefused):
            assert refused.next(None).claim is None

    assert dump(lists.client) == stored
    driver = v2.driver()
    assert driver.audit() == WELL
    assert len(take_all(driver)) == 1


@pytest.mark.parametrize("kind", ["delayed", "dead", "queue v2, dead"])
def test_refused_settlements_leave_no_copies_behind(lists: RedisLists, v2: RedisV2, kind: str) -> None:
    """The claim is given to another worker once its lease is over, so what an audit puts back would be a duplicate."""
    driver = v2.driver()
    (v2 if kind == "queue v2, dead" else lists).push(job(1))
    claim = take(driver)
    refused = own_key(claim.source, "delayed" if kind == "delayed" else "dead")
    lists.client.set(refused, "of another type")
    part = Retry(b'{"tried":1}', HOUR_MS) if kind == "delayed" else DeadLetter(b'{"reason":"exhausted"}', "exhausted")
    for _ in range(3):
        with pytest.raises(BrokerRefused):
            driver.settle([Settlement(claim, (part, part), splits=True)])
    lists.client.delete(refused)

    assert driver.audit() == WELL
    assert driver.settle([Settlement(claim, (part, part), splits=True)]) == [True]
    assert driver.audit() == WELL


def test_records_in_a_set_of_a_later_version_are_left_alone(lists: RedisLists, v2: RedisV2) -> None:
    driver = v2.driver()
    delay(lists, driver)
    kill(lists, driver, 2)
    kill(v2, driver, 2)
    for source in (SOURCES[0], BASE):
        for part in ("delayed", "dead"):
            if lists.client.exists(own_key(source, part)):
                lists.client.rename(own_key(source, part), own_key(source, f"{part}-of-later"))
                lists.client.hset(own_key(source, "further"), own_key(source, f"{part}-of-later"), "")
    stored = dump(lists.client)

    assert driver.audit() == WELL
    assert dump(lists.client) == stored

    lists.client.delete(own("further"), own_key(BASE, "further"))
    assert driver.audit() == RecordAudit(0, 7, 0)


def test_dead_letters_of_a_later_version_without_a_body_here_are_left_alone(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.client.zadd(own("dead"), {"later/1": 1})
    lists.client.hset(own("further"), own("bodies-of-later"), "")

    assert driver.audit() == WELL
    assert lists.client.zcard(own("dead")) == 1


def test_an_id_that_dies_twice_leaves_one_letter(v2: RedisV2) -> None:
    driver = v2.driver()
    kill(v2, driver, 2)
    for number in (1, 2):
        v2.producer.enqueue_payloads([("same", job(number))])
        assert settle(driver, take(driver), DeadLetter(b'{"reason":"exhausted"}', "exhausted"))

    assert driver.next(None).trimmed == 1
    letters = [letter for letter in driver.dead_letters.letters() if letter.id == "same"]
    assert [json.loads(letter.body)["payload"] for letter in letters] == [json.loads(job(2))["payload"]]
    assert driver.dead_letters.replay(letters, [b""]) == [True]
    assert driver.audit() == WELL
    assert driver.depth()["dead-letter"] == 2


@pytest.mark.parametrize("moment", ["NaN", "nan", "-nan", '"nan"', '"NaN"', "1e999", "-1e999", "[]"])
def test_odd_moment_in_a_state_does_not_stop_the_audit(lists: RedisLists, moment: str) -> None:
    driver = lists.driver()
    delay(lists, driver)
    lists.client.delete(own("delayed"))
    lists.client.hset(own("records"), "odd", b'\x01{"died":%s}\n{}' % moment.encode())

    assert driver.audit() == RecordAudit(0, 4, 0)
