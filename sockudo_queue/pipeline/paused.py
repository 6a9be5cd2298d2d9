"""The currently paused webhooks, for workers."""

from __future__ import annotations

import threading

from sockudo_queue.core import delivery_state
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import Claim, Hold


class PausedWebhooks:
    """The set of paused webhooks. One service thread replaces `webhooks` as a whole; workers read it without a lock.

    No job may be claimed until `known` is set, because pauses of an earlier run still apply.
    """

    def __init__(self, *webhooks: WebhookKey) -> None:
        self.webhooks = frozenset(webhooks)
        self.known = threading.Event()

    def wait_until_known(self, stopping: threading.Event) -> None:
        """Wait until the pauses are loaded, or the daemon stops."""
        while not stopping.is_set() and not self.known.wait(0.05):
            pass


def none_paused() -> PausedWebhooks:
    """Return a loaded, empty set, for drivers without pauses."""
    paused = PausedWebhooks()
    paused.known.set()
    return paused


def hold(claim: Claim, state: DeliveryState, app: str, webhook: str) -> Hold:
    """Return the disposition of a delivery to a paused webhook."""
    return Hold(delivery_state.encode(delivery_state.held(state, claim.now_ms())), app, webhook)
