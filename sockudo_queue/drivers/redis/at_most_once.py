"""Redis lists with at-most-once delivery: N workers use a blocking pop, and a crash loses the jobs they hold.

Only fresh jobs are popped without a lease. Retries are stored in our own keys and claimed from there under a lease, as
with the other drivers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from sockudo_queue.drivers.base import Claim, NextResult, Settlement
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.driver import RedisDriver, taken
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.lists import ListSource, part_arguments
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.peers import RedisPeers
from sockudo_queue.drivers.redis.source import BLOCK_SECONDS, FURTHER, SourceOptions, id_source, own_key
from sockudo_queue.errors import BrokerError, BrokerRefused, SettlementRefused

_STORE: Final = Script("store")


class RedisAtMostOnceDriver(RedisDriver):
    """`queue.redis.delivery = "at-most-once"`. `next` waits for a job itself, for at most a second."""

    batches = False

    def __init__(
        self, link: Link, blocking_link: Link, keys: Sequence[str], terms: SourceOptions, prefix: str = ""
    ) -> None:
        """`keys` are lists; no other form of the queue can be popped. `blocking_link` is for the waits."""
        lists = [ListSource(key, link, blocking_link, terms) for key in keys]
        super().__init__(link, lists, keys[0], prefix=prefix)
        self.peers = RedisPeers(link, lists, we_pop=True)
        self._blocking_link = blocking_link
        self._dead_retention = terms.dead_retention
        self._new_id = id_source()
        self._lists = {source.key: source for source in lists}
        self._orders = itertools.cycle([tuple(keys), tuple(reversed(keys))])
        self.sources = ()

    def next(self, settlement: Settlement | None) -> NextResult:
        accepted = self.settle([settlement])[0] if settlement else True
        try:
            claim = self._kept() or self._popped()
        except BrokerError:
            if settlement is None:
                raise
            claim = None  # the settlement was accepted; an error here would hide that
        return NextResult(accepted, claim, taken(self._trimmed), lost=taken(self._lost))

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        flags = []
        for settlement in settlements:
            flags += super().settle([settlement]) if settlement.claim.leased else [self._store(settlement)]
        return flags

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        leased = [claim for claim in claims if claim.leased]
        renewed = dict(zip((claim.receipt for claim in leased), super().renew(leased), strict=True))
        return [renewed.get(claim.receipt, True) for claim in claims]

    def _refused(self, key: str, refusal: BrokerRefused) -> BrokerRefused:  # noqa: ARG002 - one call pops from all lists
        """Return a refusal as one of every list: one call pops from all lists, so none can be left out."""
        return refusal

    def _kept(self) -> Claim | None:
        claims = (self._ask(key, None, "kept").claim for key in self._lists)
        return next((claim for claim in claims if claim is not None), None)

    def _popped(self) -> Claim | None:
        popped = self._blocking_link.call("BLPOP", *next(self._orders), BLOCK_SECONDS, read=self._read_popped)
        if popped is None:
            return None
        # No further command may be sent here: its failure would lose the popped job.
        source, body = popped
        now_ms = self._lists[source].clock.now_ms()
        return Claim(source, f"{self._new_id()}/0", body, b"", 0, now_ms, leased=False)

    def _read_popped(self, reply: Any) -> tuple[str, bytes] | None:
        if reply is None:
            return None
        key, body = replies.listed(reply)
        source = replies.text(key).decode()
        if source not in self._lists:
            raise replies.UnexpectedReply
        # Sockudo never sends a body this large. Only its beginning was kept; it is not a valid job and becomes a dead
        # letter.
        return source, body.head if isinstance(body, Oversized) else replies.text(body)

    def _store(self, settlement: Settlement) -> bool:
        if settlement.parts:
            source = self._lists[settlement.claim.source]
            arguments: list[str | bytes | int] = [settlement.claim.body, self._dead_retention]
            for ordinal, part in enumerate(settlement.parts):
                arguments += part_arguments(settlement, ordinal, part)
            ours = [source.records, source.delayed, source.lapses, source.dead, source.held]
            keys = [*ours, own_key(source.key, FURTHER)]
            try:
                trimmed = self._link.run(_STORE, keys, arguments, read=_trimmed)
            except BrokerRefused as refusal:
                if self._refuses_only(settlement, refusal):
                    raise SettlementRefused(source.key, str(refusal)) from None
                raise
            if trimmed:
                self._trimmed.append(trimmed)
        return True


def _trimmed(reply: Any) -> int:
    (trimmed,) = replies.listed(reply)
    return replies.count(trimmed)
