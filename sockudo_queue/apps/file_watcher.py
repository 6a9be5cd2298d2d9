"""Reads the app file again when it has changed, and swaps the apps of the registry.

The caller decides when to poll. Deliveries in flight keep the webhook that they started with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from sockudo_queue.apps.file import parse_apps
from sockudo_queue.config import AppsDocument, Document, Settings, apps_driver, digest_of, parse_document, read_bytes
from sockudo_queue.core.apps import InvalidByApp, StaticApps
from sockudo_queue.errors import SettingsError

# A file changed this recently may still be incomplete; the next poll checks it again. A file that was moved into place
# keeps its older modification time and is read immediately.
SETTLING: Final = 0.3  # seconds


_Mark = tuple[int, int, int]  # inode, size, nanoseconds of the last change


class Reload(msgspec.Struct, frozen=True):
    """The result of reading a changed file: whether the new apps are in use, and lines for the operator."""

    applied: bool
    lines: tuple[str, ...]


class AppSource:
    """The file behind a `StaticApps`. For one thread at a time; other threads may use the registry meanwhile.

    Only the apps are read again. All other settings, including the default retry and timeout of webhooks, stay as they
    were at the start.
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
        # The first poll compares the content, which may have changed since it was read.
        self._seen: _Mark | None = None
        self._digest = document.digest
        self._reported: tuple[str, ...] = ()

    @property
    def invalid_webhooks(self) -> InvalidByApp:
        """The invalid webhooks of the apps in use."""
        return self._registry.invalid_webhooks()

    def poll(self) -> Reload | None:
        """Read the file if it has changed. None if nothing changed, or if the same error was already returned.

        Call it about once a second. If the file is broken, the apps stay as they are and the error is returned once. A
        file that may be incomplete is left for the next call.
        """
        mark = self._mark()
        if mark == self._seen or self._may_be_half_written(mark):
            return None
        self._seen = mark
        return self._take(forced=False)

    def reload(self) -> Reload:
        """Read the file again, changed or not; for SIGHUP."""
        self._seen = self._mark()
        result = self._take(forced=True)
        assert result is not None
        return result

    def _mark(self) -> _Mark | None:
        """Return values that change with the file; None if the apps come from no file."""
        if self._document.path is None:
            return None
        try:
            status = os.stat(self._document.path)  # noqa: PTH116 - follows links, as containers mount the file by one
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
            self._seen = None  # try again: the cause may end without a change of the file (permissions, descriptors)
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
        except (ImportError, OSError) as error:
            # Some values need a module that is imported at their first use, for example `idna`, which takes a
            # descriptor. So this, too, may end without a change of the file.
            self._seen = None
            return self._refuse(SettingsError([f"a module cannot be imported: {type(error).__name__}"]), forced)
        self._registry.replace(parsed.apps)
        self._digest, self._reported = digest, ()
        return Reload(True, parsed.warnings)

    def _refuse_another_store(self, document: Document) -> None:
        """Raise if the apps have moved to a database: only a restart can read it, and the file has none any more."""
        driver = document.get("app_manager.driver") or "memory"
        if self._document.environment.driver is None and apps_driver(driver) != self._settings.apps.driver:
            raise SettingsError(
                [f"app_manager.driver in {self._document.path}: has changed; restart the daemon to use that store"]
            )

    def _as_before(self) -> Reload | None:
        """The file equals the apps in use. Report that only if the file was broken before."""
        if not self._reported:
            return None
        self._reported = ()
        return Reload(True, ())

    def _refuse(self, error: SettingsError, forced: bool) -> Reload | None:
        """Keep the apps and return one line with the reason; an equal line is not returned at every poll."""
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        lines = (f"the previous apps stay in use: {error.faults[0]}{more}",)
        if lines == self._reported and not forced:
            return None
        self._reported = lines
        return Reload(False, lines)
