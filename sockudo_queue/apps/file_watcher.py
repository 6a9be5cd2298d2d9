"""Watches the file that the apps came from, and swaps the apps of the registry when it changes.

It reads and compares; when to look is its caller's business. What is in flight keeps the webhook that it began with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sockudo_queue.apps.file import parse_apps
from sockudo_queue.config import AppsDocument, Document, Settings, apps_driver, digest_of, parse_document, read_bytes
from sockudo_queue.core.apps import InvalidByApp, StaticApps
from sockudo_queue.errors import SettingsError

# A file changed this recently may still be being written; it is looked at again at the next poll. A file that was
# moved into place keeps its older time of change and is taken at once.
SETTLING: Final = 0.3  # seconds


_Mark = tuple[int, int, int]  # inode, size, nanoseconds of the last change


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of a changed file: new apps in use, or the old ones kept; and lines for a person."""

    applied: bool
    lines: tuple[str, ...]


class AppSource:
    """The file behind a `StaticApps`. For one thread at a time; lookups in the registry may go on meanwhile.

    Only the apps are read again: every other setting, also the retry and timeout that webhooks fall back to, stays as
    it was at the start.
    """

    def __init__(
        self,
        document: AppsDocument,
        settings: Settings,
        registry: StaticApps,
        environment: Mapping[str, str],
        *,
        strict: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._document = document
        self._settings = settings
        self._registry = registry
        self._environment = dict(environment)
        self._strict = strict
        self._clock = clock
        # Nothing seen yet: the first poll compares the content, which may have changed since it was read.
        self._seen: _Mark | None = None
        self._digest = document.digest
        self._told: tuple[str, ...] = ()

    @property
    def invalid_webhooks(self) -> InvalidByApp:
        """The invalid webhooks of the apps that are in use."""
        return self._registry.invalid_webhooks()

    def poll(self) -> Reload | None:
        """Take a changed file. None where nothing changed, or nothing that was not already told.

        Call it about once a second. A broken file keeps the apps as they are and is told once; a file that is still
        being written is left for the next call.
        """
        mark = self._mark()
        if mark == self._seen or self._may_be_half_written(mark):
            return None
        self._seen = mark
        return self._take(forced=False)

    def reload(self) -> Reload:
        """Take the file as it stands, changed or not: what SIGHUP asks for."""
        self._seen = self._mark()
        result = self._take(forced=True)
        assert result is not None
        return result

    def _mark(self) -> _Mark | None:
        """Return what changes when the file does; None where the apps come from no file."""
        if self._document.path is None:
            return None
        try:
            status = os.stat(self._document.path)  # noqa: PTH116 - of the file behind a link, as containers mount it
        except OSError:
            return (0, 0, 0)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _may_be_half_written(self, mark: _Mark | None) -> bool:
        if mark is None:
            return False
        age = self._clock() - mark[2] / 1e9
        return 0 <= age < SETTLING

    def _take(self, *, forced: bool) -> Reload | None:
        if self._document.path is None:
            return Reload(False, ("there is no settings file, so no apps can be reloaded",))
        try:
            content = read_bytes(self._document.path, again=True)
        except SettingsError as error:
            self._seen = None  # what keeps us from reading may end without a change of the file: rights, descriptors
            return self._refuse(error, forced)
        try:
            digest = digest_of(content)
            if digest == self._digest and not forced:
                return self._as_before()
            document = parse_document(self._document.path, content, self._environment)
            self._refuse_another_store(document)
            parsed = parse_apps(
                replace(self._document, app_manager=document.get("app_manager")), self._settings, strict=self._strict
            )
        except SettingsError as error:
            return self._refuse(error, forced)
        self._registry.replace(parsed.apps)
        self._digest, self._told = digest, ()
        return Reload(True, parsed.warnings)

    def _refuse_another_store(self, document: Document) -> None:
        """A file whose apps have moved into a database while we run would leave us without any."""
        driver = document.get("app_manager.driver") or "memory"
        if self._document.environment.driver is None and apps_driver(driver) != self._settings.apps.driver:
            raise SettingsError(
                [f"app_manager.driver in {self._document.path}: has changed; restart the daemon to use that store"]
            )

    def _as_before(self) -> Reload | None:
        """The file holds what is in use; that is news only after it was broken."""
        if not self._told:
            return None
        self._told = ()
        return Reload(True, ())

    def _refuse(self, error: SettingsError, forced: bool) -> Reload | None:
        """Keep the apps, and say so in one line; the same words are not repeated at every poll."""
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        lines = (f"the previous apps stay in use: {error.faults[0]}{more}",)
        if lines == self._told and not forced:
            return None
        self._told = lines
        return Reload(False, lines)
