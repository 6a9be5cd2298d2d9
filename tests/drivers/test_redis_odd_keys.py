"""Whatever stands in the keys of a queue: it ends no call, stops nothing beside it, and no job's bytes are lost."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import Any, Final

import pytest

from sockudo_queue.core import delivery_state
from sockudo_queue.drivers.base import Claim, DeadLetter, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.source import own_key
from tests.drivers.conformance import LEASE_SECONDS, deliver_all, settle, take
from tests.drivers.redis_lists import SOURCES, RedisLists
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.jobs import job, jobs
from tests.helpers.queue_v2 import envelope, new_id, with_job_id
from tests.helpers.redis_server import RedisServer

ODD_IDS: Final = (b"\xff", b"a b", b"x" * 300, b"\x1b[31m", b"line\nbreak", "ü".encode(), b"", b"nul\x00", b"a/b/c")
ODD_NUMBERS: Final = (b"abc", b"", b"-5", b"1.5", b"1e300", b"inf", b"nan", b"0x10", b"9" * 400, b"\xff", b" 7")
ODD_SCORES: Final = ("-inf", "-1e300", "-1.5", "0", "1.5", "1e3")
DEAD: Final = delivery_state.encode(delivery_state.DeliveryState("id", reason="unreadable"))


def handle_all(driver: RedisDriver, limit: int = 500) -> tuple[list[Claim], list[Claim]]:
    """Do with each claim what a worker does: deliver it, or keep what has no body as a dead letter."""
    delivered: list[Claim] = []
    unreadable: list[Claim] = []
    for _ in range(limit):
        result = driver.next(None)
        if result.claim is None:
            return delivered, unreadable
        assert driver.renew([result.claim]) == [True]
        if result.claim.body:
            delivered.append(result.claim)
            assert driver.settle([Settlement(result.claim)]) == [True]
        else:
            unreadable.append(result.claim)
            assert driver.settle([Settlement(result.claim, (DeadLetter(DEAD, "unreadable"),))]) == [True]
    raise AssertionError("the queue never ends")


@pytest.fixture(params=[RedisLists, RedisV2])
def queue(request: pytest.FixtureRequest, any_redis: RedisServer, cleanup: ExitStack) -> RedisLists | RedisV2:
    """An empty queue of either form."""
    made: RedisLists | RedisV2 = request.param(any_redis, cleanup)
    made.client.flushall()
    made.client.config_set("maxmemory", 0)
    return made


def key(part: str) -> str:
    return own_key(SOURCES[0], part)


@pytest.mark.parametrize("part", ["active", "delayed"])
def test_record_under_an_odd_id_is_kept_as_a_dead_letter(lists: RedisLists, part: str) -> None:
    for number, odd in enumerate(ODD_IDS):
        lists.client.hset(key("records"), odd, b"\x01" + b'{"job":"a"}\n' + job(100 + number))
        lists.client.zadd(key(part), {odd + b"/1": 1})
    lists.push(*jobs(20))
    driver = lists.driver()

    delivered, unreadable = handle_all(driver)

    readable = {job(100 + ODD_IDS.index(b"a/b/c"))}
    assert {claim.body for claim in delivered} == {*jobs(20), *readable}
    letters = list(driver.dead_letters.letters())
    assert {letter.body for letter in letters} == {job(100 + number) for number in range(len(ODD_IDS))} - readable
    assert all(letter.state == DEAD for letter in letters)
    assert lists.client.hlen(key("records")) == len(letters) == len(unreadable)
    assert driver.dead_letters.purge(letters) == [True] * len(letters)
    assert lists.is_empty()


@pytest.mark.parametrize("part", ["active", "delayed"])
def test_odd_receipts_and_scores_stop_nothing(lists: RedisLists, part: str) -> None:
    odd = [
        b"",
        b"/",
        b"//",
        b"no receipt",
        b"gone/1",
        b"\xff/1",
        b"gone/" + b"9" * 400,
        b"id/-1",
        b"id/1.5",
        b"x" * 100_000,
    ]
    for member, score in zip(odd, itertools.cycle(ODD_SCORES)):
        lists.client.zadd(key(part), {member: score})
    lists.client.zadd(key(part), {b"never": "inf", b"hardly ever": 1e20})
    lists.client.hset(key("records"), "kept", job(50))
    lists.client.zadd(key(part), {b"kept/" + b"9" * 400: 1})
    lists.push(*jobs(20))
    driver = lists.driver()
    driver.wait(SOURCES[0], 0.01)

    delivered, unreadable = handle_all(driver)

    assert {claim.body for claim in delivered} == {*jobs(20), job(50)}
    assert unreadable == []
    assert driver.wait(SOURCES[0], 0.01) == 0
    assert lists.client.zcard(key(part)) == 2


@pytest.mark.parametrize("count", ODD_NUMBERS)
def test_count_of_expired_leases_that_is_no_number_counts_from_none(lists: RedisLists, count: bytes) -> None:
    lists.push(*jobs(3))
    driver = lists.driver()
    first, second, third = take(driver), take(driver), take(driver)
    assert settle(driver, first, Retry(b"s", 0))
    assert settle(driver, second, Requeue())
    for claim in (first, second, third):
        lists.client.hset(key("lapses"), claim.id, count)

    claims = [take(driver), take(driver)]
    lists.advance(LEASE_SECONDS + 1)
    claims += [take(driver), take(driver), take(driver)]

    assert {claim.id for claim in claims} == {first.id, second.id, third.id}
    assert all(0 <= claim.lapses <= 1_000_001 for claim in claims)
    for claim in claims[2:]:
        assert settle(driver, claim, Requeue(b"", lapsed=True))
    assert len(deliver_all(driver)) == 3
    assert lists.is_empty()


@pytest.mark.parametrize("value", [b"\x01", b"\x01no line feed", b"\x01\xff\n", b"\x01{\n\x01{\n", b"\x00", b"\n"])
def test_record_of_another_form_is_claimed_and_settled_in_every_way(lists: RedisLists, value: bytes) -> None:
    for number in range(4):
        lists.client.hset(key("records"), f"id{number}", value)
        lists.client.zadd(key("delayed"), {f"id{number}/1": 1})
    driver = lists.driver()
    later, split, back, dead = (take(driver) for _ in range(4))

    assert settle(driver, later, Retry(b"s", 0))
    assert settle(driver, split, Retry(b"s", 0), DeadLetter(DEAD, "unreadable"), splits=True)
    assert settle(driver, back, Requeue(b"s"))
    assert settle(driver, dead, DeadLetter(DEAD, "unreadable"))

    letters = list(driver.dead_letters.letters())
    assert len(letters) == 2
    assert driver.dead_letters.replay(letters, [b"again"] * 2) == [True, True]
    assert len(deliver_all(driver)) == 5
    assert lists.is_empty()


def test_retention_takes_odd_members_too(lists: RedisLists) -> None:
    lists.client.zadd(key("dead"), {b"no receipt": "-inf", b"\xff/x": 1.5, b"x/" + b"9" * 400: 2})
    lists.push(*jobs(3))
    driver = lists.driver(retention=2)

    for _ in range(3):
        assert settle(driver, take(driver), DeadLetter(DEAD, "unreadable"))

    assert [letter.body for letter in driver.dead_letters.letters()] == jobs(3)[1:]
    assert lists.client.zcard(key("dead")) == lists.client.hlen(key("records")) == 2


def test_no_call_removes_odd_members_without_end(lists: RedisLists) -> None:
    lists.client.zadd(key("delayed"), {f"gone{number}/1": 1 for number in range(5_000)})
    lists.push(*jobs(1))
    driver = lists.driver()
    before = lists.client.zcard(key("delayed"))

    driver.next(None)

    assert before - 3_000 <= lists.client.zcard(key("delayed")) < before


LARGE: Final = b'{"app_id":"' + b"x" * 21_000_000 + b'"}'


def test_job_that_is_too_large_to_be_returned_is_kept_as_a_dead_letter(lists: RedisLists) -> None:
    lists.push(LARGE, *jobs(1))
    driver = lists.driver()
    assert driver.peek() in ([], [LARGE])  # by what a reply has room for
    assert driver.wait(SOURCES[0], 0.01) == 2

    delivered, unreadable = handle_all(driver)

    assert ([claim.body for claim in delivered], len(unreadable)) == (jobs(1), 1)
    [letter] = driver.dead_letters.letters()
    assert (letter.body, letter.state) == (LARGE, DEAD)
    assert driver.dead_letters.replay([letter], [b""]) == [True]
    assert [claim.body for claim in handle_all(driver)[1]] == [b""]


# Dead letters

ODD_DEATHS: Final = {
    b"\xff\xfe/1": 5,
    b"no receipt": 1.5,
    b"id/": 1e20,
    b"late/1": "inf",
    b"early/1": "-inf",
    b"neg/2": -7,
    b"esc\x1b[31m/1": 3,
    b"id/" + b"9" * 400: 4,
}


def test_odd_dead_letters_can_be_seen_replayed_and_purged(queue: RedisLists | RedisV2) -> None:
    source = SOURCES[0] if isinstance(queue, RedisLists) else BASE
    for receipt, score in ODD_DEATHS.items():
        queue.client.hset(own_key(source, "records"), receipt.rpartition(b"/")[0] or receipt, job(7))
        queue.client.zadd(own_key(source, "dead"), {receipt: score})
    queue.push(*jobs(2))
    driver = queue.driver()
    assert settle(driver, take(driver), DeadLetter(DEAD, "unreadable"))
    letters = driver.dead_letters

    found = list(letters.letters())

    assert len(found) == len(ODD_DEATHS) + 1
    assert {letter.body for letter in found} == {job(7), jobs(2)[0]}
    assert all(0 <= letter.died_ms < 10**15 for letter in found)
    assert [letter.died_ms for letter in found] == sorted(letter.died_ms for letter in found)
    for letter in found:
        letter.id.encode()
        assert letters.find(letter.id) is not None
    assert len(letters.replay(found[:2], [b"", b"s"])) == 2
    letters.purge(found)
    assert list(letters.letters()) == []
    assert len(handle_all(driver)[0]) <= 3


def test_dead_letters_without_room_in_one_reply_come_one_by_one(
    lists: RedisLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockudo_queue.drivers.redis.parser.MAX_REPLY_BYTES", 300_000)
    bodies = [b"%d" % number + b"x" * size for number, size in enumerate((200_000, 200_000, 400_000, 10))]
    lists.push(*bodies)
    driver = lists.driver()
    for body in bodies[:2]:
        claim = take(driver)
        assert (claim.body, settle(driver, claim, DeadLetter(DEAD, "unreadable"))) == (body, True)
    record = lists.client.lpop(key("ready")) or lists.client.lpop(lists.pushed)
    lists.client.hset(key("records"), "large", b"\x01" + DEAD + b"\n" + record)
    lists.client.zadd(key("dead"), {"large/1": 10**14})

    letters = list(driver.dead_letters.letters())

    assert [letter.body for letter in letters] == [*bodies[:2], b""]
    assert [letter.state for letter in letters] == [DEAD] * 3


# Queue V2


def v2_jobs(v2: RedisV2, count: int) -> set[bytes]:
    """Enqueue jobs as a server does, and return their bodies as a claim gives them."""
    bodies = set()
    for body in jobs(count):
        own = new_id()
        v2.producer.enqueue(body, job_id=own)
        bodies.add(with_job_id(body, own))
    return bodies


@pytest.mark.parametrize("part", ["attempts", "max-attempts", "tokens", "failures", "completed"])
@pytest.mark.parametrize("value", ODD_NUMBERS)
def test_number_of_another_form_on_queue_v2_stops_nothing(v2: RedisV2, part: str, value: bytes) -> None:
    odd = [v2.producer.enqueue(job(100 + number)) for number in range(3)]
    expected = v2_jobs(v2, 10)
    if part != "completed":
        for own in odd:
            v2.client.hset(v2.key(part), own, value)
    driver = v2.driver()

    first = take(driver)
    v2.advance(LEASE_SECONDS + 1)
    delivered, unreadable = handle_all(driver)

    assert first.id in odd
    assert unreadable == []
    assert {claim.id for claim in delivered} >= set(odd)
    assert {claim.body for claim in delivered} >= expected
    assert v2.is_empty()


@pytest.mark.parametrize("score", ["-inf", "-1e300", "-1.5", "0", "1.5"])
@pytest.mark.parametrize("part", ["delayed", "active", "completed"])
def test_odd_score_on_queue_v2_stops_nothing(v2: RedisV2, part: str, score: str) -> None:
    for odd in (b"", b"\xff", b"gone", b"x" * 5_000):
        v2.client.zadd(v2.key(part), {odd: score})
    own = v2.producer.enqueue(job(50), delay_ms=10_000)
    v2.client.zadd(v2.key("delayed"), {own: score})
    v2.client.zadd(v2.key("delayed"), {b"never": "inf", b"hardly ever": 1e20})
    expected = v2_jobs(v2, 5)
    driver = v2.driver()
    driver.wait(BASE, 0.01)

    delivered, unreadable = handle_all(driver)

    assert {claim.body for claim in delivered} == expected | {with_job_id(job(50), own)}
    assert unreadable == []
    assert driver.wait(BASE, 0.01) == 0


@pytest.mark.parametrize("said", ODD_NUMBERS)
def test_count_of_packed_jobs_that_is_no_number_stops_nothing(v2: RedisV2, said: bytes) -> None:
    v2.producer.enqueue_packed(jobs(5))
    v2.client.set(v2.key("inline-wait-count"), said)
    driver = v2.driver()

    assert driver.depth()["ready"] >= 0
    assert 1 <= driver.wait(BASE, 0.01) <= 1_000_000
    delivered, _ = handle_all(driver)

    assert len(delivered) == 5


@pytest.mark.parametrize("own", ["", "x" * 300])
@pytest.mark.parametrize("where", ["wait", "delayed", "active"])
def test_job_under_an_odd_id_on_queue_v2_is_kept_as_a_dead_letter(v2: RedisV2, own: str, where: str) -> None:
    payload = envelope(job(60), own)
    v2.client.hset(v2.key("jobs"), own, payload)
    v2.client.hset(v2.key("attempts"), own, "1")
    if where == "wait":
        v2.client.lpush(v2.key("wait"), own)
    else:
        v2.client.zadd(v2.key(where), {own: 1})
    expected = v2_jobs(v2, 3)
    driver = v2.driver()

    delivered, unreadable = handle_all(driver)

    assert {claim.body for claim in delivered} == expected
    assert len(unreadable) == 1
    [letter] = driver.dead_letters.letters()
    assert (letter.body, letter.state) == (payload, DEAD)
    assert driver.dead_letters.purge([letter]) == [True]
    assert v2.is_empty()


def test_job_that_is_too_large_for_queue_v2_is_kept_as_a_dead_letter(v2: RedisV2) -> None:
    own = v2.producer.enqueue(LARGE)
    expected = v2_jobs(v2, 3)
    driver = v2.driver()

    delivered, unreadable = handle_all(driver)

    assert {claim.body for claim in delivered} == expected
    assert [claim.id for claim in unreadable] == [own]
    [letter] = driver.dead_letters.letters()
    assert letter.state == DEAD
    assert LARGE[1:] in letter.body
    assert driver.dead_letters.replay([letter], [b""]) == [True]
    assert [claim.id for claim in handle_all(driver)[1]] == [own]


def test_dead_letter_that_is_too_large_to_be_read_is_replayed_with_all_its_bytes(
    v2: RedisV2, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = job(1)[:-1] + b',"more":"' + b"x" * 400_000 + b'"}'
    v2.client.hset(own_key(BASE, "records"), "large", b"\x01" + DEAD + b"\n" + body)
    v2.client.zadd(own_key(BASE, "dead"), {"large/1": 1})
    with monkeypatch.context() as patched:
        patched.setattr("sockudo_queue.drivers.redis.parser.MAX_REPLY_BYTES", 300_000)
        driver = v2.driver()
        [letter] = driver.dead_letters.letters()
        assert (letter.body, letter.state) == (b"", DEAD)
        assert driver.dead_letters.replay([letter], [b""]) == [True]

    assert take(v2.driver()).body == body


def test_stream_that_takes_no_more_events_stops_no_claim(v2: RedisV2) -> None:
    expected = v2_jobs(v2, 5)
    last = 2**64 - 1
    v2.client.execute_command("XADD", v2.key("events"), f"{last}-{last}", "event", "enqueued", "timestamp", "9" * 30)
    driver = v2.driver()

    delivered, _ = handle_all(driver)

    assert {claim.body for claim in delivered} == expected
    driver.peers.skews()


def test_token_without_a_deadline_holds_no_job(v2: RedisV2) -> None:
    expected = v2_jobs(v2, 2)
    for own in v2.client.lrange(v2.key("wait"), 0, -1):
        v2.client.hset(v2.key("tokens"), own, "word")

    assert {claim.body for claim in handle_all(v2.driver())[0]} == expected


# What may end its workers


LEASE: Final = 5.0


class Suspects:
    """Records that a dead process held, on lists or on Queue V2, and how to see how they come back."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.driver: RedisDriver = queue.driver(lease=LEASE)

    def expire(self, count: int, times: int) -> set[str]:
        """Claim `count` records, let their leases expire `times` times, and return their ids."""
        for _ in range(times):
            held = [take(self.driver) for _ in range(count)]
            self.queue.advance(LEASE + 1)
        return {claim.id for claim in held}


@pytest.fixture
def suspects(queue: RedisLists | RedisV2) -> Suspects:
    return Suspects(queue)


def test_record_whose_lease_expired_once_goes_first(suspects: Suspects) -> None:
    suspects.queue.push(*jobs(2))
    held = suspects.expire(2, 1)
    suspects.queue.push(*jobs(2, first=3))

    assert {take(suspects.driver).id for _ in range(2)} == held


def test_record_whose_lease_expired_twice_goes_behind_fresh_and_due_work(suspects: Suspects) -> None:
    suspects.queue.push(*jobs(4))
    held = suspects.expire(4, 2)
    suspects.queue.push(*jobs(3, first=5))
    due = take(suspects.driver)
    assert settle(suspects.driver, due, Retry(b"s", 0))

    claims = [take(suspects.driver) for _ in range(7)]

    assert {claim.id for claim in claims[3:]} == held
    assert [claim.lapses for claim in claims] == [0] * 3 + [2] * 4


def test_record_whose_lease_expired_twice_goes_first_after_a_minute(suspects: Suspects) -> None:
    suspects.queue.push(*jobs(2))
    held = suspects.expire(2, 2)
    suspects.queue.push(*jobs(2, first=3))
    assert take(suspects.driver).id not in held

    suspects.queue.advance(61)

    assert {take(suspects.driver).id for _ in range(2)} == held


def test_other_expired_leases_do_not_wait_behind_it(suspects: Suspects) -> None:
    suspects.queue.push(*jobs(3))
    held = suspects.expire(3, 2)
    suspects.queue.push(*jobs(1, first=4))
    once = take(suspects.driver)
    suspects.queue.advance(LEASE + 1)
    suspects.queue.push(*jobs(1, first=5))

    claims = [take(suspects.driver) for _ in range(5)]

    assert claims[0].id == once.id
    assert claims[0].lapses == 1
    assert {claim.id for claim in claims[2:]} == held


def test_requeued_suspect_waits_its_turn(suspects: Suspects) -> None:
    suspects.queue.push(*jobs(1))
    suspects.expire(1, 2)
    claim = take(suspects.driver)
    assert claim.lapses == 2
    suspects.queue.push(*jobs(1, first=2))
    assert settle(suspects.driver, claim, Requeue())

    again = [take(suspects.driver) for _ in range(2)]

    assert {each.lapses for each in again} == {0, 2}


def test_claims_stay_cheap_with_many_suspects(suspects: Suspects) -> None:
    """However many records wait, a claim looks at a few of them."""
    suspects.queue.push(*jobs(200))
    suspects.expire(200, 2)
    suspects.queue.push(*jobs(2, first=201))
    counted = suspects.queue.client.info("commandstats")
    before = _calls(counted)

    assert take(suspects.driver).lapses == 0

    assert _calls(suspects.queue.client.info("commandstats")) - before < 80


def _calls(stats: dict[str, Any]) -> int:
    return sum(int(each["calls"]) for each in stats.values())
