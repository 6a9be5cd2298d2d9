"""`pause`, `resume` and `try-now`: operations on one webhook, in all daemons of the queue."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sockudo_queue.commands.acted import acted_line, system_user
from sockudo_queue.commands.apps import app_lookup
from sockudo_queue.commands.context import EXIT_NO, OpenQueue, driver_of, load
from sockudo_queue.commands.terminal import moment, plural, print_error, print_json, print_line
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Parking
from sockudo_queue.errors import ControlsNotShared
from sockudo_queue.operations.controls import Controls, store_of
from sockudo_queue.runtime.streams import visible

OBEY_SECONDS: Final = 2
"""Seconds within which all daemons apply an operation."""

_INSTEAD: Final = {
    "pause": 'to pause a webhook, set "paused": true for it in the app file',
    "resume": 'a webhook is paused only by "paused": true in the app file; remove it there',
    "try-now": 'use "Try now" on the status page of each daemon',
}
"""What to do with a driver whose daemons share nothing that a command could change."""


def pause(options: argparse.Namespace) -> int:
    """Pause a webhook. Not an error if it is already paused."""
    with _reached(options) as act:
        if act is None or not act.is_known(or_paused=False):
            return EXIT_NO
        if act.controls.pause(*act.key, act.by):
            act.print_end(f"paused {act.name}; all daemons apply this within {OBEY_SECONDS} s")
        else:
            found = act.controls.pauses().get(act.key)
            since = f" since {moment(found.since_ms)}, by {found.by}" if found is not None else ""
            act.print_end(f"{act.name} is already paused{since}")
    return 0


def resume(options: argparse.Namespace) -> int:
    """Resume a webhook. Not an error if it is not paused."""
    with _reached(options) as act:
        if act is None or not act.is_known(or_paused=True):
            return EXIT_NO
        try:
            was_paused = act.controls.resume(*act.key, act.by)
        except ControlsNotShared as error:
            print_error(f"{options.prog}: {error}")
            return EXIT_NO
        act.print_end(f"resumed {act.name}; {act.held_text}" if was_paused else f"{act.name} is not paused")
    return 0


def try_now(options: argparse.Namespace) -> int:
    """Close the breaker of a webhook."""
    with _reached(options) as act:
        if act is None or not act.is_known(or_paused=False):
            return EXIT_NO
        act.controls.try_now(*act.key, act.by)
        act.print_end(f"all daemons close the circuit breaker of {act.name} within {OBEY_SECONDS} s")
    return 0


class _Action:
    """One run of a command: its webhook, and the result that it prints."""

    def __init__(self, queue: OpenQueue, options: argparse.Namespace) -> None:
        self.key = WebhookKey(options.app, options.webhook)
        self.by = system_user()
        in_file = [WebhookKey(app.id, name) for app in queue.apps for name in app.paused]
        self.controls = Controls(store_of(queue.driver), self, in_file=lambda: in_file)
        self._queue = queue
        self._command, self._json = options.prog, options.json
        self._event: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"webhook {visible(self.key.webhook)} of app {visible(self.key.app)}"

    def is_known(self, *, or_paused: bool) -> bool:
        """Tell whether the webhook exists, and print an error if not. Raises `AppStoreUnavailable`.

        `or_paused`: one that is gone from the apps, but was paused before, will do.
        """
        if or_paused and self.key in self.controls.pauses():
            return True
        with app_lookup(self._queue.loaded, self._queue.apps) as apps:
            app = apps.find(self.key.app)
        if app is None:
            print_error(f"{self._command}: there is no app {self.key.app}")
            return False
        names = [webhook.name for webhook in app.webhooks] + [webhook.name for webhook in app.invalid]
        if self.key.webhook not in names:
            has = ", ".join(names) or "none"
            print_error(f"{self._command}: app {app.id} has no webhook {self.key.webhook}; it has: {has}")
            return False
        return True

    @property
    def held_text(self) -> str:
        """Return how many deliveries are held, as text. Raises `BrokerError`."""
        driver = self._queue.driver
        count = driver.held([self.key])[0] if isinstance(driver, Parking) else 0
        self._event["held"] = count
        return f"{plural(count, 'held delivery', 'held deliveries')} {'goes' if count == 1 else 'go'} out from now on"

    def print_end(self, text: str) -> None:
        if self._json:
            print_json(self._event)
            return
        print_line(text)
        print_line(acted_line(**{name: value for name, value in self._event.items() if name != "event"}))

    def info(self, event: str, **fields: Any) -> None:
        """Take the event that a daemon would log; it is printed at the end."""
        self._event = {"event": event, **fields}


@contextmanager
def _reached(options: argparse.Namespace) -> Iterator[_Action | None]:
    """Return the action on the configured queue, or None after printing why commands cannot act on it."""
    loaded, apps = load(options)
    driver = loaded.settings.driver
    if driver in ("redis", "redis-cluster"):
        with driver_of(loaded) as opened:
            yield _Action(OpenQueue(loaded, apps, opened), options)
        return
    where = (
        'queue.driver is "none", so nothing is delivered'
        if driver == "none"
        else f"with the driver {driver}, commands cannot reach the daemons; {_INSTEAD[options.prog]}"
    )
    print_error(f"{options.prog}: {where}")
    yield None
