"""Applies operators' decisions about webhooks in this daemon.

It polls for changes about once a second, and makes held deliveries due if their webhook is not paused. It does not
track a running resume: everything that is held but not paused is moved, also after an interruption.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sockudo_queue.core.controls import ControlState, WebhookKey
from sockudo_queue.drivers.base import Driver, Parking
from sockudo_queue.errors import BrokerError, BrokerUnavailable
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.operations.controls import store_of
from sockudo_queue.pipeline.paused import PausedWebhooks

POLL_INTERVAL: Final = 1.0
RELEASE_INTERVAL: Final = 0.1
"""Seconds between two calls that move held deliveries, while there are any."""
SWEEP_FOR: Final = 10.0
"""Seconds after a resume in which every poll also looks for held deliveries: workers and other daemons may still park
deliveries that they claimed before."""
SWEEP_INTERVAL: Final = 30.0
COUNT_INTERVAL: Final = 5.0
"""Seconds between two counts of the held deliveries of paused webhooks."""
REMIND_AFTER: Final = 600.0
"""Seconds after which the log repeats that pauses cannot be read."""
COUNT_BATCH_SIZE: Final = 50
"""Paused webhooks of one count, those counted longest ago; each costs one command per form of the queue."""


class ControlsWatch:
    """Polls the current decisions from one thread and applies them in this daemon."""

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
        set_refused: Callable[[str | None], object] = bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_file` returns the webhooks that the file pauses. `wake` receives the number of newly due deliveries.

        `set_ready` takes a reason why this daemon cannot work yet, or None to withdraw it. `set_refused` takes the
        reason why the broker refuses to name the paused webhooks, or None once it names them.
        """
        self.wakes = threading.Event()
        """Set it for an immediate poll."""
        self.held: Mapping[WebhookKey, int] = {}
        """The paused webhooks, each with the number of its held deliveries when it was last counted, at first 0."""
        self._counted: dict[WebhookKey, float] = {}
        self._driver = driver
        self._store = store_of(driver)
        self._parking = driver if isinstance(driver, Parking) else None
        self._paused = paused
        self._log = log
        self._in_file = in_file
        self._close_breaker = close_breaker
        self._wake = wake
        self._set_ready = set_ready
        self._set_refused = set_refused
        self._reminder = Reminder(REMIND_AFTER)
        self._clock = clock
        self._state = ControlState()
        self._version: bytes | None = None
        self._refusal: str | None = None
        self._is_moving = False
        self._sweep_until = self._swept_at = self._counted_at = float("-inf")

    @property
    def pause(self) -> float:
        """Return the seconds until the next poll."""
        return RELEASE_INTERVAL if self._is_moving else POLL_INTERVAL

    def poll(self) -> None:
        """Poll once. Without an answer the known state stays in force, and no held deliveries are moved."""
        self.wakes.clear()
        is_current = self._read()
        if self._version is None and self._refusal is None and self._store is not None:
            self._set_ready("the paused webhooks are not known yet, so no jobs are claimed")
            return
        self._obey()
        if not self._paused.known.is_set():
            self._set_ready(None)
            self._paused.known.set()
        try:
            if is_current:
                self._release()
            self._count()
        except BrokerError as error:  # the workers encounter it too, and report it
            self._log.debug("controls.not_released", reason=str(error))

    def _read(self) -> bool:
        """Read changes; return whether the known state is current."""
        if self._store is None:
            return True
        try:
            version = self._store.version()
            if version != self._version:
                self._take(version, self._store.read())
        except BrokerUnavailable:
            return False
        except BrokerError as refusal:
            self._refused(str(refusal))
            return False
        if self._refusal is not None:
            self._refusal = None
            self._set_refused(None)
            self._log.info("controls.resumed")
        return True

    def _refused(self, reason: str) -> None:
        """Report that pauses cannot be read. Jobs are delivered nevertheless: most webhooks are not paused."""
        if self._reminder.is_due(self._clock(), changed=self._refusal is None):
            self._log.warning("controls.refused", reason=reason)
        if reason != self._refusal:
            self._refusal = reason
            self._set_refused(reason)

    def _take(self, version: bytes, state: ControlState) -> None:
        """Apply a new state. A "try now" from before this daemon started is ignored: it had no open breaker then."""
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
            by = pauses[webhook].by if webhook in pauses else "the app file"
            self._log.info("webhook.paused", app=webhook.app, webhook=webhook.webhook, by=by)
        for webhook in before - paused:
            self._log.info("webhook.resumed", app=webhook.app, webhook=webhook.webhook)
        if before - paused:
            self._sweep_until = self._clock() + SWEEP_FOR
        self._counted_at = float("-inf")

    def _release(self) -> None:
        """Make deliveries due that are held but not paused."""
        now = self._clock()
        if self._parking is None or not (
            self._is_moving or now < self._sweep_until or now - self._swept_at >= SWEEP_INTERVAL
        ):
            return
        moved = self._parking.release(self._paused.webhooks)
        self._swept_at, self._is_moving = now, moved > 0
        if moved:
            self._wake(moved)

    def _count(self) -> None:
        now = self._clock()
        if now - self._counted_at < COUNT_INTERVAL:
            return
        webhooks = sorted(self._paused.webhooks)
        known = {webhook: self.held.get(webhook, 0) for webhook in webhooks}
        last = {webhook: self._counted.get(webhook, float("-inf")) for webhook in webhooks}
        turn = sorted(webhooks, key=last.__getitem__)[:COUNT_BATCH_SIZE]
        counts = self._parking.held(turn) if self._parking is not None else [0] * len(turn)
        self._counted_at = now
        self._counted = last | dict.fromkeys(turn, now)
        self.held = known | dict(zip(turn, counts, strict=True))
