"""Look-up of apps for commands, in the file and then in the database, and their credentials in the file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockudo_queue.apps.stores.base import AppStore
from sockudo_queue.apps.stores.factory import defaults_of, make_store
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.config import AppsDocument, LoadedSettings
from sockudo_queue.core.apps import App
from sockudo_queue.core.secret import Secret
from sockudo_queue.errors import AppUnreadable, SettingsError


@dataclass(frozen=True)
class AppCredentials:
    """The key and the secret that sign deliveries of an app."""

    key: str
    secret: Secret


class AppLookup:
    """Finds apps by id; asks a database once for each."""

    def __init__(self, loaded: LoadedSettings, inline: Sequence[App], store: AppStore | None) -> None:
        self._known: dict[str, App | None] = {app.id: app for app in inline}
        self._defaults = defaults_of(loaded.settings)
        self._store = store

    def find(self, app_id: str) -> App | None:
        """Return the app, or None if it does not exist or cannot be read. Raises `AppStoreUnavailable`."""
        if app_id not in self._known:
            self._known[app_id] = self._fetch(app_id)
        return self._known[app_id]

    def _fetch(self, app_id: str) -> App | None:
        rows = self._store.fetch([app_id]) if self._store is not None else []
        for row in rows:
            if row.id == app_id:
                try:
                    return read_row(row, self._defaults)
                except AppUnreadable:
                    return None
        return None


@contextmanager
def app_lookup(loaded: LoadedSettings, inline: Sequence[App]) -> Iterator[AppLookup]:
    """Return a look-up, and close its connection at the end. It connects only for an app that is not in the file."""
    store = make_store(loaded.settings)
    try:
        yield AppLookup(loaded, inline, store)
    finally:
        if store is not None:
            store.close()


def inline_credentials(document: AppsDocument, app_id: str) -> AppCredentials | None:
    """Return an app's key and secret if the file contains both."""
    entry = next((each for each in _entries(document) if each.get("id") == app_id), {})
    key, secret = entry.get("key"), entry.get("secret")
    if not (isinstance(key, str) and key and isinstance(secret, str) and secret):
        return None
    return AppCredentials(key, Secret(secret))


def credentials_of(document: AppsDocument, app_id: str, options: argparse.Namespace) -> AppCredentials:
    """Return an app's key and secret, from the flags before the file. Raises `SettingsError` if they are missing."""
    inline = inline_credentials(document, app_id)
    key = options.key or (inline.key if inline else None)
    secret = Secret(read_secret(options.secret_file)) if options.secret_file else (inline.secret if inline else None)
    if key is None or secret is None:
        raise SettingsError(
            [f"app {app_id!r}: key and secret are not in the app file; use --key KEY and --secret-file FILE"]
        )
    return AppCredentials(key, secret)


def secret_of(document: AppsDocument, options: argparse.Namespace) -> Secret:
    """Return the secret that the options select: of an app in the file, or from a file of its own."""
    if options.secret_file:
        return Secret(read_secret(options.secret_file))
    if not options.app:
        raise SettingsError(["the secret is missing; use --app ID for an app in the file, or --secret-file FILE"])
    entry = next((each for each in _entries(document) if each.get("id") == options.app), None)
    secret = entry.get("secret") if entry else None
    if not (isinstance(secret, str) and secret):
        raise SettingsError([f"app {options.app!r}: its secret is not in the app file; use --secret-file FILE"])
    return Secret(secret)


def read_secret(name: str) -> str:
    """Read a secret from a file, without a line break at its end."""
    try:
        secret = Path(name).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise SettingsError([f"--secret-file {name}: cannot be read: {reason}"]) from None
    if not secret:
        raise SettingsError([f"--secret-file {name}: is empty"])
    return secret


def _entries(document: AppsDocument) -> list[Mapping[str, Any]]:
    manager = document.app_manager if isinstance(document.app_manager, Mapping) else {}
    array = manager.get("array")
    entries = array.get("apps") if isinstance(array, Mapping) else None
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
