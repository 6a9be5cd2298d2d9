"""The pool of libcurl handles: selection, limits and closing."""

from __future__ import annotations

import gc
import threading
import time

import pycurl
import pytest

from sockudo_queue.delivery.connections import (
    CONNECTION_IDLE_SECONDS,
    QUARANTINE_SECONDS,
    Handle,
    HandleOptions,
    HandlePool,
    Route,
)
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


def test_most_recently_used_handle_is_taken_first(pool: HandlePool) -> None:
    first, second = pool.take(route("a")), pool.take(route("a"))
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take(route("a")) is second
    assert pool.take(route("a")) is first
    assert pool.take(route("a")) not in (first, second)


def test_routes_do_not_share_handles_below_the_limit(pool: HandlePool) -> None:
    first = pool.take(route("a"))
    pool.give_back(first)
    assert pool.take(route("b")) is not first
    assert pool.take(route("a")) is first


def test_full_pool_reuses_the_longest_idle_handle_for_a_new_route(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "abc"]
    for handle in handles:
        pool.give_back(handle)
    turned = pool.take(route("d"))
    assert turned is handles[0]
    assert turned.route == route("d")
    pool.give_back(turned)
    assert pool.take(route("d")) is turned
    assert pool.take(route("a")) is not handles[0]


def test_handle_with_verification_is_never_reused_without(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "abc"]
    for handle in handles:
        pool.give_back(handle)
    open_minded = pool.take(route("a", verify=False))
    assert open_minded not in handles
    pool.give_back(open_minded)
    assert pool.take(route("a")) is handles[0]
    assert pool.take(route("a", verify=False)) is open_minded


def test_handles_are_limited_whatever_the_number_of_endpoints(pool: HandlePool) -> None:
    made = set()
    for number in range(2000):
        handle = pool.take(route(str(number)))
        made.add(id(handle))
        pool.give_back(handle)
    assert len(made) == 3
    assert len(pool) == 3
    pool.close_old(time.monotonic())
    assert len(pool._by_route) == 3


def test_handle_idle_for_too_long_is_closed_and_removed(pool: HandlePool) -> None:
    handles = [pool.take(route(name)) for name in "aab"]
    for handle in handles:
        pool.give_back(handle)
    now = time.monotonic()
    handles[0].idle_since = handles[2].idle_since = now - CONNECTION_IDLE_SECONDS - 1
    assert pool.close_old(now) == 1  # the second is younger, and the third is not checked before it
    assert is_closed(handles[0])
    handles[1].idle_since = now - CONNECTION_IDLE_SECONDS - 1
    assert pool.close_old(now) == 2
    assert len(pool) == 0
    assert pool._by_route == {}


def test_idle_handles_above_the_limit_are_closed(pool: HandlePool) -> None:
    handles = [pool.take(route("a")) for _ in range(5)]
    for handle in handles:
        pool.give_back(handle)
    assert pool.close_old(time.monotonic()) == 2
    assert [is_closed(handle) for handle in handles] == [True, True, False, False, False]


def test_handle_set_aside_is_not_reused_and_closed_later(pool: HandlePool) -> None:
    handle = pool.take(route("a"))
    pool.quarantine(handle)
    assert pool.take(route("a")) is not handle
    now = time.monotonic()
    assert pool.close_old(now) == 0
    assert pool.close_old(now + QUARANTINE_SECONDS + 1) == 1
    assert is_closed(handle)


def test_handles_set_aside_are_limited(pool: HandlePool) -> None:
    handles = [pool.take(route("a")) for _ in range(5)]
    for handle in handles:
        pool.quarantine(handle)
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


def test_dropped_handle_closes_its_connection_without_the_garbage_collector(receiver: Receiver) -> None:
    handle = Handle(OPTIONS, Route(receiver.url(""), verify=True, guarded=False))
    assert handle.perform(receiver.url(), [], b"{}", 5_000) is None
    eventually(lambda: receiver.open_connections == 1)
    gc.disable()
    try:
        del handle
        eventually(lambda: receiver.open_connections == 0)
    finally:
        gc.enable()
