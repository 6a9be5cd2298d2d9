"""Which webhooks are paused now, as workers see it."""

from __future__ import annotations

import threading

from sockudo_queue.core import delivery_state
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import Claim, Hold


class PausedWebhooks:
    """One service thread writes it, and workers read it without a lock: `webhooks` is replaced as a whole.

    Until `known` is set nothing may be claimed, since the pauses of an earlier run still hold.
    """

    def __init__(self, *webhooks: WebhookKey) -> None:
        self.webhooks = frozenset(webhooks)
        self.known = threading.Event()

    def wait_until_known(self, stopping: threading.Event) -> None:
        """Wait until it is known what is paused, or the daemon is stopped."""
        while not stopping.is_set() and not self.known.wait(0.05):
            pass


def none_paused() -> PausedWebhooks:
    """Return what is right where no webhook can be paused."""
    paused = PausedWebhooks()
    paused.known.set()
    return paused


def hold(claim: Claim, state: DeliveryState, app: str, webhook: str) -> Hold:
    """Return the end of a claim on a delivery to a paused webhook."""
    return Hold(delivery_state.encode(delivery_state.held(state, claim.now_ms())), app, webhook)
