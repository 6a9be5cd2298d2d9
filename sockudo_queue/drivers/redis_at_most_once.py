"""Redis lists the way the documentation describes them: N workers on a blocking pop, and what a crash holds is lost.

Only fresh jobs are popped without a claim. What is to be tried again is kept in our own keys, and is claimed from there
under a lease like everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sockudo_queue.drivers.base import Claim, Settlement, Turn
from sockudo_queue.drivers.redis import BLOCK_SECONDS, RedisListDriver, part_arguments
from sockudo_queue.drivers.redis_link import RedisLink, Script

_STORE: Final = Script("store")


class RedisAtMostOnceDriver(RedisListDriver):
    """`queue.redis.delivery = "at-most-once"`. `next` waits for a job itself, for at most a second."""

    def __init__(self, link: RedisLink, sources: Sequence[str], *, lease_ms: int, dead_retention: int) -> None:
        super().__init__(link, sources, lease_ms=lease_ms, dead_retention=dead_retention)
        self._lists = tuple(sources)
        self.sources = ()

    def next(self, settled: Settlement | None) -> Turn:
        accepted = self.settle([settled])[0] if settled else True
        for key in self._lists:
            turn = self._run(key, [], "kept")
            if turn.claim is not None:
                return Turn(accepted, turn.claim)
        popped = self._patient.call("BLPOP", *self._lists, BLOCK_SECONDS)
        if popped is None:
            return Turn(accepted, None)
        seconds, microseconds = self._link.call("TIME")
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        return Turn(accepted, Claim(popped[0].decode(), f"{self._new_id()}/0", popped[1], b"", 0, now_ms))

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        flags = []
        for settlement in settlements:
            flags += [self._store(settlement)] if _was_popped(settlement.claim) else super().settle([settlement])
        return flags

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        leased = [claim for claim in claims if not _was_popped(claim)]
        renewed = dict(zip((claim.receipt for claim in leased), super().renew(leased), strict=True))
        return [renewed.get(claim.receipt, True) for claim in claims]

    def put(self, body: bytes) -> None:
        self._link.call("RPUSH", self._lists[0], body)

    def _store(self, settlement: Settlement) -> bool:
        if settlement.parts:
            source = self._sources[settlement.claim.source]
            arguments: list[str | bytes | int] = [settlement.claim.body, self._dead_retention]
            for ordinal, part in enumerate(settlement.parts):
                arguments += part_arguments(settlement, ordinal, part)
            self._link.run(_STORE, [source.records, source.delayed, source.dead], arguments)
        return True


def _was_popped(claim: Claim) -> bool:
    """A claim of a record counts from 1; what was popped has no record and no lease."""
    return claim.receipt.endswith("/0")
