"""The context of a command: settings, apps, and the driver of the queue."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from sockudo_queue.apps.file import collect_apps, load_with_apps
from sockudo_queue.commands.found_file import approve
from sockudo_queue.commands.terminal import print_error
from sockudo_queue.config import (
    CONFIG_FILE,
    ConfigProblems,
    LoadedSettings,
    collect,
    printable_lines,
    working_directory,
)
from sockudo_queue.core.apps import App
from sockudo_queue.core.ports import host_port
from sockudo_queue.drivers.base import Driver
from sockudo_queue.drivers.factory import make_driver

EXIT_NO: Final = 1
"""The answer is no, or not everything was done."""
EXIT_NO_BROKER: Final = 3
"""The queue server cannot be used, and nothing was done."""


@dataclass(frozen=True)
class OpenQueue:
    """A queue that a command can reach."""

    loaded: LoadedSettings
    apps: tuple[App, ...]
    driver: Driver


def load(options: argparse.Namespace) -> tuple[LoadedSettings, tuple[App, ...]]:
    """Read settings and apps as the daemon does. Raises `SettingsError`."""
    loaded, apps = load_with_apps(options.config, os.environ, working_directory(), getattr(options, "strict", False))
    _approve_unnamed(options, loaded)
    return loaded, apps


def examine(options: argparse.Namespace) -> tuple[LoadedSettings, tuple[App, ...], tuple[str, ...]]:
    """Read settings and apps as far as they can be used, and return their faults instead of raising them."""
    findings = ConfigProblems(options.strict)
    loaded = collect(options.config, os.environ, working_directory(), findings)
    _approve_unnamed(options, loaded)
    apps = collect_apps(loaded.apps_document, loaded.settings, findings) if loaded.file_was_read else ()
    return (
        msgspec.structs.replace(loaded, warnings=printable_lines(findings.warnings)),
        apps,
        printable_lines(findings.faults),
    )


def _approve_unnamed(options: argparse.Namespace, loaded: LoadedSettings) -> None:
    was_named = options.config or any(os.environ.get(name) for name in (CONFIG_FILE, f"{CONFIG_FILE}_FILE"))
    if not was_named and loaded.apps_document.path is not None:
        approve(loaded.apps_document.path)


@contextmanager
def driver_of(loaded: LoadedSettings, on_server: Callable[[str, int], object] | None = None) -> Iterator[Driver]:
    """Return the configured driver, and close it at the end. Nothing is connected before the first call.

    `on_server` is called as by `make_driver`.
    """
    driver = make_driver(loaded.settings, on_server)
    try:
        yield driver
    finally:
        driver.close()


@contextmanager
def reached(options: argparse.Namespace) -> Iterator[OpenQueue | None]:
    """Return the queue with its dead letters, or None after printing why a command cannot reach them."""
    loaded, apps = load(options)
    if loaded.settings.driver == "memory":
        print_error(
            "dead-letters: with the driver memory, dead letters exist only in the running daemon; see its status "
            f"page, {page_address(loaded)}"
        )
        yield None
    elif loaded.settings.driver == "none":
        print_error('dead-letters: queue.driver is "none", so there are no deliveries and no dead letters')
        yield None
    else:
        with driver_of(loaded) as driver:
            yield OpenQueue(loaded, apps, driver)


def page_address(loaded: LoadedSettings) -> str:
    """Return the address of the daemon's pages on this host."""
    metrics = loaded.settings.metrics
    host = metrics.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - "all" has no address
    return f"{'https' if metrics.tls_cert_file else 'http'}://{host_port(host, metrics.port)}/"
