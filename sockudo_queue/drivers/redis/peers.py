"""Who else is on the queue, and whose clock is off: what Redis tells about Sockudo's servers, and how to keep them out.

Sockudo's own workers leave signs: words in `tokens` that are not ours, and clients that wait with BLPOP, which we never
use for it. Their clocks show in the stream of events, whose ids are by the clock of Redis and whose timestamps are not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sockudo_queue.drivers.base import QueueFormat, Signs, Skew
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.queue_v2 import WORD_MARK, V2Source
from sockudo_queue.drivers.redis.server_info import eviction_of_ours, fields
from sockudo_queue.drivers.redis.source import RedisSource
from sockudo_queue.errors import BrokerRefused

TOKENS_LOOKED_AT: Final = 2_000
EVENTS_LOOKED_AT: Final = 100
"""Entries of the stream that one look reads; three or so belong to one job."""
ENQUEUED_COUNTED: Final = 20
"""How many of the newest jobs tell the clocks of those who enqueued them: so many until a mended clock is believed."""
OLD_MS: Final = 600_000
"""Age from which an entry says nothing of today's clocks."""
POPPING_IDLE: Final = ("0", "1", "2")
"""Seconds of idleness with which a client that pops is still at it; Sockudo's workers pop at least twice a second."""

PRODUCER_PARTS: Final = (
    "jobs",
    "wait",
    "inline-wait",
    "inline-wait-count",
    "delayed",
    "attempts",
    "max-attempts",
    "dedup",
    "dedup-expiry",
    "notify",
    "events",
)
"""What a server touches that enqueues. A claim needs more: `active`, `tokens`, `dlq`, `failures` and `completed`."""


def producer_rule(base: str) -> str:
    """Return the line that makes a Redis user with whom Sockudo 5 can enqueue and not claim."""
    # Redis refuses a script that names a key which its user may not touch, so every claim is refused whole.
    # The settings refuse a prefix that a pattern would read as more than itself.
    keys = " ".join(f"~{base}:{part}" for part in PRODUCER_PARTS)
    return f"ACL SETUSER sockudo-producer reset on >PASSWORD {keys} +@all -@dangerous +info +role +cluster|slots"


class RedisPeers:
    """Looks around on the servers of some sources. Changes nothing; safe from any thread."""

    def __init__(self, link: Link, sources: Sequence[RedisSource], *, we_pop: bool = False) -> None:
        """With `we_pop` our own workers wait with BLPOP too, and are not told from others."""
        self._link = link
        self._we_pop = we_pop
        self._sources = tuple(sources)

    def formats(self) -> list[QueueFormat]:
        """Return the forms of the queue that are served, and whether there is anything of them now."""
        return [QueueFormat(source.key, source.kind, source.is_known()) for source in self._sources]

    def signs(self) -> Signs:
        """Look for Sockudo's own workers. Raises `BrokerUnavailable`; what may not be asked counts as not seen."""
        held = sum(self._foreign_words(source) for source in self._sources if isinstance(source, V2Source))
        popping = [] if self._we_pop else [self._popping(near) for near in self._servers()]
        told = [addresses for addresses in popping if addresses is not None]
        hosts = {address.rpartition(":")[0] for addresses in told for address in addresses}
        return Signs(held, sum(map(len, told)) if told else None, tuple(sorted(hosts)))

    def skews(self) -> list[Skew]:
        """Return how far clocks are ahead of that of Redis. Raises `BrokerError`."""
        skews = [Skew("this-host", self._own_lead(near)) for near in self._servers()]
        worst = max(skews, key=lambda skew: abs(skew.ahead_ms))
        theirs = [self._their_lead(source) for source in self._sources if isinstance(source, V2Source)]
        return [worst, *(Skew("sockudo", lead) for lead in theirs if lead is not None)]

    def evictions(self) -> list[str]:
        """Say for each server that may drop keys of ours why. Raises `BrokerError`."""
        infos = [fields(self._link.call("INFO", "memory", near=near, read=replies.text)) for near in self._servers()]
        found = [eviction_of_ours(info) for info in infos]
        return list(dict.fromkeys(text for text in found if text is not None))

    def _servers(self) -> tuple[str, ...]:
        """Return a key on each server; two may be the same."""
        keys = tuple(source.key for source in self._sources)
        return keys if self._link.is_apart else keys[:1]

    def _foreign_words(self, source: V2Source) -> int:
        foreign, looked_at, cursor = 0, 0, b"0"
        while looked_at < TOKENS_LOOKED_AT:
            try:
                cursor, words = self._link.call("HSCAN", source.keys["tokens"], cursor, "COUNT", 500, read=_words)
            except BrokerRefused:
                return foreign
            foreign += sum(not word.startswith(WORD_MARK.encode()) for word in words)
            looked_at += max(len(words), 1)
            if cursor == b"0":
                break
        return foreign

    def _popping(self, near: str) -> list[str] | None:
        """Return the addresses of the clients in our database that wait with BLPOP; None where nobody may ask."""
        try:
            clients = self._link.call("CLIENT", "LIST", "TYPE", "normal", near=near, read=_clients)
        except BrokerRefused:
            return None
        ours = {client.get("db") for client in clients if client.get("cmd", "").startswith("client")}
        return [
            client.get("addr", "")
            for client in clients
            if client.get("cmd") == "blpop" and client.get("db") in ours and client.get("idle", "0") in POPPING_IDLE
        ]

    def _own_lead(self, near: str) -> int:
        """Return the milliseconds by which this host is ahead at least.

        The server read its clock at some moment of the call, and nobody can tell which: where it was busy for seconds,
        an answer that fits the clock of either end of them is no sign of a clock that is off.
        """
        asked = time.time()
        server = self._link.call("TIME", near=near, read=replies.moment)
        least, most = math.floor(asked * 1000) - server, math.ceil(time.time() * 1000) - server
        return max(least, min(most, 0))

    def _their_lead(self, source: V2Source) -> int | None:
        """Return the milliseconds by which those who enqueue are ahead; None where nothing tells.

        What was sent may take its time to arrive, so a clock is behind only by what the fastest entry says.
        """
        try:
            now = self._link.call("TIME", near=source.key, read=replies.moment)
            stream = source.keys["events"]
            entries = self._link.call("XREVRANGE", stream, "+", "-", "COUNT", EVENTS_LOOKED_AT, read=_leads)
        except BrokerRefused:
            return None
        # An id that is far ahead was not given by the clock of Redis: whoever adds an entry may name one.
        leads = [lead for at, lead in entries if lead is not None and abs(now - at) < OLD_MS]
        return max(leads[:ENQUEUED_COUNTED], default=None)


def _words(reply: Any) -> tuple[bytes, list[bytes]]:
    """Return a cursor and the words of a part of `tokens`; of one that is too large its beginning."""
    cursor, flat = replies.listed(reply)
    words = [word.head if isinstance(word, Oversized) else replies.text(word) for word in replies.listed(flat)[1::2]]
    return replies.text(cursor), words


def _clients(reply: Any) -> list[Mapping[str, str]]:
    """Return the properties of each client; of a list that is too large, those in its beginning."""
    listed = reply.head if isinstance(reply, Oversized) else replies.text(reply)
    lines = listed.decode(errors="replace").splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]


def _leads(reply: Any) -> list[tuple[int, int | None]]:
    return [_lead_of(entry) for entry in replies.listed(reply)]


def _lead_of(entry: Any) -> tuple[int, int | None]:
    """Return when an entry was written, and how far its writer's clock was ahead if it tells of an enqueued job."""
    name, flat = replies.listed(entry)
    at = int(replies.text(name).partition(b"-")[0])
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if fields.get(b"event") != b"enqueued":
        return at, None
    try:
        return at, replies.digits(fields.get(b"timestamp")) - at
    except ODD:  # whoever adds an entry may write anything there
        return at, None
