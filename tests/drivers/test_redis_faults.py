"""Faults of a Redis server: full, refusing, loading, failing over, restarting, hanging."""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from redis.exceptions import ResponseError

from sockudo_queue.drivers.base import DeadLetter, Hold, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.errors import ServerRefused, first_line
from sockudo_queue.drivers.redis.link import RedisLink, parser_of
from sockudo_queue.drivers.redis.lists import KEY_PARTS
from sockudo_queue.drivers.redis.source import FURTHER, own_key
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable
from tests.drivers.conformance import Kept, deliver_all, is_idle, settle, take, take_all
from tests.drivers.redis_lists import SOURCES, RedisLists, full, link_to
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.descriptors import no_descriptors_left
from tests.helpers.jobs import jobs
from tests.helpers.redis_binaries import KINDS, ServerKind
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer, is_busy
from tests.helpers.waiting import eventually


def test_member_that_is_not_a_receipt_blocks_no_other(lists: RedisLists) -> None:
    for part in ("active", "delayed"):
        lists.client.zadd(own_key(lists.pushed, part), {"astray": 1, "astray too/": 1})
    lists.push(*jobs(1))
    driver = lists.driver()
    assert [claim.body for claim in deliver_all(driver)] == jobs(1)
    assert lists.is_empty()


def test_a_lack_of_descriptors_is_an_outage_and_kills_no_thread(lists: RedisLists) -> None:
    lists.push(*jobs(1))
    driver = lists.driver()
    with no_descriptors_left():
        for ask in (lambda: driver.next(None), lambda: driver.wait(SOURCES[0], 0.01), driver.depth):
            with pytest.raises(BrokerUnavailable, match="Too many open files"):
                ask()
    assert take(driver).body == jobs(1)[0]


class TestFull:
    """The limit is below what is used, so the server refuses every command that could need memory."""

    def test_everything_can_still_be_delivered(self, lists: RedisLists) -> None:
        lists.push(*jobs(600))
        full(lists.client)
        driver = lists.driver()
        for source in SOURCES:
            driver.wait(source, 0.01)

        delivered = deliver_all(driver)

        assert [claim.body for claim in delivered] == jobs(600)
        assert lists.is_empty()

    def test_claims_can_end_in_every_way(self, lists: RedisLists) -> None:
        lists.push(*jobs(6), b"\x01 odd")
        full(lists.client)
        driver = lists.driver()
        claims = take_all(driver)
        assert driver.renew(claims) == [True] * 7

        assert settle(driver, claims[0])
        assert settle(driver, claims[1], Retry(b"s", 0))
        assert settle(driver, claims[2], Requeue())
        assert settle(driver, claims[3], Requeue(b"s", lapsed=True))
        assert settle(driver, claims[4], DeadLetter(b"d", "exhausted"))
        assert settle(driver, claims[5], Retry(b"a", 0), Retry(b"b", 0), splits=True)
        lists.client.config_set("maxmemory", 0)
        lists.advance(3600)
        full(lists.client)

        one, two, three, four, five, six = jobs(6)
        rest = [claim.body for claim in deliver_all(driver)]
        assert sorted(rest) == sorted([two, three, four, six, six, b"\x01 odd"])
        assert [kept.body for kept in lists.dead_letters()] == [five]
        assert one not in rest

    def test_notifier_wakes_and_raises_nothing(self, lists: RedisLists) -> None:
        driver = lists.driver()
        driver.wait(SOURCES[0], 0.01)
        full(lists.client)
        for _ in range(3):
            assert driver.wait(SOURCES[0], 0.2) == 0
        lists.client.config_set("maxmemory", 0)
        lists.push(*jobs(2))
        full(lists.client)

        assert eventually(lambda: driver.wait(SOURCES[0], 1.0)) == 2


@pytest.mark.parametrize("part", KEY_PARTS)
def test_a_key_of_another_type_is_a_refusal_and_loses_nothing(lists: RedisLists, part: str) -> None:
    lists.push(*jobs(4))
    driver = lists.driver()
    claims = [take(driver), take(driver), take(driver)]
    key = own_key(lists.pushed, part)
    if lists.client.exists(key):
        lists.client.rename(key, "aside")
    lists.client.set(key, "of another type")

    refusals = []
    for attempt in (
        lambda: driver.next(None),
        lambda: driver.next(None),
        lambda: driver.settle([Settlement(claims[0], (Retry(b"a", 0), DeadLetter(b"b", "x")), splits=True)]),
        lambda: driver.settle([Settlement(claims[1], (Requeue(),))]),
        lambda: driver.settle([Settlement(claims[2], (Hold(b"h", "app", "webhook"),))]),
        lambda: driver.wait(lists.pushed, 0.01),
        lambda: driver.wait(lists.pushed, 0.01),
    ):
        try:
            attempt()
        except BrokerRefused as refusal:
            refusals.append(str(refusal))
    lists.client.delete(key)
    if lists.client.exists("aside"):
        lists.client.rename("aside", key)

    assert refusals or part == FURTHER  # that is no more than a note for older versions
    assert all("wrong kind of value" in refusal for refusal in refusals)
    driver.release(())
    lists.advance(3600)
    bodies = [claim.body for claim in deliver_all(lists.driver())] + [kept.body for kept in lists.dead_letters()]
    assert set(bodies) == set(jobs(4)), "a job is gone"


# Every write in the scripts, and BLMOVE, as a careful operator may forget it.
COMMANDS = ("hset", "zadd", "zrem", "ltrim", "rpush", "hdel", "zpopmin", "hincrby")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_forbidden_command_is_a_refusal_and_loses_nothing(lists: RedisLists, command: str) -> None:
    lists.push(*jobs(4))
    lists.client.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", f"-{command}"])
    driver = lists.over(link_to(lists.server.port, username="narrow", password="pw"), retention=1)
    free = lists.driver()
    claims = [take(free), take(free)]

    for attempt in (
        lambda: driver.wait(lists.pushed, 0.01),
        lambda: driver.next(None),
        lambda: driver.settle([Settlement(claims[0], (DeadLetter(b"a", "x"), Retry(b"b", 0)), splits=True)]),
        lambda: driver.next(Settlement(claims[1], (Retry(b"s", 0),))),
        lambda: driver.renew(claims),
    ):
        try:
            attempt()
        except BrokerRefused as refusal:
            assert "permission" in str(refusal).lower() or "can't run this command" in str(refusal)  # noqa: PT017

    lists.advance(3600)
    bodies = [claim.body for claim in deliver_all(free)] + [kept.body for kept in lists.dead_letters()]
    assert set(bodies) == set(jobs(4)), "a job is gone"


def test_a_user_without_blmove_polls(lists: RedisLists) -> None:
    lists.client.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-@blocking"])
    driver = lists.over(link_to(lists.server.port, username="narrow", password="pw"))
    driver.wait(SOURCES[0], 0.01)
    assert driver.wait(SOURCES[0], 0.1) == 0
    lists.push(b"job")

    assert eventually(lambda: driver.wait(SOURCES[0], 1.0)) == 1


def test_a_user_without_scripts_is_refused(lists: RedisLists) -> None:
    lists.client.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-evalsha"])
    driver = lists.over(link_to(lists.server.port, username="narrow", password="pw"))
    lists.push(b"job")

    with pytest.raises(BrokerRefused, match="permission"):
        driver.next(None)
    with pytest.raises(BrokerRefused, match="permission"):
        driver.wait(SOURCES[0], 0.01)
    driver.ping()


def test_the_source_of_another_type_is_a_refusal(lists: RedisLists) -> None:
    for source in SOURCES:
        lists.client.set(source, "not a list")
    driver = lists.driver()

    error = "WRONGTYPE Operation against a key holding the wrong kind of value"  # nothing of our script
    with pytest.raises(BrokerRefused, match=f"^{error}$|^{SOURCES[0]}: {error}$"):
        driver.next(None)
    for _ in range(2):  # the second does wait
        with pytest.raises(BrokerRefused, match=f"^{SOURCES[0]}: {error}$"):
            driver.wait(SOURCES[0], 0.1)


def test_scripts_are_loaded_again_when_the_server_forgets_them(lists: RedisLists) -> None:
    lists.push(*jobs(3))
    driver = lists.driver()
    delivered = []
    result = driver.next(None)
    while result.claim is not None:
        delivered.append(result.claim.body)
        lists.client.script_flush()
        assert driver.renew([result.claim]) == [True]
        lists.client.script_flush()
        assert driver.wait(SOURCES[0], 0.001) >= 0
        lists.client.script_flush()
        result = driver.next(Settlement(result.claim))
        assert result.accepted

    assert delivered == jobs(3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": "WRONG-CANARY"},
        {"username": "nobody", "password": "WRONG-CANARY"},
        {},
    ],
    ids=["wrong password", "unknown user", "no password"],
)
def test_a_refused_login_says_so_without_the_password(arguments: dict[str, str], cleanup: ExitStack) -> None:
    with RedisServer(password="RIGHT-CANARY") as server:
        driver = RedisLists(server, cleanup).over(link_to(server.port, **arguments))  # type: ignore[arg-type]
        for ask in (driver.ping, driver.depth, lambda: driver.next(None), lambda: driver.wait(SOURCES[0], 0.01)):
            with pytest.raises(BrokerRefused, match="authentication failed") as caught:
                ask()
            shown = "".join(traceback.format_exception(caught.value))
            assert "CANARY" not in shown + repr(caught.value)


def test_a_right_password_lets_in(cleanup: ExitStack) -> None:
    with RedisServer(password="right") as server:
        lists = RedisLists(server, cleanup)
        lists.push(b"job")
        assert take(lists.over(link_to(server.port, password="right"))).body == b"job"


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_is_unavailable_until_it_is_a_master(kind: ServerKind, cleanup: ExitStack) -> None:
    with RedisServer(kind) as server:
        lists = RedisLists(server, cleanup)
        lists.push(*jobs(2))
        driver = lists.driver()
        claim = take(driver)
        lists.client.replicaof("127.0.0.1", 1)
        connections = lists.client.info("stats")["total_connections_received"]

        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                driver.next(Settlement(claim))
        # A connection to what has been demoted is of no use, so each try makes a new one and may reach the master.
        assert lists.client.info("stats")["total_connections_received"] >= connections + 1

        lists.client.replicaof("NO", "ONE")
        assert driver.next(Settlement(claim)).accepted


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_replicas_are_one_fault_of_the_whole_server_or_none(kind: ServerKind, cleanup: ExitStack) -> None:
    """Redis 6.0 refuses single commands alone then, of which we use none that it takes to deliver."""
    with RedisServer(kind) as server:
        lists = RedisLists(server, cleanup)
        lists.push(*jobs(2))
        driver = lists.driver()
        claim = take(driver)
        lists.client.config_set("min-replicas-to-write", 1)
        if kind is ServerKind.REDIS_6_0:
            beside = RedisV2(server, cleanup).driver()
            for _ in range(2):  # the second wait is one in the server
                beside.wait(BASE, 0.1)
        for key in SOURCES * 2:
            if kind is ServerKind.REDIS_6_0:
                driver.wait(key, 0.1)
                continue
            with pytest.raises(ServerRefused, match=r"^NOREPLICAS Not enough good replicas to write\.$"):
                driver.wait(key, 0.1)
            with pytest.raises(ServerRefused, match=r"^NOREPLICAS Not enough good replicas to write\.$"):
                driver.settle([Settlement(claim)])

        lists.client.config_set("min-replicas-to-write", 0)
        assert settle(driver, claim)
        assert [it.body for it in deliver_all(driver)] == jobs(2)[1:]


def test_busy_server_is_one_fault_of_all_sources(lists: RedisLists) -> None:
    lists.push(*jobs(1))
    driver = lists.driver()
    driver.wait(SOURCES[0], 0.01)  # connects
    lists.client.config_set("lua-time-limit", 10)
    with ThreadPoolExecutor(1) as threads, lists.server.client(socket_timeout=60.0) as other:
        endless = threads.submit(other.eval, "while true do end", 0)
        try:
            eventually(lambda: is_busy(lists.client))
            for ask in (lambda: driver.next(None), lambda: driver.wait(SOURCES[0], 0.1), driver.depth):
                with pytest.raises(ServerRefused, match=r"^BUSY "):
                    ask()
        finally:
            lists.client.script_kill()
            assert endless.exception(60) is not None  # until then the server refuses all the same
            lists.client.config_set("lua-time-limit", 5000)
    assert [it.body for it in deliver_all(driver)] == jobs(1)


def test_notifier_survives_a_failover(cleanup: ExitStack) -> None:
    with RedisServer() as server:
        lists = RedisLists(server, cleanup)
        driver = lists.driver()
        driver.wait(SOURCES[0], 0.01)
        outcome: list[object] = []

        def wait_for_work() -> None:
            try:
                outcome.append(driver.wait(SOURCES[0], 1.0))
            except BrokerError as error:
                outcome.append(error)

        waiter = threading.Thread(target=wait_for_work)
        waiter.start()
        eventually(lambda: lists.client.info("clients")["blocked_clients"] == 1)
        lists.client.replicaof("127.0.0.1", 1)  # a demoted master unblocks those that wait
        waiter.join(5)

        assert isinstance(outcome[0], BrokerUnavailable)


def test_a_loading_server_is_unavailable_and_then_served(cleanup: ExitStack) -> None:
    slow_load = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
    with RedisServer(extra=slow_load) as server:
        lists = RedisLists(server, cleanup)
        for number in range(1000):
            lists.client.set(f"ballast:{number}", b"x" * 1000)
        lists.push(b"job")
        lists.client.save()
        driver = lists.driver()
        driver.ping()
        server.kill()
        starting = threading.Thread(target=server.start)
        starting.start()
        messages: set[str] = set()

        def is_loading() -> bool:
            with pytest.raises(BrokerUnavailable) as caught:
                driver.next(None)
            messages.add(str(caught.value))
            return any("loading" in text.lower() for text in messages)

        try:
            eventually(is_loading, 10)
        finally:
            starting.join()

        assert take(driver).body == b"job"


@pytest.mark.parametrize("kind", KINDS)
def test_the_driver_reconnects_after_a_restart(kind: ServerKind, cleanup: ExitStack) -> None:
    with RedisServer(kind, appendonly=True, appendfsync="always") as server:
        lists = RedisLists(server, cleanup)
        driver = lists.driver()
        lists.push(*jobs(5))
        for _ in range(3):
            claim = take(driver)
            server.kill()
            with pytest.raises(BrokerUnavailable):
                driver.next(Settlement(claim))
            with pytest.raises(BrokerUnavailable):
                driver.wait(SOURCES[0], 0.01)
            server.start()

            assert settle(driver, claim)

        assert [claim.body for claim in deliver_all(driver)] == jobs(5)[3:]


def rest_six(driver: RedisDriver, proxy: RedisProxy) -> None:
    """Leave six connections at rest."""
    together = threading.Barrier(6)

    def ask() -> None:
        together.wait(5)
        driver.ping()

    proxy.delay(0.05)  # so that six connections are needed
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.heal()
    assert isinstance(driver._link, RedisLink)
    assert len(driver._link._idle) == 6


def test_one_timeout_is_enough_to_replace_every_resting_connection(lists: RedisLists) -> None:
    """The others would each cost a timeout, where the server of before fell silent without an end."""
    with RedisProxy(lists.server.port) as proxy:
        driver = lists.over(link_to(proxy.port, timeout=1.0))
        rest_six(driver, proxy)
        proxy.black_hole()
        with pytest.raises(BrokerUnavailable):
            driver.ping()

        assert isinstance(driver._link, RedisLink)
        assert not driver._link._idle
        proxy.heal()
        for _ in range(6):
            driver.ping()


def test_resting_connections_that_were_cut_cost_no_fault(lists: RedisLists) -> None:
    with RedisProxy(lists.server.port) as proxy:
        driver = lists.over(link_to(proxy.port))
        rest_six(driver, proxy)
        proxy.cut()

        assert isinstance(driver._link, RedisLink)
        resting = list(driver._link._idle)
        eventually(lambda: not any(parser_of(connection).is_quiet for connection in resting))
        for _ in range(6):
            driver.ping()


@pytest.mark.parametrize("kind", KINDS)
def test_hanging_server_blocks_no_call_longer_than_the_timeout(kind: ServerKind, cleanup: ExitStack) -> None:
    with RedisServer(kind) as server:
        lists = RedisLists(server, cleanup)
        lists.push(*jobs(2))
        driver = lists.over(link_to(server.port, timeout=0.3))
        claim = take(driver)
        driver.wait(SOURCES[0], 0.01)
        server.pause()
        try:
            for ask in (lambda: driver.next(Settlement(claim)), driver.ping, lambda: driver.next(None)):
                started = time.monotonic()
                with pytest.raises(BrokerUnavailable):
                    ask()
                assert time.monotonic() - started < 1.5
            started = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                driver.wait(SOURCES[0], 1.0)
            assert time.monotonic() - started < 4.0
        finally:
            server.resume()

        # Commands sent while it hung were executed: the settlement, and claims whose replies were lost.
        eventually(lambda: settle(driver, claim) is False)
        lists.advance(3600)
        assert [it.body for it in deliver_all(driver)] == jobs(2)[1:]


def test_refused_connection_is_unavailable_immediately(lists: RedisLists, unused_port: int) -> None:
    driver = lists.over(link_to(unused_port))
    started = time.monotonic()

    for ask in (driver.ping, driver.depth, driver.peek, lambda: driver.next(None), lambda: driver.put(b"x")):
        with pytest.raises(BrokerUnavailable, match="refused"):
            ask()
    assert time.monotonic() - started < 2.0


def test_a_resting_connection_that_the_server_closed_costs_no_fault(lists: RedisLists) -> None:
    driver = lists.driver()
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    (connection,) = driver._link._idle
    lists.client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: not parser_of(connection).is_quiet)

    driver.ping()


def test_a_record_whose_body_is_gone_is_dropped_and_the_next_is_taken(lists: RedisLists) -> None:
    lists.push(*jobs(4))
    driver = lists.driver()
    claims = take_all(driver)
    settle(driver, claims[0], Retry(b"s", 0))
    settle(driver, claims[1], Requeue())
    settle(driver, claims[2], Retry(b"s", 0))
    for claim in claims[:2]:
        lists.client.hdel(own_key(lists.pushed, "records"), claim.id)

    assert take(driver).body == jobs(4)[2]
    assert is_idle(driver)


def test_a_driver_for_another_retention_trims_what_is_there(lists: RedisLists) -> None:
    lists.push(*jobs(5))
    many, few = lists.driver(), lists.driver(retention=2)
    for claim in take_all(many)[:4]:
        settle(many, claim, DeadLetter(b"d", "x"))
    lists.advance(3600)
    settle(few, take(few), DeadLetter(b"last", "x"))

    assert len(lists.dead_letters()) == 2
    assert Kept(lists.dead_letters()[-1].id, jobs(5)[4], b"last") == lists.dead_letters()[-1]
    assert few.next(None).trimmed == 3


def test_two_processes_make_no_id_twice(lists: RedisLists) -> None:
    lists.push(*jobs(200))
    drivers: list[RedisDriver] = [lists.driver() for _ in range(4)]

    ids = {take(drivers[number % 4]).id for number in range(200)}

    assert len(ids) == 200
    assert all(len(it) == 32 for it in ids)


def test_arguments_in_an_unknown_command_error_are_not_shown(redis_server: RedisServer) -> None:
    """A server that knows no AUTH, or no RPUSH, answers with the password or the job that it was sent."""
    canary = "".join(["CAN", "ARY"])  # so that the lines of this test in the traceback do not hold it
    with pytest.raises(BrokerRefused) as caught:
        link_to(redis_server.port).call("NOSUCHCOMMAND", canary, f"a job with {canary}", read=replies.text)

    assert "unknown command" in str(caught.value)
    assert canary not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "said",
    [
        "You can't write against a read only replica.",
        "ACL failure in script: User hooks has no permissions to run the 'rpush' command",
    ],
)
def test_error_of_a_script_omits_its_position(said: str) -> None:
    place = f" script: {'6f99bef24a' * 4}, on @user_script:18."
    assert first_line(ResponseError(said + place)) == first_line(ResponseError(said)) == said
