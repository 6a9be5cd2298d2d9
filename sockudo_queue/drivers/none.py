"""The driver without a queue, for disabled webhooks: idle and ready, so the same deployment works in both cases."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sockudo_queue.drivers.base import Claim, NextResult, Settlement, StoredDeadLetter
from sockudo_queue.errors import BrokerRefused

SOURCE: Final = "none"


class NoDeadLetterStore:
    """Always empty: without deliveries there are no dead letters."""

    def letters(self) -> Iterator[StoredDeadLetter]:
        return iter(())

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:  # noqa: ARG002 - the contract's name
        return iter(())

    def find(self, record_id: str) -> StoredDeadLetter | None:  # noqa: ARG002
        return None

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:  # noqa: ARG002
        return [False] * len(letters)

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        return [False] * len(letters)

    def drop_older(self, age_ms: int) -> int:  # noqa: ARG002
        return 0


class NoneDriver:
    """Always empty and always available; accepts no jobs."""

    name = "none"
    sources: tuple[str, ...] = (SOURCE,)

    def __init__(self) -> None:
        self.dead_letters = NoDeadLetterStore()
        self._closed = threading.Event()

    def next(self, settlement: Settlement | None) -> NextResult:
        return NextResult(settlement is None, None)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return [False] * len(settlements)

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return [False] * len(claims)

    def wait(self, source: str, timeout: float) -> int:
        """Sleep, so that a thread that polls this queue does not keep a core busy."""
        assert source == SOURCE
        self._closed.wait(timeout)
        return 0

    def put(self, body: bytes) -> None:  # noqa: ARG002 - the contract's name
        """Refuse: if a job were accepted and dropped, its sender would take it for delivered."""
        raise BrokerRefused('queue.driver is "none": webhooks are disabled and no jobs are accepted')

    def depth(self) -> Mapping[str, int]:
        return dict.fromkeys(("ready", "active", "delayed", "held", "dead-letter"), 0)

    def peek(self) -> Sequence[bytes]:
        return ()

    def ping(self) -> None:
        """Always succeeds."""

    def close(self) -> None:
        self._closed.set()
