"""Expiry and limits of cached apps, with a clock that the test sets."""

from __future__ import annotations

from sockudo_queue.apps.stores.cache import ABSENT_LIMIT, NEGATIVE_TTL, AppCache
from sockudo_queue.core.apps import App, InvalidWebhook

TTL = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def cache_of(capacity: int = 100, ttl: float = TTL, chance: float = 1.0) -> tuple[AppCache, Clock]:
    clock = Clock()
    return AppCache(ttl, capacity, clock, lambda: chance), clock


def app(app_id: str = "shop") -> App:
    return App(app_id, ())


def test_entry_is_refreshed_in_the_last_seconds_of_its_ttl() -> None:
    for chance, ahead in ((0.0, 5.0), (1.0, 10.0)):
        cache, clock = cache_of(chance=chance)
        entry = cache.put(app())
        assert (entry.refresh_at, entry.expires_at) == (clock.now + TTL - ahead, clock.now + TTL)


def test_short_ttl_is_refreshed_in_its_last_tenth() -> None:
    cache, clock = cache_of(ttl=10.0)
    assert cache.put(app()).refresh_at == clock.now + 9.0


def test_ttl_of_zero_becomes_one_second() -> None:
    cache, clock = cache_of(ttl=0.0)
    assert cache.put(app()).expires_at == clock.now + 1.0


def test_absent_app_expires_soon_and_is_not_counted() -> None:
    cache, clock = cache_of()
    entry = cache.put_absent("gone")
    assert entry.app is None
    assert entry.refresh_at == entry.expires_at == clock.now + NEGATIVE_TTL
    assert cache.get("gone") is entry
    assert len(cache) == 0


def test_removed_app_becomes_absent_and_can_return() -> None:
    cache, _ = cache_of()
    cache.put(app())
    cache.put_absent("shop")
    found = cache.get("shop")
    assert found is not None
    assert found.app is None
    entry = cache.put(app())
    assert cache.get("shop") is entry


def test_unreadable_row_keeps_the_previous_app() -> None:
    cache, _ = cache_of()
    first = cache.put_unreadable("shop", "why")
    assert (first.app, first.unreadable) == (None, True)
    cache.put(app())
    second = cache.put_unreadable("shop", "why")
    assert (second.app, second.unreadable, second.faults) == (app(), False, ("why",))


def test_least_recently_used_apps_are_dropped() -> None:
    cache, clock = cache_of(capacity=100)
    for number in range(100):
        cache.put(app(str(number)))
        clock.now += 1
    used = cache.get("0")
    assert used is not None
    used.used_at = clock.now
    cache.put(app("100"))
    assert len(cache) == 90
    assert cache.get("0") is used
    assert cache.get("100") is not None
    assert [number for number in range(1, 100) if cache.get(str(number)) is None] == list(range(1, 12))


def test_rows_that_are_kept_are_bounded_in_bytes() -> None:
    clock = Clock()
    cache = AppCache(TTL, 10_000, clock, lambda: 1.0, max_bytes=1_000)
    for number in range(50):
        cache.put(app(str(number)), size=100)
        clock.now += 1
        assert cache.bytes == 100 * len(cache) <= 1_000
    assert cache.get("49") is not None
    assert cache.get("0") is None

    for size in (300, 100):  # an app that changes is counted once
        cache.put(app("49"), size)
        assert cache.bytes == 100 * (len(cache) - 1) + size
    cache.put_unreadable("49", "why")
    cache.put_absent("48")
    assert cache.bytes == 100 * len(cache)


def test_newest_app_is_kept_even_if_above_the_limit() -> None:
    clock = Clock()
    cache = AppCache(TTL, 10_000, clock, lambda: 1.0, max_bytes=1_000)
    for number in range(5):
        cache.put(app(str(number)), size=100)
    giant = cache.put(app("0"), size=5_000)
    assert cache.get("0") is giant
    assert len(cache) == 1


def test_unknown_ids_are_limited_and_displace_no_app() -> None:
    cache, _ = cache_of()
    kept = cache.put(app())
    for number in range(2 * ABSENT_LIMIT):
        cache.put_absent(f"x{number}")
    assert cache.get("shop") is kept
    assert cache.get("x0") is None
    assert sum(cache.get(f"x{number}") is not None for number in range(2 * ABSENT_LIMIT)) == ABSENT_LIMIT


def test_invalid_webhooks_are_those_of_cached_apps() -> None:
    cache, _ = cache_of(capacity=10)
    invalid = (InvalidWebhook("orders", None, None, "app 'shop', webhook 1", "why"),)
    cache.put(App("shop", (), invalid))
    assert cache.invalid_webhooks() == {"shop": invalid}
    cache.put_unreadable("shop", "why")
    assert cache.invalid_webhooks() == {"shop": invalid}
    cache.put(app())
    assert cache.invalid_webhooks() == {}
    for number in range(100):
        cache.put(App(str(number), (), invalid))
    assert len(cache.invalid_webhooks()) == len(cache) <= 10
    cache.put_absent("99")
    assert "99" not in cache.invalid_webhooks()


def test_expired_entries_remain_available() -> None:
    cache, clock = cache_of()
    cache.put(app())
    cache.put_absent("gone")
    cache.expire()
    for app_id in ("shop", "gone"):
        entry = cache.get(app_id)
        assert entry is not None
        assert clock.now >= entry.expires_at >= entry.refresh_at
