"""Every form in which a producer of Queue V2 may write jobs: plain, delayed, packed, bare, malformed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sockudo_queue.drivers.base import Requeue, Retry, Settlement
from sockudo_queue.drivers.redis.queue_v2 import v2_base
from tests.drivers.conformance import bodies_of, deliver_all, is_idle, settle, take, take_all
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.jobs import job, jobs
from tests.helpers.queue_v2 import b_frame, envelope, j_record, new_id, with_job_id

NOT_UTF8 = b'{"app_id":"\xff"}'


@pytest.mark.parametrize(
    ("prefix", "queue", "base"),
    [
        ("sockudo_queue:", "webhooks", BASE),
        ("myapp", "webhooks", "myapp:v2:{webhooks}"),
        (" my app::: ", "webhooks", "my app:v2:{webhooks}"),
        ("a:b", "web hooks/ü", "a:b:v2:{web%20hooks%2F%C3%BC}"),
        ("a", "A.b_c-d:e", "a:v2:{A.b_c-d:e}"),
        ("", "webhooks", None),
        (" :: ", "webhooks", None),
        ("a{b}", "webhooks", None),
        ("a}", "webhooks", None),
    ],
)
def test_the_keys_of_a_prefix(prefix: str, queue: str, base: str | None) -> None:
    assert v2_base(prefix, queue) == base


def test_plain_jobs_come_in_order_with_their_own_ids(v2: RedisV2) -> None:
    ids = [v2.producer.enqueue(body) for body in jobs(5)]

    claims = take_all(v2.driver())

    assert [claim.id for claim in claims] == ids
    assert bodies_of(claims) == [with_job_id(body, own) for body, own in zip(jobs(5), ids, strict=True)]
    assert {claim.source for claim in claims} == {BASE}


def test_a_delayed_job_comes_when_it_is_due(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1), delay_ms=3_000)
    driver = v2.driver()
    assert is_idle(driver)
    assert driver.depth()["delayed"] == 1
    v2.advance(3.1)
    assert take(driver).lapses == 0


def test_packed_jobs_come_after_plain_ones_and_in_order(v2: RedisV2) -> None:
    first, second = jobs(5), jobs(3, first=10)
    ids = [*v2.producer.enqueue_packed(first), *v2.producer.enqueue_packed(second)]
    plain = v2.producer.enqueue(job(99))
    driver = v2.driver()
    assert driver.depth()["ready"] == 9

    claims = deliver_all(driver)

    assert [claim.id for claim in claims] == [plain, *ids]
    assert bodies_of(claims)[1:] == [with_job_id(b, i) for b, i in zip([*first, *second], ids, strict=True)]
    assert v2.client.get(v2.key("inline-wait-count")) == b"0"
    assert v2.is_empty()


def test_a_large_frame_is_unpacked_bit_by_bit(v2: RedisV2) -> None:
    ids = v2.producer.enqueue_packed(jobs(2_500))
    driver = v2.driver()

    claims = [take(driver)]
    left = v2.client.get(v2.key("inline-wait-count"))
    frame = v2.client.lindex(v2.key("inline-wait"), -1)
    claims += deliver_all(driver)

    assert left == b"1500"
    assert (frame[:1], int.from_bytes(frame[1:5], "big")) == (b"B", 1_500)
    assert [claim.id for claim in claims] == ids
    assert settle(driver, claims[0])
    assert v2.is_empty()


def test_a_single_record_may_be_an_element_of_its_own(v2: RedisV2) -> None:
    own = new_id()
    v2.producer.enqueue_frame(j_record(own.encode(), job(1)), 1)
    driver = v2.driver()
    assert driver.peek() == [job(1)]
    claim = take(driver)
    assert (claim.id, claim.body) == (own, job(1))
    assert v2.client.get(v2.key("inline-wait-count")) == b"0"


def test_a_record_whose_id_is_known_is_a_duplicate(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    other = new_id()
    v2.producer.enqueue_frame(b_frame([j_record(own.encode(), job(2)), j_record(other.encode(), job(3))]), 2)

    claims = take_all(v2.driver())

    assert [claim.id for claim in claims] == [own, other]
    assert claims[1].body == job(3)
    assert with_job_id(job(1), own) in v2.client.hget(v2.key("jobs"), own)
    assert v2.client.hget(v2.key("attempts"), own) == b"1"


@pytest.mark.parametrize(
    "frame",
    [
        b"J" + b"x" * 32,
        b"J",
        b"B",
        b"B\x00\x00",
        b"B\x00\x00\x00\x02" + (40).to_bytes(4, "big") + b"J" + b"i" * 32 + b"{}",
        b_frame([b"J" + b"i" * 32 + b"{}", b"X" + b"k" * 32 + b"{}"]),
        b_frame([b"J" + b"i" * 32]),
        b_frame([b"J" + b"i" * 32 + b"{}"], 3),
        b"",
        b"\xff\x00rubbish",
        b"\xff\xff\xff\xff\xff",
    ],
)
def test_a_broken_frame_is_one_job_with_all_its_bytes(v2: RedisV2, frame: bytes) -> None:
    v2.producer.enqueue_frame(frame, 2)
    v2.producer.enqueue_packed(jobs(1))
    driver = v2.driver()

    claim = take(driver)

    assert claim.body == frame
    assert len(claim.id) == 32
    assert settle(driver, claim)
    assert len(deliver_all(driver)) == 1
    assert int(v2.client.get(v2.key("inline-wait-count"))) >= 0
    assert v2.is_empty()


def test_an_empty_frame_holds_nothing(v2: RedisV2) -> None:
    v2.producer.enqueue_frame(b_frame([]), 0)
    assert is_idle(v2.driver())
    assert v2.is_empty()


def test_packed_jobs_that_are_no_utf8_are_kept_as_text_and_come_byte_for_byte(v2: RedisV2) -> None:
    odd = [NOT_UTF8, bytes(range(256)) * 4, b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"ok\x80"]
    fine = ["ü".encode(), "\U0001f600 \u2028".encode(), "\ud7ff\ue000\uffff\U0010ffff".encode(), b"\x7f\x00"]
    bodies = [*odd, *fine]
    ids = [new_id() for _ in bodies]
    v2.producer.enqueue_frame(b_frame([j_record(i.encode(), b) for i, b in zip(ids, bodies, strict=True)]), len(bodies))
    driver = v2.driver()

    claims = take_all(driver)
    stored = [v2.client.hget(v2.key("jobs"), claim.id) for claim in claims]

    assert bodies_of(claims) == bodies
    assert stored[len(odd) :] == fine
    for text in stored:
        text.decode()  # or a server's own worker fails on all that it claims


def test_bare_and_odd_payloads_come_byte_for_byte(v2: RedisV2) -> None:
    own = new_id()
    payloads = {
        own: job(1),
        new_id(): NOT_UTF8,
        new_id(): b"",
        new_id(): b"null",
        new_id(): envelope(job(2), "another"),
        new_id(): envelope(NOT_UTF8, own),
    }
    for job_id, payload in payloads.items():
        v2.producer.enqueue_payload(payload, job_id)

    assert {claim.id: claim.body for claim in take_all(v2.driver())} == payloads


@pytest.mark.parametrize("job_id", ["a", "a/b/c", "a b", "ü", "%41", b"\xff\x00\n", "x" * 255, "a:b.c_d-e", "{}"])
def test_any_id_is_claimed_and_settled(v2: RedisV2, job_id: str | bytes) -> None:
    v2.producer.enqueue_payload(job(1), job_id)
    driver = v2.driver()
    claim = take(driver)
    assert claim.id.isascii()
    assert " " not in claim.id
    assert claim.id.isprintable()
    assert driver.renew([claim]) == [True]
    assert settle(driver, claim, Retry(b"s", 0))
    again = take(driver)
    assert (again.id, again.body, again.state) == (claim.id, job(1), b"s")
    assert settle(driver, again, Retry(b"a", 0), splits=True)
    share = take(driver)
    assert share.id == f"{claim.id}.0"
    assert settle(driver, share)
    assert v2.is_empty()


def test_different_ids_are_never_shown_as_equal(v2: RedisV2) -> None:
    for job_id in ("%41", "A", "%2541"):
        v2.producer.enqueue_payload(job(1), job_id)
    assert len({claim.id for claim in take_all(v2.driver())}) == 3


def test_a_share_is_a_job_that_a_server_could_read(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    driver = v2.driver()
    settle(driver, take(driver), Retry(b"one", 1_000), Requeue(b"two"), splits=True)

    payloads = {key.decode(): json.loads(text) for key, text in v2.client.hgetall(v2.key("jobs")).items()}

    assert set(payloads) == {f"{own}.0", f"{own}.1"}
    for payload in payloads.values():
        assert payload["job_id"] == own  # the same for all shares and tries
        assert list(payload)[-1] == "sockudo_queue"
    assert v2.client.hget(v2.key("attempts"), f"{own}.0") == b"0"


def test_split_with_an_unchanged_state_keeps_the_state(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    driver = v2.driver()
    settle(driver, take(driver), Retry(b"", 0), splits=True)
    share = take(driver)
    assert (share.id, share.state, share.body) == (f"{own}.0", b"", with_job_id(job(1), own))


def test_a_wake_up_word_wakes_and_stale_ones_are_cleared(v2: RedisV2) -> None:
    driver = v2.driver()
    for body in jobs(20):
        v2.producer.enqueue(body)
    deliver_all(driver)
    assert v2.client.llen(v2.key("notify")) == 20

    assert driver.wait(BASE, 0.01) == 0

    assert v2.client.llen(v2.key("notify")) == 0


def test_ids_that_may_not_be_claimed_are_passed_over(v2: RedisV2) -> None:
    held, done, gone, good = (v2.producer.enqueue(body) for body in jobs(4))
    v2.client.hset(v2.key("tokens"), held, "theirs")
    v2.client.zadd(v2.key("active"), {held: 9e15})
    v2.client.zadd(v2.key("completed"), {done: 1})
    v2.client.hdel(v2.key("jobs"), gone)
    driver = v2.driver(completed=10)

    assert take(driver).id == good
    assert is_idle(driver)
    assert v2.client.hget(v2.key("tokens"), held) == b"theirs"


def _claimed_by_a_worker(v2: RedisV2, job_id: str) -> None:
    v2.client.hset(v2.key("tokens"), job_id, "theirs")
    v2.client.zadd(v2.key("active"), {job_id: 9e15})


def _completed(v2: RedisV2, job_id: str) -> None:
    v2.client.zadd(v2.key("completed"), {job_id: 1})


def _without_payload(v2: RedisV2, job_id: str) -> None:
    v2.client.hdel(v2.key("jobs"), job_id)


def _claimed_before(v2: RedisV2, job_id: str) -> None:
    v2.client.hset(v2.key("attempts"), job_id, 1)


def _too_long(v2: RedisV2, job_id: str) -> None:
    v2.client.linsert(v2.key("wait"), "BEFORE", job_id, "x" * 10_000)


def _listed_twice(v2: RedisV2, job_id: str) -> None:
    v2.client.linsert(v2.key("wait"), "BEFORE", job_id, job_id)


@pytest.mark.parametrize(
    ("change", "first_part"),
    [
        (_claimed_by_a_worker, 3),
        (_completed, 3),
        (_without_payload, 3),
        (_claimed_before, 3),
        (_listed_twice, 4),
        (_too_long, 4),
    ],
)
def test_batch_ends_at_a_job_that_is_not_fresh(v2: RedisV2, change: Callable[..., None], first_part: int) -> None:
    ids = [v2.producer.enqueue(body) for body in jobs(40)]
    change(v2, ids[3])
    driver = v2.driver(completed=10)

    claims = driver.next_batch([], 16).claims

    assert [claim.id for claim in claims] == ids[:first_part]
    assert v2.client.zcard(v2.key("active")) == first_part + (change is _claimed_by_a_worker)
    claims = driver.next_batch([], 16).claims
    is_alone = change is _claimed_before
    assert [claim.id for claim in claims] == (ids[3:4] if is_alone else ids[4:20])


def test_a_batch_takes_few_commands_for_each_job(v2: RedisV2) -> None:
    v2.push(*jobs(100))
    driver = v2.driver(completed=10)
    claims = driver.next_batch([], 16).claims
    v2.client.config_resetstat()

    driver.next_batch([Settlement(claim) for claim in claims], 16)

    calls = {name: figures["calls"] for name, figures in v2.client.info("commandstats").items()}
    assert calls.pop("cmdstat_xadd") == 32, "an event for each end and each claim"
    assert sum(calls.values()) <= 2 * 16 + 40


def test_keys_of_other_queues_are_left_alone(v2: RedisV2) -> None:
    other = "sockudo_queue:v2:{push.publish.v1}:jobs"
    v2.client.hset(other, "x", "y")
    v2.producer.enqueue(job(1))
    driver = v2.driver()
    assert driver.next(Settlement(take(driver))).claim is None
    assert v2.keys() == {other}
