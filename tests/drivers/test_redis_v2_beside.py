"""Queue V2 beside Sockudo's own workers: separate claims, their attempt limit, and the data they need."""

from __future__ import annotations

import pytest

from sockudo_queue.drivers.base import DeadLetter, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis.queue_v2 import V2_PARTS
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused
from tests.drivers.conformance import LEASE_SECONDS, deliver_all, is_idle, settle, take, take_all
from tests.drivers.redis_lists import full, link_to
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.jobs import job, jobs
from tests.helpers.queue_v2 import Worker


def published_events(v2: RedisV2) -> list[tuple[str, str]]:
    """Return the events of the stream: what happened to whom."""
    entries = [fields for _, fields in v2.client.xrange(v2.key("events"))]
    assert all(set(fields) == {b"event", b"job_id", b"timestamp"} for fields in entries)
    return [(fields[b"event"].decode(), fields[b"job_id"].decode()) for fields in entries]


def test_daemon_and_worker_do_not_claim_each_others_jobs(v2: RedisV2) -> None:
    theirs_id, ours_id = v2.producer.enqueue(job(1)), v2.producer.enqueue(job(2))
    worker, driver = Worker(v2.client), v2.driver()
    [theirs] = worker.claim(limit=1)
    ours = take(driver)

    assert (theirs.id, ours.id) == (theirs_id, ours_id)
    assert worker.claim() == []
    assert is_idle(driver)
    assert worker.ack(theirs)
    assert settle(driver, ours)


def test_a_lapsed_claim_of_a_worker_is_taken_over_and_its_late_ack_is_refused(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    [theirs] = worker.claim()
    v2.advance(31)

    ours = take(driver)

    assert (ours.id, ours.lapses) == (theirs.id, 1)
    assert not worker.ack(theirs)
    assert worker.nack(theirs) == 0
    assert settle(driver, ours)


def test_a_lapsed_claim_of_ours_is_taken_over_by_a_worker_and_our_late_settle_is_refused(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    ours = take(driver)
    v2.advance(LEASE_SECONDS + 1)

    [theirs] = worker.claim()

    assert theirs.id == ours.id
    assert driver.renew([ours]) == [False]
    assert not settle(driver, ours, Retry(b"s", 0))
    assert not driver.next(Settlement(ours)).accepted
    assert worker.ack(theirs)


def test_what_a_worker_gives_back_comes_to_us(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    assert worker.nack(worker.claim()[0], delay_ms=5_000) == 1
    assert is_idle(driver)
    v2.advance(5.1)
    assert settle(driver, take(driver))
    assert not v2.client.hlen(v2.key("failures"))


def test_deferred_job_never_reaches_the_attempt_limit_of_a_worker(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    for _ in range(12):
        claim = take(driver)
        assert (claim.id, claim.lapses) == (own, 0)
        assert settle(driver, claim, Retry(b"s", 1_000))
        assert worker.claim() == []
        v2.advance(1)
    [theirs] = worker.claim()
    assert theirs.attempts == 1
    assert theirs.data["job_id"] == own
    assert v2.client.zcard(v2.key("dlq")) == 0


def test_putting_back_counts_no_attempt(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    for _ in range(12):
        assert settle(driver, take(driver), Requeue())
    [theirs] = worker.claim()
    assert theirs.attempts == 1


def test_the_trimming_of_a_worker_spares_our_dead_letters(v2: RedisV2) -> None:
    worker, driver = Worker(v2.client, dlq_kept=0), v2.driver()
    for body in jobs(4):
        v2.producer.enqueue(body)
    for claim in take_all(driver):
        assert settle(driver, claim, DeadLetter(b"d", "exhausted"))
    v2.producer.enqueue(job(9))
    worker.nack(worker.claim()[0], forced=True)
    worker.claim()

    assert len(v2.dead_letters()) == 4
    assert v2.client.zcard(v2.key("dlq")) == 0


def test_a_worker_can_go_on_with_what_we_put_off(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    worker, driver = Worker(v2.client), v2.driver()
    settle(driver, take(driver), Retry(b"a", 0), Retry(b"b", 0), splits=True)

    leases = worker.claim()

    assert sorted(lease.id for lease in leases) == [f"{own}.0", f"{own}.1"]
    assert all(lease.data["app_id"] == "shop" for lease in leases)
    assert all(worker.ack(lease) for lease in leases)


def test_a_worker_can_read_what_we_unpacked(v2: RedisV2) -> None:
    ids = v2.producer.enqueue_packed(jobs(3))
    worker, driver = Worker(v2.client), v2.driver()
    ours = take(driver)

    leases = worker.claim()

    assert [ours.id, *(lease.id for lease in leases)] == ids
    assert all(lease.data["job_id"] == lease.id for lease in leases)


def test_a_producer_that_repeats_itself_is_recognised(v2: RedisV2) -> None:
    driver = v2.driver(completed=5)
    kept = [v2.producer.enqueue(body) for body in jobs(4)]
    payloads = v2.client.hgetall(v2.key("jobs"))
    first, second, third, fourth = take_all(driver)
    assert settle(driver, first)
    assert settle(driver, second, Retry(b"s", 0), splits=True)
    assert settle(driver, third, Retry(b"s", 0), DeadLetter(b"d", "refused"), splits=True)
    assert settle(driver, fourth)

    assert [v2.producer.enqueue_payload(payloads[own.encode()], own) for own in kept] == [0, 0, 0, 0]
    assert {claim.id for claim in deliver_all(driver)} == {f"{kept[1]}.0", f"{kept[2]}.0"}


def test_the_shares_of_an_id_that_is_used_again_are_not_taken_for_done(v2: RedisV2) -> None:
    driver = v2.driver(completed=10)
    for _ in range(2):
        v2.producer.enqueue(job(1), job_id="again")
        settle(driver, take(driver), Retry(b"s", 0), splits=True)
        share = take(driver)
        assert share.id == "again.0"
        assert settle(driver, share)
        v2.client.zrem(v2.key("completed"), "again")  # as if others had pushed it out of what is kept
        v2.client.hdel(v2.key("jobs"), "again")


def test_completed_jobs_are_kept_up_to_the_retention_and_no_longer(v2: RedisV2) -> None:
    driver = v2.driver(completed=3)
    ids = [v2.producer.enqueue(body) for body in jobs(5)]
    deliver_all(driver)

    kept = v2.client.zrange(v2.key("completed"), 0, -1)
    assert len(kept) == 3
    assert set(kept) < {own.encode() for own in ids}
    assert set(v2.client.hkeys(v2.key("jobs"))) == set(kept)
    assert v2.client.hlen(v2.key("attempts")) == 3
    v2.producer.enqueue(job(9))
    deliver_all(v2.driver(completed=0))
    assert v2.is_empty()


def test_events_are_published_as_a_server_publishes_them(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    driver = v2.driver()
    settle(driver, take(driver), Retry(b"s", 0))
    settle(driver, take(driver), Requeue())
    take(driver)
    v2.advance(LEASE_SECONDS + 1)
    settle(driver, take(driver), DeadLetter(b"d", "exhausted"))
    driver.dead_letters.replay(list(driver.dead_letters.letters()), [b"again"])
    deliver_all(driver)

    names = [
        "enqueued",
        "active",
        "retrying",
        "active",
        "waiting",
        "active",
        "stalled",
        "active",
        "failed",
        "replayed",
        "active",
        "completed",
    ]
    assert published_events(v2) == [(name, own) for name in names]


def test_a_stream_is_neither_made_nor_grown_without_bound(v2: RedisV2) -> None:
    v2.producer.enqueue(job(1))
    deliver_all(v2.over(link_to(v2.server.port), events=0))
    assert [name for name, _ in published_events(v2)] == ["enqueued"]
    v2.client.delete(v2.key("events"))
    v2.push(job(2))
    v2.client.delete(v2.key("events"))
    deliver_all(v2.driver())
    assert not v2.client.exists(v2.key("events"))


def test_a_replay_of_a_job_that_a_server_has_completed_comes_back(v2: RedisV2) -> None:
    own = v2.producer.enqueue(job(1))
    driver = v2.driver(completed=5)
    settle(driver, take(driver), DeadLetter(b"d", "exhausted"))
    v2.client.zadd(v2.key("completed"), {own: 1})
    assert driver.dead_letters.replay(list(driver.dead_letters.letters()), [b"s"]) == [True]
    assert take(driver).state == b"s"


class TestFull:
    """The limit is below what is used, so the server refuses every command that could need memory."""

    def test_everything_can_still_be_delivered(self, v2: RedisV2) -> None:
        ids = [v2.producer.enqueue(body) for body in jobs(100)]
        ids += v2.producer.enqueue_packed(jobs(100, first=200))
        full(v2.client)
        driver = v2.driver(completed=10)
        driver.wait(BASE, 0.01)

        assert [claim.id for claim in deliver_all(driver)] == ids

    def test_claims_can_end_in_every_way(self, v2: RedisV2) -> None:
        for body in jobs(5):
            v2.producer.enqueue(body)
        full(v2.client)
        driver = v2.driver()
        claims = take_all(driver)
        assert driver.renew(claims) == [True] * 5
        assert settle(driver, claims[0])
        assert settle(driver, claims[1], Retry(b"s", 0))
        assert settle(driver, claims[2], Requeue())
        assert settle(driver, claims[3], DeadLetter(b"d", "exhausted"))
        assert settle(driver, claims[4], Retry(b"a", 0), Retry(b"b", 0), splits=True)
        assert len(deliver_all(driver)) == 4
        assert driver.dead_letters.replay(list(driver.dead_letters.letters()), [b"s"]) == [True]
        assert take(driver).state == b"s"


@pytest.mark.parametrize("part", [*V2_PARTS, "dead", "records"])
def test_a_key_of_another_type_is_a_refusal_and_loses_nothing(v2: RedisV2, part: str) -> None:
    ids = {v2.producer.enqueue(body) for body in jobs(3)}
    ids |= set(v2.producer.enqueue_packed(jobs(2, first=9)))
    driver = v2.driver(completed=2)
    claims = [take(driver), take(driver)]
    key = own_key(BASE, part) if part in ("dead", "records") else v2.key(part)
    if v2.client.exists(key):
        v2.client.rename(key, f"aside:{{{BASE}}}")
    v2.client.set(key, "of another type") if part != "inline-wait-count" else v2.client.lpush(key, "of another type")

    for attempt in (
        lambda: driver.next(None),
        lambda: driver.settle([Settlement(claims[0], (Retry(b"a", 0), DeadLetter(b"b", "x")), splits=True)]),
        lambda: driver.settle([Settlement(claims[1], (Requeue(),))]),
        lambda: driver.wait(BASE, 0.01),
        lambda: take_all(driver) and None,
    ):
        try:
            attempt()
        except BrokerRefused as refusal:
            assert "wrong kind of value" in str(refusal)  # noqa: PT017
    v2.client.delete(key)
    if v2.client.exists(f"aside:{{{BASE}}}"):
        v2.client.rename(f"aside:{{{BASE}}}", key)

    v2.advance(3600)
    came = {claim.id.partition(".")[0] for claim in deliver_all(v2.driver())}
    came |= {letter.id.partition(".")[0] for letter in v2.dead_letters()}
    assert came >= ids, "a job is gone"


COMMANDS = ("hset", "hdel", "hincrby", "zadd", "zrem", "lpush", "rpop", "lset", "xadd", "ltrim", "decrby", "zpopmin")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_forbidden_command_is_a_refusal_and_loses_nothing(v2: RedisV2, command: str) -> None:
    ids = {v2.producer.enqueue(body) for body in jobs(4)}
    ids |= set(v2.producer.enqueue_packed(jobs(2, first=9)))
    v2.client.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", f"-{command}"])
    driver = v2.over(link_to(v2.server.port, username="narrow", password="pw"), retention=1)
    free = v2.driver()
    claims = [take(free), take(free)]

    for attempt in (
        lambda: driver.wait(BASE, 0.01),
        lambda: driver.next(None),
        lambda: driver.settle([Settlement(claims[0], (DeadLetter(b"a", "x"), Retry(b"b", 0)), splits=True)]),
        lambda: driver.next(Settlement(claims[1], (Retry(b"s", 0),))),
        lambda: driver.renew(claims),
        lambda: take_all(driver) and None,
    ):
        try:
            attempt()
        except BrokerRefused as refusal:
            assert "permission" in str(refusal).lower() or "can't run this command" in str(refusal)  # noqa: PT017

    v2.advance(3600)
    came = {claim.id.partition(".")[0] for claim in deliver_all(free)}
    came |= {letter.id.partition(".")[0] for letter in v2.dead_letters()}
    assert came >= ids, "a job is gone"
