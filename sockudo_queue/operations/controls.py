"""The actions of operators on a webhook: pause, resume and "try now", for the status page and the commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sockudo_queue.core.controls import Pause, WebhookKey, operator_name
from sockudo_queue.drivers.base import Controllable, ControlStore, Driver
from sockudo_queue.errors import ControlsNotShared


class Controls:
    """The actions. Thread-safe; each call blocks until the queue server has answered."""

    def __init__(
        self,
        store: ControlStore | None,
        log: Any,
        *,
        acted: Callable[[], object] = bool,
        try_here: Callable[[WebhookKey], object] | None = None,
        in_file: Callable[[], Collection[WebhookKey]] = frozenset,
    ) -> None:
        """`store` is None if the driver's broker cannot store pauses and requests.

        `log` gets one `operator.acted` for each action. `acted` is called after each action, so that this process
        applies it without waiting for its next poll. `try_here` closes a breaker of this process only; it is used where
        there is no store. `in_file` returns the webhooks that the app file pauses.
        """
        self._store = store
        self._log = log
        self._acted = acted
        self._try_here = try_here
        self._in_file = in_file

    def pause(self, app: str, webhook: str, by: str) -> bool:
        """Pause a webhook on all daemons. Returns False if it is already paused.

        Raises `ControlsNotShared` or `BrokerError`, like all actions.
        """
        return self._do("pause", WebhookKey(app, webhook), by, lambda store, key: store.pause(key, by))

    def resume(self, app: str, webhook: str, by: str) -> bool:
        """Resume a webhook on all daemons. Returns False if it is not paused.

        Raises `ControlsNotShared` also if the app file pauses it.
        """
        changed = self._do("resume", WebhookKey(app, webhook), by, lambda store, key: store.resume(key, by))
        if WebhookKey(app, webhook) in self._in_file():
            raise ControlsNotShared('the app file pauses this webhook; remove "paused" there')
        return changed

    def try_now(self, app: str, webhook: str, by: str) -> None:
        """Close the breaker of a webhook on all daemons, or only on this one if the daemons share no store."""
        key = WebhookKey(app, webhook)
        if self._store is None and self._try_here is not None:
            self._try_here(key)
            self._note("try-now", key, by, count=1)
        else:
            self._do("try-now", key, by, lambda store, key: store.try_now(key, by))

    def pauses(self) -> Mapping[WebhookKey, Pause]:
        """Return the webhooks that are paused by an action, read from the queue server now."""
        return self._shared().read().pauses

    def _do(self, action: str, key: WebhookKey, by: str, change: Callable[[ControlStore, WebhookKey], bool]) -> bool:
        changed = change(self._shared(), key)
        self._note(action, key, by, count=int(changed))
        self._acted()
        return changed

    def _shared(self) -> ControlStore:
        if self._store is None:
            raise ControlsNotShared(
                'with this queue.driver, daemons share no pauses; set "paused": true at the webhook in the app file'
            )
        return self._store

    def _note(self, action: str, key: WebhookKey, by: str, *, count: int) -> None:
        self._log.info(
            "operator.acted", action=action, app=key.app, webhook=key.webhook, by=operator_name(by), count=count
        )


def store_of(driver: Driver) -> ControlStore | None:
    """Return the driver's store of pauses and requests, or None if the driver has none."""
    return driver.controls if isinstance(driver, Controllable) else None
