"""Detects other consumers of the queue and wrong clocks: what Redis reveals about Sockudo's servers.

Sockudo's own workers can be recognised by entries in `tokens` that are not ours, and by clients that wait with BLPOP,
which we never use on Queue V2. Wrong clocks show in the event stream: its ids come from the clock of Redis, its
timestamps from the writers' clocks. `producer_rule` is the ACL rule that prevents those workers from claiming.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sockudo_queue.drivers.base import PeerSigns, QueueFormat, Skew
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.queue_v2 import CLAIM_PREFIX, V2Source
from sockudo_queue.drivers.redis.server_info import eviction_of_ours, fields
from sockudo_queue.drivers.redis.source import RedisSource
from sockudo_queue.errors import BrokerRefused

MAX_TOKENS_READ: Final = 2_000
EVENT_BATCH_SIZE: Final = 100
"""Entries of the stream that one call reads; about three belong to one job."""
ENQUEUED_COUNTED: Final = 20
"""Number of newest jobs from which the producers' clocks are judged; a corrected clock is trusted after this many jobs.
"""
OLD_MS: Final = 600_000
"""Age from which an entry is ignored, because clocks may have changed since."""
POPPING_IDLE: Final = ("0", "1", "2")
"""Idle seconds of a client that still pops regularly; Sockudo's workers pop at least twice a second."""

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
"""The keys a producing server uses. A claim also needs `active`, `tokens`, `dlq`, `failures` and `completed`."""


def producer_rule(base: str) -> str:
    """Return the ACL command that creates a Redis user with which Sockudo 5 can enqueue but not claim."""
    # Redis refuses a script that names a key which its user may not access, so a claim is refused as a whole. The
    # settings reject a prefix with characters that an ACL pattern would interpret.
    keys = " ".join(f"~{base}:{part}" for part in PRODUCER_PARTS)
    return f"ACL SETUSER sockudo-producer reset on >PASSWORD {keys} +@all -@dangerous +info +role +cluster|slots"


class RedisPeers:
    """Inspects the servers of some sources. Changes nothing; safe from any thread."""

    def __init__(self, link: Link, sources: Sequence[RedisSource], *, we_pop: bool = False) -> None:
        """With `we_pop` our own workers wait with BLPOP too, and cannot be distinguished from others."""
        self._link = link
        self._we_pop = we_pop
        self._sources = tuple(sources)

    def formats(self) -> list[QueueFormat]:
        """Return the served queue formats, and whether each of them has jobs now."""
        return [QueueFormat(source.key, source.kind, source.is_known()) for source in self._sources]

    def signs(self) -> PeerSigns:
        """Look for Sockudo's own workers. Raises `BrokerUnavailable`; a refused command counts as no sign."""
        held = sum(self._foreign_tokens(source) for source in self._sources if isinstance(source, V2Source))
        popping = [] if self._we_pop else [self._popping(near) for near in self._servers()]
        known = [addresses for addresses in popping if addresses is not None]
        hosts = {address.rpartition(":")[0] for addresses in known for address in addresses}
        return PeerSigns(held, sum(map(len, known)) if known else None, tuple(sorted(hosts)))

    def skews(self) -> list[Skew]:
        """Return how far each clock is ahead of that of Redis. Raises `BrokerError`."""
        skews = [Skew("this-host", self._own_clock_offset(near)) for near in self._servers()]
        worst = max(skews, key=lambda skew: abs(skew.ahead_ms))
        theirs = [self._producers_clock_offset(source) for source in self._sources if isinstance(source, V2Source)]
        return [worst, *(Skew("sockudo", offset) for offset in theirs if offset is not None)]

    def evictions(self) -> list[str]:
        """Return one text for each server that may evict our keys. Raises `BrokerError`."""
        infos = [fields(self._link.call("INFO", "memory", near=near, read=replies.text)) for near in self._servers()]
        found = [eviction_of_ours(info) for info in infos]
        return list(dict.fromkeys(text for text in found if text is not None))

    def _servers(self) -> tuple[str, ...]:
        """Return a key on each server; two of them may be on the same server."""
        keys = tuple(source.key for source in self._sources)
        return keys if self._link.is_apart else keys[:1]

    def _foreign_tokens(self, source: V2Source) -> int:
        foreign, checked, cursor = 0, 0, b"0"
        while checked < MAX_TOKENS_READ:
            try:
                cursor, tokens = self._link.call("HSCAN", source.keys["tokens"], cursor, "COUNT", 500, read=_tokens)
            except BrokerRefused:
                return foreign
            foreign += sum(not token.startswith(CLAIM_PREFIX.encode()) for token in tokens)
            checked += max(len(tokens), 1)
            if cursor == b"0":
                break
        return foreign

    def _popping(self, near: str) -> list[str] | None:
        """Return the addresses of clients in our database that wait with BLPOP; None if CLIENT LIST is refused."""
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

    def _own_clock_offset(self, near: str) -> int:
        """Return the minimum number of milliseconds by which this host's clock is ahead.

        The server read its clock at an unknown moment during the call. If the server was busy for seconds, an answer
        that matches our clock at either end of the call does not prove that a clock is wrong.
        """
        asked = time.time()
        server = self._link.call("TIME", near=near, read=replies.moment)
        earliest, latest = math.floor(asked * 1000) - server, math.ceil(time.time() * 1000) - server
        return max(earliest, min(latest, 0))

    def _producers_clock_offset(self, source: V2Source) -> int | None:
        """Return the milliseconds by which the producers' clocks are ahead; None without evidence.

        Commands may arrive late, so a clock is only behind by as much as the fastest entry shows.
        """
        try:
            now = self._link.call("TIME", near=source.key, read=replies.moment)
            stream = source.keys["events"]
            entries = self._link.call("XREVRANGE", stream, "+", "-", "COUNT", EVENT_BATCH_SIZE, read=_clock_offsets)
        except BrokerRefused:
            return None
        # An id far ahead was not assigned by the clock of Redis: XADD accepts an explicit id.
        offsets = [offset for at, offset in entries if offset is not None and abs(now - at) < OLD_MS]
        return max(offsets[:ENQUEUED_COUNTED], default=None)


def _tokens(reply: Any) -> tuple[bytes, list[bytes]]:
    """Return a cursor and the tokens of a page of `tokens`; of an oversized token its beginning."""
    cursor, flat = replies.listed(reply)
    tokens = [
        token.head if isinstance(token, Oversized) else replies.text(token) for token in replies.listed(flat)[1::2]
    ]
    return replies.text(cursor), tokens


def _clients(reply: Any) -> list[Mapping[str, str]]:
    """Return the properties of each client; of an oversized list, those in its beginning."""
    listed = reply.head if isinstance(reply, Oversized) else replies.text(reply)
    lines = listed.decode(errors="replace").splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]


def _clock_offsets(reply: Any) -> list[tuple[int, int | None]]:
    return [_clock_offset_of(entry) for entry in replies.listed(reply)]


def _clock_offset_of(entry: Any) -> tuple[int, int | None]:
    """Return when an entry was written, and how far its writer's clock was ahead if it reports an enqueued job."""
    name, flat = replies.listed(entry)
    at = int(replies.text(name).partition(b"-")[0])
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if fields.get(b"event") != b"enqueued":
        return at, None
    try:
        return at, replies.digits(fields.get(b"timestamp")) - at
    except ODD:  # other programs can add entries with any content
        return at, None
