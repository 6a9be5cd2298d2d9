"""The names of keys: where jobs are looked for, and that ours are safe from Sockudo and in the slot of their source."""

from __future__ import annotations

from contextlib import ExitStack
from fnmatch import fnmatchcase

import pytest
from redis.crc import key_slot

from sockudo_queue.drivers.base import Retry, Settlement
from sockudo_queue.drivers.redis.lists import KEY_PARTS, source_keys
from sockudo_queue.drivers.redis.source import own_key
from tests.drivers.conformance import deliver_all, take
from tests.drivers.redis_lists import RedisLists, link_to
from tests.helpers.jobs import jobs
from tests.helpers.redis_server import RedisServer

PREFIXES = ("sockudo_queue:", "myapp", "myapp:", "", "{shop}", "{shop}:", "a{shop}b", "{}", "{shop", "a:{b}:{c}")


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [
        ("sockudo_queue:", ("sockudo_queue::queue:webhooks", "sockudo_queue:queue:webhooks")),
        ("myapp", ("myapp:queue:webhooks", "myappqueue:webhooks")),
        ("myapp:", ("myapp::queue:webhooks", "myapp:queue:webhooks")),
        ("", (":queue:webhooks", "queue:webhooks")),
        ("{shop}", ("{shop}:queue:webhooks", "{shop}queue:webhooks")),
    ],
)
def test_both_spellings_are_sources(prefix: str, keys: tuple[str, ...]) -> None:
    assert source_keys(prefix, "webhooks") == keys


@pytest.mark.parametrize(
    ("source", "own"),
    [
        ("sockudo_queue::queue:webhooks", "sockudo-queue:{sockudo_queue::queue:webhooks}:ready"),
        (":queue:webhooks", "sockudo-queue:{:queue:webhooks}:ready"),
        ("{shop}:queue:webhooks", "sockudo-queue:{shop}:queue:webhooks:ready"),
        ("a{shop}b:queue:webhooks", "sockudo-queue:a{shop}b:queue:webhooks:ready"),
        ("{shop:queue:webhooks", "sockudo-queue:{{shop:queue:webhooks}:ready"),
    ],
)
def test_our_keys_stand_beside_their_source(source: str, own: str) -> None:
    assert own_key(source, "ready") == own


@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if prefix not in ("{}", "{shop")])
def test_our_keys_are_in_the_slot_of_their_source(prefix: str) -> None:
    for source in source_keys(prefix, "webhooks"):
        slots = {key_slot(own_key(source, part).encode()) for part in KEY_PARTS}
        assert slots == {key_slot(source.encode())}


def test_no_two_keys_have_one_name() -> None:
    sources = {source for prefix in PREFIXES for source in source_keys(prefix, "webhooks")}
    own = {own_key(source, part) for source in sources for part in KEY_PARTS}

    assert len(own) == len(sources) * len(KEY_PARTS)
    assert not own & sources


@pytest.mark.parametrize("prefix", PREFIXES)
def test_our_keys_are_outside_what_sockudo_deletes_when_it_stops(prefix: str) -> None:
    for source in source_keys(prefix, "webhooks"):
        assert not any(fnmatchcase(own_key(source, part), f"{prefix}:queue:*") for part in KEY_PARTS)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_queue_of_any_prefix_delivers_from_both_keys(
    redis_server: RedisServer, cleanup: ExitStack, prefix: str
) -> None:
    lists = RedisLists(redis_server, cleanup)
    sources = source_keys(prefix, "webhooks")
    driver = lists.over(link_to(redis_server.port), sources=sources)
    for source in sources:
        lists.client.rpush(source, source)

    delivered = deliver_all(driver)

    assert sorted(claim.body.decode() for claim in delivered) == sorted(sources)
    assert all(claim.source == claim.body.decode() for claim in delivered)
    assert lists.is_empty()


def test_a_stop_of_sockudo_loses_nothing_that_was_gathered(lists: RedisLists) -> None:
    lists.push(*jobs(700))
    driver = lists.driver()
    claim = take(driver)
    driver.settle([Settlement(take(driver), (Retry(b"s", 0),))])
    while lists.client.exists(lists.pushed):
        assert driver.wait(lists.pushed, 0.01)

    # As Sockudo does: delete all that its pattern matches.
    doomed = lists.client.keys("sockudo_queue::queue:*")
    if doomed:
        lists.client.delete(*doomed)

    assert driver.depth()["ready"] == 698
    assert sorted([claim.body, *(it.body for it in deliver_all(driver))]) == sorted(jobs(700))
