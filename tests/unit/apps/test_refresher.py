"""The results of look-ups, and the queries to the store.

One thread acts as worker and refresher: where the worker would wait, the refresher runs one turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import structlog.testing

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores import refresher as keepers
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.apps.stores.cache import AppCache, CacheEntry
from sockudo_queue.apps.stores.refresher import PROBE, AppCacheRefresher
from sockudo_queue.config import RetrySettings
from sockudo_queue.core.apps import App, StaticApps
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.runtime.interpreter_lock import PythonGate

TTL = 300.0


def webhooks(*paths: str) -> str:
    return json.dumps([{"url": f"https://a.test/{path}", "event_types": ["channel_occupied"]} for path in paths])


class Store:
    """Rows by id; `asked` has the ids of every query."""

    name = "a store"
    batch = 3

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.asked: list[list[str]] = []
        self.fault: Exception | None = None

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        self.asked.append(list(ids))
        if self.fault is not None:
            raise self.fault
        return [Row(app_id, None, self.rows[app_id]) for app_id in ids if app_id in self.rows]

    def sample(self, limit: int) -> list[str]:
        return sorted(self.rows)[:limit]

    def close(self) -> None: ...


class World:
    """A refresher and its registry, with a clock that the test sets."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *inline: App, capacity: int = 100, max_bytes: int = 1_000_000
    ) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(keepers, "TAKE_WAIT", 0.0)
        self.store = Store()
        self.changes: list[str | None] = []
        self.metrics = Metrics("redis", "webhooks")
        self.cache = AppCache(TTL, capacity, self.clock, lambda: 1.0, max_bytes)
        self.refresher = AppCacheRefresher(
            self.store,
            StaticApps(inline),
            self.cache,
            Defaults(RetrySettings(), 10_000),
            self.metrics,
            structlog.get_logger(),
            self.changes.append,
            PythonGate(),
            self.clock,
        )
        self.registry = self.refresher.registry
        self.lookups = self.registry._lookups
        monkeypatch.setattr(self.lookups, "ask", self._ask)
        self.refresher.turn()
        assert self.store.asked == [[PROBE]]
        self.store.asked.clear()

    def clock(self) -> float:
        return self.now

    def _ask(self, app_id: str, _within: float) -> CacheEntry | None:
        lookup = self.lookups.want(app_id)
        if lookup is None:
            return None
        self.refresher.turn()
        return lookup.answer

    def find(self, app_id: str) -> App | None:
        return self.registry.find(app_id)

    def paths(self, app_id: str) -> list[str]:
        app = self.find(app_id)
        assert app is not None
        return [webhook.url.revealed.removeprefix("https://a.test/") for webhook in app.webhooks if webhook.url]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_app_is_queried_once_within_its_ttl(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    for _ in range(100):
        assert world.paths("shop") == ["a"]
    assert world.store.asked == [["shop"]]


def test_app_in_use_is_refreshed_before_it_expires_without_a_wait(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    world.store.rows["shop"] = webhooks("b")
    world.now += TTL - 5
    app = world.registry.find("shop")
    assert app is not None
    assert world.registry.find("shop") is app
    world.refresher.turn()
    assert world.paths("shop") == ["b"]
    assert world.store.asked == [["shop"], ["shop"]]


def test_expired_app_is_read_before_it_is_used(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    world.store.rows["shop"] = webhooks("b")
    world.now += TTL
    assert world.paths("shop") == ["b"]


def test_many_look_ups_are_batched_into_one_query(world: World) -> None:
    ids = [f"app{number}" for number in range(5)]
    world.store.rows = dict.fromkeys(ids, webhooks("a"))
    for app_id in ids * 2:
        world.lookups.want(app_id)
    world.refresher.turn()
    world.refresher.turn()
    assert world.store.asked == [ids[:3], ids[3:]]
    assert all(world.registry.find(app_id) for app_id in ids)


def test_apps_of_the_file_take_precedence_and_are_not_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    own = App("shop", ())
    world = World(monkeypatch, own)
    world.store.rows["shop"] = webhooks("a")
    assert world.registry.find("shop") is own
    assert world.store.asked == []


def test_unknown_app_is_queried_again_after_a_short_time(world: World) -> None:
    assert world.find("new") is None
    assert world.find("new") is None
    assert world.store.asked == [["new"]]
    world.store.rows["new"] = webhooks("a")
    world.now += 5
    assert world.paths("new") == ["a"]


def test_deleted_app_becomes_unknown(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    del world.store.rows["shop"]
    world.now += TTL - 1
    world.registry.find("shop")
    world.refresher.turn()
    assert world.find("shop") is None


@pytest.mark.parametrize("app_id", ["", "a\0b", "x" * 256, "\ud800"])
def test_impossible_app_id_is_not_queried(world: World, app_id: str) -> None:
    assert world.registry.find(app_id) is None
    assert world.store.asked == []


def test_only_the_exact_id_matches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.store, "fetch", lambda ids: [Row("shop", None, webhooks("a"))])
    assert world.find("SHOP") is None
    assert world.find("shop ") is None
    assert world.find("shop") is not None


def test_cached_apps_serve_during_an_outage_and_others_raise(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    world.store.fault = AppStoreUnavailable("gone")
    world.now += 10
    with structlog.testing.capture_logs() as lines:
        world.refresher.turn()
        world.now += 10 * TTL
        asked = len(world.store.asked)
        for _ in range(100):
            assert world.paths("shop") == ["a"]
            with pytest.raises(AppStoreUnavailable):
                world.registry.find("other")
        assert len(world.store.asked) == asked
        world.store.fault = None
        world.refresher.turn()
        assert world.find("other") is None
    assert world.changes[-2:] == ["the app database does not answer: gone", None]
    assert [line["event"] for line in lines] == ["apps.store_lost", "apps.store_resumed"]


def test_absent_app_raises_during_an_outage(world: World) -> None:
    assert world.find("new") is None
    world.store.fault = AppStoreUnavailable("gone")
    world.now += 10
    world.refresher.turn()
    with pytest.raises(AppStoreUnavailable):
        world.registry.find("new")


def test_unexpected_error_of_a_library_counts_as_an_outage(world: World) -> None:
    world.store.fault = ZeroDivisionError("CANARY")
    world.now += 10
    with structlog.testing.capture_logs() as lines:
        assert not world.refresher.turn()
    assert [line["event"] for line in lines] == ["apps.store_failed", "apps.store_lost"]
    assert world.changes[-1] == "the app database does not answer: ZeroDivisionError in its library"


def test_broken_row_affects_no_other_app_and_is_logged_once(world: World) -> None:
    world.store.rows = {"shop": webhooks("a"), "broken": "{"}
    world.lookups.want("shop")
    world.lookups.want("broken")
    with structlog.testing.capture_logs() as lines:
        world.refresher.turn()
        assert world.paths("shop") == ["a"]
        for _ in range(3):
            with pytest.raises(AppUnreadable):
                world.find("broken")
            world.now += 6
    assert lines == [
        {
            "event": "apps.unreadable",
            "log_level": "warning",
            "app": "broken",
            "text": "app 'broken': webhooks is not valid JSON",
        }
    ]
    world.store.rows["broken"] = webhooks("b")
    assert world.paths("broken") == ["b"]


def test_invalid_webhook_of_a_row_is_logged_when_it_is_new(world: World) -> None:
    def row(*urls: str) -> str:
        return json.dumps([{"url": url, "event_types": ["cache_miss"], "name": f"h{n}"} for n, url in enumerate(urls)])

    def reported() -> list[tuple[str, str, str]]:
        with structlog.testing.capture_logs() as lines:
            world.now += TTL + 1
            world.find("shop")
        return [(line["event"], line["app"], line["webhook"]) for line in lines]

    world.store.rows["shop"] = row("https://a.test/a", "ftp://CANARY/")
    assert reported() == [("webhook.invalid", "shop", "h1")]
    assert world.paths("shop") == ["a"]
    assert list(world.registry.invalid_webhooks()) == ["shop"]
    assert reported() == []
    world.store.rows["shop"] = row("ftp://CANARY/", "ftp://CANARY/")
    assert reported() == [("webhook.invalid", "shop", "h0")]
    world.store.rows["shop"] = row("https://a.test/a", "https://a.test/b")
    assert reported() == []
    assert world.registry.invalid_webhooks() == {}


def test_row_that_becomes_unreadable_keeps_the_app(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    world.store.rows["shop"] = "{"
    world.now += TTL - 1
    world.registry.find("shop")
    world.refresher.turn()
    assert world.paths("shop") == ["a"]


def test_expire_makes_all_apps_be_read_again(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    world.store.rows["shop"] = webhooks("b")
    world.refresher.expire()
    world.refresher.turn()
    assert world.paths("shop") == ["b"]


def test_idle_store_is_probed(world: World) -> None:
    world.refresher.turn()
    assert world.store.asked == []
    world.now += 5
    world.refresher.turn()
    assert world.store.asked == [[PROBE]]


def _series(metrics: Metrics) -> dict[str, Any]:
    return {
        sample.name + str(sample.labels.get("outcome", "")): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_queries_are_counted_by_outcome(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    world.paths("shop")
    series = _series(world.metrics)
    assert series["sockudo_queue_app_store_queries_totalanswered"] == 2
    assert series["sockudo_queue_app_store_up"] == 1
    assert series["sockudo_queue_apps_cached"] == 1
    world.store.fault = AppStoreUnavailable("gone")
    world.now += 10
    world.refresher.turn()
    series = _series(world.metrics)
    assert series["sockudo_queue_app_store_queries_totalfailed"] == 1
    assert series["sockudo_queue_app_store_up"] == 0


def test_app_that_grows_above_a_ceiling_is_logged_once(world: World) -> None:
    world.store.rows["shop"] = webhooks("a")
    assert world.paths("shop") == ["a"]
    world.store.rows["shop"] = webhooks(*map(str, range(2_001)))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            world.now += TTL + 1
            app = world.find("shop")
            assert app is not None
            assert (app.is_over_ceiling, app.webhooks) == (True, ())
    assert [(line["event"], line["app"], line["webhook"]) for line in lines] == [("webhook.invalid", "shop", "all")]
    assert [webhook.name for webhook in world.registry.invalid_webhooks()["shop"]] == ["all"]
    world.store.rows["shop"] = webhooks("b")
    world.now += TTL + 1
    assert world.paths("shop") == ["b"]
    assert world.registry.invalid_webhooks() == {}


def test_apps_with_large_rows_are_kept_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, max_bytes=50_000)
    large = webhooks("a" * 8_000)
    for number in range(20):
        world.store.rows[str(number)] = large
        assert world.registry.find(str(number)) is not None
        world.now += 1
    assert 4 <= len(world.cache) <= 6
    assert world.registry.find("0") is not None
