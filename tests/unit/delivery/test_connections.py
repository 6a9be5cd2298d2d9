"""The pool of libcurl handles: who gets which, how many there are, and when each is closed."""

from __future__ import annotations

import gc
import threading
import time

import pycurl
import pytest

from sockudo_queue.delivery.connections import CONNECTION_REST, SET_ASIDE, Handle, HandleOptions, HandlePool, Route
from tests.helpers.receiver import Receiver
from tests.helpers.waiting import eventually

OPTIONS = HandleOptions(max_response_bytes=1024)


def route(name: str, *, verify: bool = True) -> Route:
    return Route(f"https://{name}.example", verify, guarded=True)


@pytest.fixture
def pool() -> HandlePool:
    return HandlePool(OPTIONS, limit=3)


def is_closed(handle: Handle) -> bool:
    try:
        handle.curl.setopt(pycurl.NOSIGNAL, 1)
    except pycurl.error:
        return True
    return False


def test_the_handle_used_last_comes_first(pool: HandlePool) -> None:
    first, second = pool.take(route("a")), pool.take(route("a"))
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take(route("a")) is second
    assert pool.take(route("a")) is first
    assert pool.take(route("a")) not in (first, second)


def test_routes_do_not_share_while_there_is_room(pool: HandlePool) -> None:
    first = pool.take(route("a"))
    pool.give_back(first)
    assert pool.take(route("b")) is not first
    assert pool.take(route("a")) is first


def test_a_full_pool_turns_the_handle_longest_at_rest_to_a_new_route(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "abc"]
    for handle in handles:
        pool.give_back(handle)
    turned = pool.take(route("d"))
    assert turned is handles[0]
    assert turned.route == route("d")
    pool.give_back(turned)
    assert pool.take(route("d")) is turned
    assert pool.take(route("a")) is not handles[0]


def test_what_verifies_never_becomes_what_does_not(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "abc"]
    for handle in handles:
        pool.give_back(handle)
    open_minded = pool.take(route("a", verify=False))
    assert open_minded not in handles
    pool.give_back(open_minded)
    assert pool.take(route("a")) is handles[0]
    assert pool.take(route("a", verify=False)) is open_minded


def test_a_million_endpoints_do_not_need_a_million_handles(pool: HandlePool) -> None:
    made = set()
    for number in range(2000):
        handle = pool.take(route(str(number)))
        made.add(id(handle))
        pool.give_back(handle)
    assert len(made) == 3
    assert len(pool) == 3
    pool.close_old(time.monotonic())
    assert len(pool._by_route) == 3


def test_what_has_rested_too_long_is_closed_and_forgotten(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "aab"]
    for handle in handles:
        pool.give_back(handle)
    now = time.monotonic()
    handles[0].rested_since = handles[2].rested_since = now - CONNECTION_REST - 1
    assert pool.close_old(now) == 1  # the second is younger, and the third is not looked at before it
    assert is_closed(handles[0])
    handles[1].rested_since = now - CONNECTION_REST - 1
    assert pool.close_old(now) == 2
    assert len(pool) == 0
    assert pool._by_route == {}


def test_more_than_the_limit_is_closed_at_once(pool: HandlePool) -> None:
    handles = [pool.take(route("a")) for _ in range(5)]
    for handle in handles:
        pool.give_back(handle)
    assert pool.close_old(time.monotonic()) == 2
    assert [is_closed(handle) for handle in handles] == [True, True, False, False, False]


def test_a_handle_set_aside_is_neither_used_nor_closed_too_early(pool: HandlePool) -> None:
    handle = pool.take(route("a"))
    pool.set_aside(handle)
    assert pool.take(route("a")) is not handle
    now = time.monotonic()
    assert pool.close_old(now) == 0
    assert pool.close_old(now + SET_ASIDE + 1) == 1
    assert is_closed(handle)


def test_no_more_than_the_limit_are_set_aside(pool: HandlePool) -> None:
    handles = [pool.take(route("a")) for _ in range(5)]
    for handle in handles:
        pool.set_aside(handle)
    assert [is_closed(handle) for handle in handles] == [True, True, False, False, False]
    assert len(pool) == 3


def test_many_threads_never_get_the_same_handle() -> None:
    pool = HandlePool(OPTIONS, limit=4)
    taken: set[int] = set()
    doubled: list[int] = []
    stop = time.monotonic() + 0.5

    def work(number: int) -> None:
        turn = 0
        while time.monotonic() < stop:
            turn += 1
            handle = pool.take(route(str((number + turn) % 6)))
            if id(handle) in taken:
                doubled.append(id(handle))
            taken.add(id(handle))
            taken.discard(id(handle))
            pool.give_back(handle)
            if number == 0:
                pool.close_old(time.monotonic())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert doubled == []
    pool.close_old(time.monotonic())
    assert len(pool) <= 4


def test_handle_that_is_dropped_closes_its_connection_without_the_garbage_collector(receiver: Receiver) -> None:
    handle = Handle(OPTIONS, Route(receiver.url(""), verify=True, guarded=False))
    assert handle.perform(receiver.url(), [], b"{}", 5_000) is None
    eventually(lambda: receiver.open_connections == 1)
    gc.disable()
    try:
        del handle
        eventually(lambda: receiver.open_connections == 0)
    finally:
        gc.enable()
