"""One claim at work: the webhooks that are owed, what has become of each, and the settlement in the end."""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import State
from sockudo_queue.core.job import Event, Job
from sockudo_queue.drivers.base import Back, Claim, Part, Settlement

_PENDING: Final = object()


class Share(msgspec.Struct, frozen=True):
    """One match of a claimed record: the webhook that is owed, what it wants, and where its tries stand."""

    ordinal: int
    webhook: Webhook
    events: tuple[Event, ...]
    state: State


class Dispatch:
    """One claim at work. `finish` and `abandon` may be called from any thread; the claim is settled exactly once."""

    def __init__(self, claim: Claim, job: Job | None, shares: tuple[Share, ...], *, splits: bool) -> None:
        self.claim = claim
        self.job = job
        self.shares = shares
        self.settlement: Settlement | None = None
        self._splits = splits
        self._lock = threading.Lock()
        self._parts: list[Any] = [_PENDING] * len(shares)
        self._left = len(shares)

    @classmethod
    def settled(cls, claim: Claim, *parts: Part) -> Dispatch:
        """Return a dispatch that has nothing to attempt: its claim is acked, or ends in the given part."""
        dispatch = cls(claim, None, (), splits=False)
        dispatch.settlement = Settlement(claim, parts)
        return dispatch

    def finish(self, share: Share, part: Part | None) -> Settlement | None:
        """Report one share: None when nothing is owed any more. Returns the settlement to whoever reports last."""
        with self._lock:
            if self.settlement is not None or self._parts[share.ordinal] is not _PENDING:
                return None
            self._parts[share.ordinal] = part
            self._left -= 1
            if self._left:
                return None
            self.settlement = self._compose()
            return self.settlement

    def abandon(self, *, lapsed: bool = False) -> Settlement:
        """End the work now: what is not finished goes back to the queue, without an attempt being counted.

        `lapsed`: its worker has died, and a job that kills worker after worker must end some day.
        """
        with self._lock:
            if self.settlement is None:
                untouched = self._left == len(self.shares)
                for share in self.shares:
                    if self._parts[share.ordinal] is _PENDING:
                        self._parts[share.ordinal] = Back(delivery_state.encode(share.state), lapsed=lapsed)
                self.settlement = Settlement(self.claim, (Back(lapsed=lapsed),)) if untouched else self._compose()
            return self.settlement

    def _compose(self) -> Settlement:
        parts = tuple([part for part in self._parts if part is not None])
        return Settlement(self.claim, parts, splits=self._splits and bool(parts))
