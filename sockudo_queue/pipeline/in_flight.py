"""The claims that this process works on: what each still owes, and how it ends.

A claim is in flight from its receipt until its settlement was accepted.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import State
from sockudo_queue.core.job import Event, Job
from sockudo_queue.drivers.base import Back, Claim, Dead, Part, Settlement

_PENDING: Final = object()


class Share(msgspec.Struct, frozen=True):
    """One match of a claimed record: the webhook that is owed, what it wants, and where its tries stand."""

    ordinal: int
    webhook: Webhook
    events: tuple[Event, ...]
    state: State


class Dispatch:
    """One claim at work. `finish` and `abandon` may be called from any thread; the claim is settled exactly once."""

    def __init__(
        self, claim: Claim, job: Job | None, shares: tuple[Share, ...], *, splits: bool, decided: tuple[Part, ...] = ()
    ) -> None:
        """`decided` is kept of the record whatever becomes of the shares; without shares that is the settlement."""
        self.claim = claim
        self.job = job
        self.shares = shares
        self._splits = splits
        self._decided = decided
        self._lock = threading.Lock()
        self._parts: list[Any] = [_PENDING] * len(shares)
        self._left = len(shares)
        self.settlement: Settlement | None = None if shares else self._compose()

    @classmethod
    def settled(cls, claim: Claim, *parts: Part) -> Dispatch:
        """Return a dispatch that has nothing to attempt: its claim is acked, or ends in the given part."""
        return cls(claim, None, (), splits=False, decided=parts)

    @classmethod
    def unresolved(cls, claim: Claim) -> Dispatch:
        """Return a dispatch of a claim that was not looked into yet: all that can become of it is to be abandoned."""
        dispatch = cls(claim, None, (), splits=False)
        dispatch.settlement = None  # not the ack of a claim that asks for nothing
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

    @property
    def unfinished(self) -> list[Share]:
        """The shares that nothing was reported of yet."""
        with self._lock:
            return [share for share in self.shares if self._parts[share.ordinal] is _PENDING]

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
        parts = tuple([part for part in self._parts if part is not None]) + self._decided
        return Settlement(self.claim, parts, splits=self._splits and bool(parts))


class Holdings:
    """The claims that are ours now. Safe from any thread; each method is one step."""

    def __init__(self) -> None:
        self._by_receipt: dict[str, Dispatch] = {}

    def __len__(self) -> int:
        return len(self._by_receipt)

    def add(self, dispatch: Dispatch) -> None:
        self._by_receipt[dispatch.claim.receipt] = dispatch

    def drop(self, receipt: str) -> bool:
        """Forget a claim; True for whoever comes first, so that its end is counted once."""
        return self._by_receipt.pop(receipt, None) is not None

    def all(self) -> list[Dispatch]:
        """Return what is held at this moment."""
        return list(self._by_receipt.values())


def dead_letter(state: State, claim: Claim, reason: str) -> Dead:
    """Return the end of a share, or of a whole job, that is given up now."""
    details = msgspec.structs.replace(state, reason=reason, died=claim.now_ms())
    return Dead(delivery_state.encode(details), reason, details)
