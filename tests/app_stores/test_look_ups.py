"""Concurrent look-ups: each missing app is queried once, workers get the answer in time, and a hit is cheap."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pytest
import structlog

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores.base import AppStore, Row
from sockudo_queue.apps.stores.cache import AppCache
from sockudo_queue.apps.stores.refresher import PROBE, AppCacheRefresher
from sockudo_queue.apps.stores.registry import ANSWER_WITHIN
from sockudo_queue.config import RetrySettings
from sockudo_queue.core.apps import App, StaticApps
from sockudo_queue.errors import AppStoreUnavailable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.runtime.interpreter_lock import PythonGate
from tests.app_stores.conftest import MakeStore
from tests.app_stores.tables import PostgresTable
from tests.faults.measures import figure
from tests.helpers.configs import app, webhook
from tests.helpers.databases import Postgres
from tests.helpers.waiting import eventually

WORKERS: Final = 32
APPS: Final = 200


class Counting:
    """A store that counts how often each id is asked for, and can be made to take its time."""

    def __init__(self, store: AppStore) -> None:
        self.name, self.batch = store.name, store.batch
        self.asked: Counter[str] = Counter()
        self.queries = 0
        self.hangs = threading.Event()
        self._store = store

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        self.queries += 1
        self.asked.update(ids)
        while self.hangs.is_set():
            time.sleep(0.01)
        return self._store.fetch(ids)

    def sample(self, limit: int) -> list[str]:
        return self._store.sample(limit)

    def close(self) -> None:
        self._store.close()


@contextmanager
def serving(store: AppStore) -> Iterator[AppCacheRefresher]:
    """Run a refresher in a thread of its own."""
    log = structlog.wrap_logger(None, processors=[], wrapper_class=structlog.make_filtering_bound_logger(50))
    cache = AppCache(300, 1_000, time.monotonic)
    changes: list[str | None] = []
    defaults = Defaults(RetrySettings(), 10_000)
    refresher = AppCacheRefresher(
        store, StaticApps([]), cache, defaults, Metrics("redis", "webhooks"), log, changes.append, PythonGate()
    )
    stopping = threading.Event()
    thread = threading.Thread(target=refresher.serve, args=(lambda: None, stopping))
    thread.start()
    try:
        eventually(lambda: changes[-1] is None)
        yield refresher
    finally:
        stopping.set()
        thread.join(10)


def is_known(refresher: AppCacheRefresher, app_id: str) -> bool:
    try:
        return refresher.registry.find(app_id) is not None
    except AppStoreUnavailable:
        return False


@pytest.fixture
def store(postgres: Postgres, store_of: MakeStore) -> Counting:
    table = PostgresTable(postgres, "5.0").create()
    for number in range(APPS):
        table.put(app(webhook("https://a.test/"), app_id=f"app-{number}"))
    return Counting(store_of(table))


def test_each_app_is_asked_for_once_however_many_workers_want_it(store: Counting) -> None:
    found: list[list[App | None]] = []
    with serving(store) as refresher:
        start = threading.Barrier(WORKERS)

        def work() -> None:
            start.wait()
            found.append([refresher.registry.find(f"app-{number}") for number in range(2 * APPS)])

        threads = [threading.Thread(target=work) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    del store.asked[PROBE]
    assert store.asked == Counter({f"app-{number}": 1 for number in range(2 * APPS)})
    assert len(found) == WORKERS
    assert all(each is not None for apps in found for each in apps[:APPS])
    assert all(each is None for apps in found for each in apps[APPS:])
    figure(f"{WORKERS} workers, {2 * APPS} apps each: {store.queries} queries, each app asked for once")


def test_hanging_store_delays_each_worker_once(store: Counting) -> None:
    waits: list[float] = []
    with serving(store) as refresher:
        refresher.registry.find("app-0")
        store.hangs.set()
        for number in range(1, 101):
            began = time.monotonic()
            with pytest.raises(AppStoreUnavailable):
                refresher.registry.find(f"app-{number}")
            waits.append(time.monotonic() - began)
            assert refresher.registry.find("app-0") is not None
        store.hangs.clear()
        eventually(lambda: is_known(refresher, "app-1"))
    assert ANSWER_WITHIN * 0.9 < waits[0] < ANSWER_WITHIN + 1
    assert sum(waits[1:]) < 1


def test_cache_hit_is_fast(store: Counting) -> None:
    with serving(store) as refresher:
        static, registry = StaticApps([App("app-0", ())]), refresher.registry
        registry.find("app-0")
        registry.find("app-0")

        def seconds(find: object) -> float:
            best = float("inf")
            for _ in range(5):
                began = time.thread_time()
                for _ in range(20_000):
                    find("app-0")  # type: ignore[operator]
                best = min(best, time.thread_time() - began)
            return best / 20_000

        hit, plain = seconds(registry.find), seconds(static.find)
    assert hit < 5e-6
    figure(f"a look-up in the cache: {hit * 1e6:.2f} µs, in the apps of the file {plain * 1e6:.2f} µs")
