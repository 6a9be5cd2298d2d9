"""The endpoints of a soak: one that is quick, one that is slow, and one that does whatever a receiver can do wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from soak.ledger import SettlementRecorder
from tests.helpers.jobs import numbers
from tests.helpers.receiver import Answer, Receiver, Request

QUICK, SLOW, HOSTILE = "quick", "slow", "hostile"
NAMES: Final = (QUICK, SLOW, HOSTILE)
FAULT_RATE: Final = 0.25

# None of these may be taken for a delivery: the books count a job only where a plain 200 was sent.
FAULTS: Final = (
    Answer(500),
    Answer(503, headers=[("Retry-After", "1")]),
    Answer(429, headers=[("Retry-After", "2")], close=True),
    Answer(408),
    Answer(reset=True),
    Answer(raw=b"", close=True),
    Answer(raw=b"\x16\x03\x01 canary is no HTTP\r\n\r\n", close=True),
    Answer(raw=b"HTTP/1.1 503 " + b"x" * 200_000 + b"\r\n\r\n", close=True),
    Answer(500, body=b"canary" * 200_000),
    Answer(503, trickle=0.05),
    Answer(hang=True),
)


ON_THE_WAY: Final = 0.05
"""Seconds that an answer may need to its daemon; a reset within them takes it away again."""


class Endpoint:
    """One receiver and its script."""

    def __init__(self, name: str, receiver: Receiver, ledger: SettlementRecorder, chance: random.Random) -> None:
        self.name = name
        self.receiver = receiver
        self._ledger = ledger
        self._chance = chance
        self._answers_at: list[float] = []
        receiver.answer(self._script)

    def in_flight(self) -> int:
        """Return how many answers of 200 are planned, or on their way."""
        now = time.monotonic()
        self._answers_at = [at for at in self._answers_at if at > now]
        return len(self._answers_at)

    def refuse(self) -> None:
        """Reset everything and refuse what comes. Answers that were planned never come, so their jobs come again."""
        self._ledger.excuse(self.in_flight())
        self.receiver.refuse()

    def listen(self) -> None:
        self.receiver.listen()

    def forget(self) -> None:
        """Drop the requests that are kept; hours of them would not fit into memory."""
        self.receiver.clear()
        self.in_flight()

    def _script(self, request: Request, nth: int) -> Answer:
        if self.name == HOSTILE and self._chance.random() < FAULT_RATE:
            return self._chance.choice(FAULTS)
        self._ledger.took(self.name, numbers(request.body))
        delay = self._chance.uniform(0.05, 0.4) if self.name == SLOW else 0.0
        self._answers_at.append(time.monotonic() + delay + ON_THE_WAY)
        return Answer(delay=delay)


@contextmanager
def endpoints(ledger: SettlementRecorder, seed: int) -> Iterator[dict[str, Endpoint]]:
    """Run one endpoint of each kind."""
    with ExitStack() as stack:
        yield {
            name: Endpoint(name, stack.enter_context(Receiver()), ledger, random.Random(f"{seed}-{name}"))
            for name in NAMES
        }
