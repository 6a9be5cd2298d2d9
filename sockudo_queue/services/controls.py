"""Makes a daemon obey what operators have decided about webhooks.

It looks about once a second whether anything has changed, and makes held deliveries due whose webhook is not paused. It
keeps no record of a resume that is under way: whatever is held and not paused is moved, also after an interruption.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sockudo_queue.core.controls import ControlState, WebhookKey
from sockudo_queue.drivers.base import Driver, Parking
from sockudo_queue.errors import BrokerError, BrokerUnavailable
from sockudo_queue.operations.controls import store_of
from sockudo_queue.pipeline.paused import PausedWebhooks

POLL_EVERY: Final = 1.0
RELEASE_EVERY: Final = 0.2
"""Seconds between two calls that move held deliveries, while there are some to move."""
SWEEP_FOR: Final = 10.0
"""Seconds after a resume in which every look also looks for held deliveries: workers and other daemons may still park
some that they claimed before."""
SWEEP_EVERY: Final = 30.0
COUNT_EVERY: Final = 5.0
"""Seconds between two counts of what is held for each paused webhook."""


class ControlsWatch:
    """Looks again and again, from one thread, at what is in force, and lets this daemon obey."""

    def __init__(
        self,
        driver: Driver,
        paused: PausedWebhooks,
        log: Any,
        *,
        in_file: Callable[[], Collection[WebhookKey]] = frozenset,
        close_breaker: Callable[[WebhookKey], object] = bool,
        wake: Callable[[int], object] = bool,
        set_ready: Callable[[str | None], object] = bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_file` returns what the file of apps pauses. `wake` tells workers how many deliveries are newly due.

        `set_ready` takes a reason why this daemon cannot work yet, or None to withdraw it.
        """
        self.wakes = threading.Event()
        """Set for a look at once."""
        self.held: Mapping[WebhookKey, int] = {}
        """The paused webhooks, each with the deliveries that are held for it."""
        self._driver = driver
        self._store = store_of(driver)
        self._parking = driver if isinstance(driver, Parking) else None
        self._paused = paused
        self._log = log
        self._in_file = in_file
        self._close_breaker = close_breaker
        self._wake = wake
        self._set_ready = set_ready
        self._clock = clock
        self._state = ControlState()
        self._version: bytes | None = None
        self._is_refused = False
        self._is_moving = False
        self._sweep_until = self._swept_at = self._counted_at = float("-inf")

    @property
    def pause(self) -> float:
        """Return the seconds until the next look."""
        return RELEASE_EVERY if self._is_moving else POLL_EVERY

    def look(self) -> None:
        """Look once. Without an answer, what was known stays in force, and nothing that is held moves."""
        self.wakes.clear()
        is_current = self._read()
        if self._version is None and not self._is_refused and self._store is not None:
            self._set_ready("it is not known yet which webhooks are paused, and nothing is claimed before")
            return
        self._obey()
        if not self._paused.known.is_set():
            self._set_ready(None)
            self._paused.known.set()
        try:
            if is_current:
                self._release()
            self._count()
        except BrokerError as error:  # the workers meet it too, and report it
            self._log.debug("controls.not_released", reason=str(error))

    def _read(self) -> bool:
        """Read what has changed; return whether what is known now is what is in force."""
        if self._store is None:
            return True
        try:
            version = self._store.version()
            if version != self._version:
                self._take(version, self._store.read())
        except BrokerUnavailable:
            return False
        except BrokerError as refusal:
            if not self._is_refused:
                self._log.warning("controls.refused", reason=str(refusal))
            self._is_refused = True
            return False
        if self._is_refused:
            self._log.info("controls.resumed")
        self._is_refused = False
        return True

    def _take(self, version: bytes, state: ControlState) -> None:
        """Take over a new state. What was to be tried before this daemon began is no matter: no breaker was open."""
        if self._version is not None:
            for webhook, at in state.tries.items():
                if at > self._state.tries.get(webhook, 0):
                    self._close_breaker(webhook)
        self._version, self._state = version, state

    def _obey(self) -> None:
        pauses = self._state.pauses
        paused = frozenset(pauses).union(self._in_file())
        before = self._paused.webhooks
        if paused == before:
            return
        self._paused.webhooks = paused
        for webhook in paused - before:
            by = pauses[webhook].by if webhook in pauses else "the file of apps"
            self._log.info("webhook.paused", app=webhook.app, webhook=webhook.webhook, by=by)
        for webhook in before - paused:
            self._log.info("webhook.resumed", app=webhook.app, webhook=webhook.webhook)
        if before - paused:
            self._sweep_until = self._clock() + SWEEP_FOR
        self._counted_at = float("-inf")

    def _release(self) -> None:
        """Make due what is held and not paused."""
        now = self._clock()
        if self._parking is None or not (
            self._is_moving or now < self._sweep_until or now - self._swept_at >= SWEEP_EVERY
        ):
            return
        moved = self._parking.release(self._paused.webhooks)
        self._swept_at, self._is_moving = now, moved > 0
        if moved:
            self._wake(moved)

    def _count(self) -> None:
        now = self._clock()
        if now - self._counted_at < COUNT_EVERY:
            return
        webhooks = sorted(self._paused.webhooks)
        counts = self._parking.held(webhooks) if self._parking is not None else [0] * len(webhooks)
        self._counted_at = now
        self.held = dict(zip(webhooks, counts, strict=True))
