"""Reloads the apps of the settings file when it changes, and on SIGHUP."""

from __future__ import annotations

import threading
from typing import Any, Final

from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.observability.invalid_webhooks import log_invalid_webhooks
from sockudo_queue.pipeline.unknown_apps import UnknownApps

RELOAD_INTERVAL: Final = 1.0
"""Seconds between two checks of the file."""


class AppsReload:
    """Checks the file. Deliveries in flight keep the apps that they started with."""

    def __init__(self, source: AppSource, unknown_apps: UnknownApps, asked: threading.Event, log: Any) -> None:
        """Set `asked` to reload even if the file has not changed."""
        self._source = source
        self._unknown_apps = unknown_apps
        self._asked = asked
        self._log = log

    def poll(self) -> None:
        """Reload if the file has changed or a reload was requested."""
        asked = self._asked.is_set()
        self._asked.clear()
        result = self._source.reload() if asked else self._source.poll()
        if result is None:
            return
        for line in result.lines:
            self._log.warning("settings.warning" if result.applied else "apps.reload_failed", text=line)
        if result.applied:
            log_invalid_webhooks(self._log, self._source.invalid_webhooks)
            self._unknown_apps.forget()
            self._log.info("apps.reloaded")
