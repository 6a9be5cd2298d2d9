"""Creates the configured app store; the only module that names a concrete one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.config import Settings
from sockudo_queue.errors import SettingsError

if TYPE_CHECKING:
    from sockudo_queue.apps.stores.base import AppStore
    from sockudo_queue.apps.stores.refresher import AppCacheRefresher
    from sockudo_queue.core.apps import AppRegistry
    from sockudo_queue.observability.metrics import Metrics
    from sockudo_queue.runtime.interpreter_lock import PythonGate


def make_store(settings: Settings) -> AppStore | None:
    """Return the configured store, not yet connected, or None if all apps are in the file.

    Raises `SettingsError`, also if its library is not installed. A library is imported only when it is needed.
    """
    match settings.apps.driver:
        case "pgsql":
            with _extra("pgsql", "postgres"):
                from sockudo_queue.apps.stores.postgres import PostgresStore
            return PostgresStore(settings.postgres, settings.limits.app_bytes)
        case "mysql":
            with _extra("mysql", "mysql"):
                from sockudo_queue.apps.stores.mysql import MysqlStore
            return MysqlStore(settings.mysql, settings.limits.app_bytes)
        case "dynamodb":
            from sockudo_queue.apps.stores.dynamodb import DynamodbStore

            return DynamodbStore(settings.dynamodb)
    return None


def make_refresher(
    settings: Settings,
    inline: AppRegistry,
    metrics: Metrics,
    log: Any,
    on_change: Callable[[str | None], None],
    gate: PythonGate,
) -> AppCacheRefresher | None:
    """Return the refresher for the configured store, or None if all apps are in the file. Raises `SettingsError`."""
    store = make_store(settings)
    if store is None:
        return None
    # Imported here, because most daemons have all apps in the file.
    from sockudo_queue.apps.stores.cache import AppCache
    from sockudo_queue.apps.stores.refresher import AppCacheRefresher

    cache = AppCache(
        settings.apps.cache_ttl if settings.apps.cache_enabled else 0,
        settings.apps.cache_capacity,
        time.monotonic,
        max_bytes=settings.limits.app_cache_bytes,
    )
    return AppCacheRefresher(store, inline, cache, defaults_of(settings), metrics, log, on_change, gate)


def defaults_of(settings: Settings) -> Defaults:
    """Return the defaults and ceilings of a webhook's settings."""
    return Defaults(settings.retry, settings.delivery.request_timeout_ms, settings.limits.ceilings())


@contextmanager
def _extra(driver: str, name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sockudo_queue"):
            raise
        raise SettingsError(
            [
                f"app_manager.driver: {driver} needs the package {error.name}, which is not installed; "
                f"install it with: pip install 'sockudo-queue[{name}]'"
            ]
        ) from None
