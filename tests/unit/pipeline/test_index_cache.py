"""Indexes follow their apps, and stay within a number of entries."""

from __future__ import annotations

import msgspec

from sockudo_queue.core.apps import App, Filter, Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import find_pattern
from sockudo_queue.pipeline.index_cache import SMALL, IndexCache


def app(app_id: str, prefixes: list[str]) -> App:
    wanted = frozenset({"channel_occupied"})
    return App(app_id, tuple(Webhook(text, wanted, filter=Filter(channel_prefix=text)) for text in prefixes))


def names(cache: IndexCache, of: App, channel: str) -> list[str]:
    event = Event("channel_occupied", channel, msgspec.Raw(b"{}"))
    job = Job("key", of.id, hmac_key("secret"), 1, (event,), None, 0)
    return [found.webhook.name for found in cache.match(job, of, find_pattern)]


MANY = [f"room-{number}-" for number in range(SMALL + 1)]


def test_an_app_that_changed_is_indexed_anew() -> None:
    cache = IndexCache()
    assert names(cache, app("a", MANY), "room-3-x") == ["room-3-"]
    assert names(cache, app("a", [*MANY, "room-"]), "room-3-x") == ["room-3-", "room-"]
    assert names(cache, app("a", [*MANY, "x"]), "room-x") == []
    assert cache.size == len(MANY) + 1


def test_the_indexes_stay_within_their_number_of_entries() -> None:
    cache = IndexCache(max_entries=3 * len(MANY))
    apps = [app(f"app-{number}", MANY) for number in range(10)]
    for _ in range(2):
        for each in apps:
            assert names(cache, each, "room-3-x") == ["room-3-"]
            assert cache.size <= 3 * len(MANY)


def test_an_app_that_is_larger_than_all_is_matched_too() -> None:
    cache = IndexCache(max_entries=3)
    assert names(cache, app("a", MANY), "room-3-x") == ["room-3-"]
    assert names(cache, app("b", MANY), "room-3-x") == ["room-3-"]
    assert cache.size == len(MANY)


def test_each_event_type_of_a_webhook_counts() -> None:
    cache = IndexCache(max_entries=100)
    types = frozenset({"channel_occupied", "channel_vacated", "member_added", "member_removed"})
    for number in range(10):
        hooks = tuple(Webhook(text, types, filter=Filter(channel_prefix=text)) for text in MANY)
        assert names(cache, App(f"app-{number}", hooks), "room-3-x") == ["room-3-"]
    assert cache.size == 2 * 4 * len(MANY)
