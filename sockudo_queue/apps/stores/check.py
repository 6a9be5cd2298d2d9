"""Reports on the apps for the configuration check: which apps there are, from where, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores.base import AppStore, Row
from sockudo_queue.apps.stores.factory import defaults_of, make_store
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.config import LoadedSettings, Settings
from sockudo_queue.core.apps import App
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable

SHOWN: Final = 20
"""Maximum apps that are named of each source; a store may contain hundreds of thousands."""

Line = tuple[str, str]  # "ok", "warning" or "error", and the text


def app_lines(loaded: LoadedSettings, apps: Sequence[App]) -> Iterator[Line]:
    """Yield a line for each app with its source, and an error if the store does not answer. Raises `SettingsError`."""
    store = make_store(loaded.settings)
    return chain(
        _inline_lines(apps, loaded.apps_document.path),
        () if store is None else _stored_lines(store, apps, loaded.settings),
    )


def _inline_lines(apps: Sequence[App], file: Path | None) -> Iterator[Line]:
    for app in apps[:SHOWN]:
        yield "ok", f"app {app.id!r}: {_count(app)}, from {file or 'the environment'}"
    if len(apps) > SHOWN:
        yield "ok", f"apps: {len(apps) - SHOWN} more, from {file}"
    for app in apps:
        yield from _invalid_lines(app)


def _stored_lines(store: AppStore, inline: Sequence[App], settings: Settings) -> Iterator[Line]:
    try:
        ids = store.sample(SHOWN + 1)
        rows = store.fetch(ids) if ids else []
    except AppStoreUnavailable as error:
        yield "error", f"app database: {store.name}: {error}"
        return
    finally:
        store.close()
    yield "ok", f"app database: {store.name} answers"
    yield from tls_lines(settings)
    in_file = {app.id for app in inline}
    for row in sorted(rows, key=lambda row: row.id)[:SHOWN]:
        if row.id in in_file:
            yield "ok", f"app {row.id!r}: is in {store.name} too; the one in the file is used"
        else:
            yield from _row_lines(row, store.name, defaults_of(settings))
    if len(ids) > SHOWN:
        yield "ok", f"apps: more, from {store.name}"
    if not ids:
        yield "warning", f"app database: {store.name} contains no apps"


def tls_lines(settings: Settings) -> Iterator[Line]:
    """Warn of a database on another host whose `ssl_mode` accepts any server, with or without TLS."""
    groups = {"pgsql": (settings.postgres, "POSTGRES"), "mysql": (settings.mysql, "MYSQL")}
    group, name = groups.get(settings.apps.driver, (None, ""))
    if group is not None and group.ssl_mode == "prefer" and not _is_of_this_host(group.host):
        yield (
            "warning",
            "app database: ssl_mode is prefer, so the connection is not encrypted if the server has no TLS, and the "
            f"server is not authenticated; set DATABASE_{name}_SSL_MODE=verify-full",
        )


def _is_of_this_host(host: str) -> bool:
    return host == "localhost" or host.startswith(("127.", "/")) or host.strip("[]") == "::1"


def _row_lines(row: Row, place: str, defaults: Defaults) -> Iterator[Line]:
    try:
        app = read_row(row, defaults)
    except AppUnreadable as fault:
        yield "warning", f"{fault}, in {place}; its jobs become dead letters"
        return
    yield "ok", f"app {app.id!r}: {_count(app)}, from {place}"
    yield from _invalid_lines(app)


def _invalid_lines(app: App) -> Iterator[Line]:
    for webhook in app.invalid:
        yield (
            "error",
            f"app {app.id!r}, webhook {webhook.name}: is invalid, so its events become dead letters: {webhook.reason} "
            f"({webhook.place})",
        )


def _count(app: App) -> str:
    count = "1 webhook" if len(app.webhooks) == 1 else f"{len(app.webhooks)} webhooks"
    return f"{count}, {len(app.invalid)} invalid" if app.invalid else count
