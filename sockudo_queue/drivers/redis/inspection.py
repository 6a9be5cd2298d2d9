"""What `check` reports about a Redis server: version, role, persistence, eviction, and the rights of our user.

Nothing is changed except one key of our own, which is empty before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sockudo_queue.drivers.base import Finding, FindingLevel
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import CommandDenied, ServerRefused, refusal_of_writes
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.queue_v2 import V2Source
from sockudo_queue.drivers.redis.server_info import MAX_DIGITS, eviction, fields
from sockudo_queue.drivers.redis.source import RedisSource, own_key
from sockudo_queue.errors import BrokerError, BrokerRefused

OLDEST: Final = (6, 0)
NO_BLOCKING_BELOW: Final = (6, 2)

LIST_SCRIPTS: Final = Script("next", "gather", "renew", "dead_replay", "dead_purge", "release", "controls")
HISTORY_SCRIPTS: Final = Script("history_shared", "history_append", "history_drop")
V2_SCRIPTS: Final = Script(
    "v2_queue",
    "v2_retention",
    "v2_settle",
    "v2_frames",
    "v2_claim",
    "v2_renew",
    "v2_peek",
    "v2_replay",
    "dead_purge",
    "release",
    "controls",
)
"""Not run here: their text shows which commands a queue format needs."""
_RIGHTS: Final = Script("rights")
_CALLED: Final = re.compile(r"redis\.p?call\('([A-Z]+)'")
_OUTSIDE: Final = ("HGET", "HMGET", "LINDEX", "LLEN", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE")
"""Commands that the daemon and the tools use outside of scripts."""

TRIALS: Final[Mapping[str, Sequence[str]]] = {
    "DECRBY": ("KEY", "0"),
    "EXISTS": ("KEY",),
    "GET": ("KEY",),
    "HDEL": ("KEY", "x"),
    "HEXISTS": ("KEY", "x"),
    "HGET": ("KEY", "x"),
    "HMGET": ("KEY", "x"),
    "HSCAN": ("KEY", "0"),
    "HSET": ("KEY", "x", "x"),
    "LINDEX": ("KEY", "0"),
    "LLEN": ("KEY",),
    "LPUSH": ("KEY", "x"),
    "LRANGE": ("KEY", "0", "0"),
    "LSET": ("KEY", "0", "x"),
    "LTRIM": ("KEY", "0", "-1"),
    "RPOP": ("KEY",),
    "RPUSH": ("KEY", "x"),
    "TIME": (),
    "XADD": ("KEY", "*", "x", "x"),
    "XDEL": ("KEY", "0-1"),
    "XLEN": ("KEY",),
    "XRANGE": ("KEY", "-", "+"),
    "XREVRANGE": ("KEY", "+", "-"),
    "ZADD": ("KEY", "0", "x"),
    "ZCARD": ("KEY",),
    "ZCOUNT": ("KEY", "0", "0"),
    "ZPOPMIN": ("KEY",),
    "ZRANGE": ("KEY", "0", "0"),
    "ZRANGEBYSCORE": ("KEY", "0", "0"),
    "ZREM": ("KEY", "x"),
    "ZSCORE": ("KEY", "x"),
}
"""Arguments with which each command is tried."""


def commands_of(script: Script) -> tuple[str, ...]:
    """Return the commands that a script's text calls."""
    return tuple(sorted(set(_CALLED.findall(script.text))))


def refused_commands(link: Link, source: str, needed: Iterable[str]) -> list[tuple[str, str]]:
    """Try commands beside a source; return the refused ones, each with the server's message.

    Raises `BrokerError` if the script itself is refused.
    """
    arguments: list[str | bytes | int] = []
    for name in sorted(needed):
        arguments += [name, len(TRIALS[name]), *TRIALS[name]]
    return link.run(_RIGHTS, [own_key(source, "check")], arguments, read=_pairs)


class Inspection:
    """Inspects the servers of some sources. Safe from any thread; blocks for a few seconds at most."""

    def __init__(self, link: Link, sources: Sequence[RedisSource]) -> None:
        self._link = link
        self._sources = tuple(sources)

    def findings(self) -> Iterator[Finding]:
        """Yield the findings.

        Raises `BrokerUnavailable` if the connection is lost, and `BrokerRefused` if the server refuses everything or
        every write: further findings would repeat that and look like missing rights.
        """
        # Findings that several nodes of a cluster share are reported once.
        found = dict.fromkeys(finding for near in self._servers() for finding in self._of_server(near))
        yield from found
        if any(finding.subject == "role" for finding in found):
            return  # it refuses all writes, whatever our rights
        for source in self._sources:
            try:
                yield self._rights(source)
            except ServerRefused as refusal:
                if not self._link.is_apart:
                    raise
                yield Finding(FindingLevel.ERROR, "server", f"{source.key} cannot be served: its server says {refusal}")
                continue
            yield from self._odd_types(source)
        yield from self._blocking()

    def _servers(self) -> tuple[str, ...]:
        """Return a key on each server; two of them may be on the same server."""
        keys = tuple(source.key for source in self._sources)
        return keys if self._link.is_apart else keys[:1]

    def _of_server(self, near: str) -> Iterator[Finding]:
        try:
            info = fields(self._link.call("INFO", near=near, read=replies.text))
        except ServerRefused:
            raise
        except BrokerRefused as refusal:
            yield Finding(
                FindingLevel.WARNING,
                "server",
                f"its version, persistence and eviction could not be read ({refusal}); allow +info for this user",
            )
            return
        if info.get("role") == "slave":
            yield Finding(
                FindingLevel.ERROR,
                "role",
                "this server is a read-only replica, so no jobs can be taken from it; point the settings at the master "
                f"({_master(info)}), or use Sentinel",
            )
            return
        yield _version(info)
        yield _persistence(info)
        yield eviction(info)

    def _rights(self, source: RedisSource) -> Finding:
        refused = list(self._refusals(source))
        if not refused:
            return Finding(FindingLevel.OK, "rights", f"{source.key}: this user has all required rights")
        in_use = self._is_in_use(source)
        if in_use is None and isinstance(source, V2Source):
            return Finding(
                FindingLevel.WARNING,
                "rights",
                f"{source.key}: rights are missing, and it is unknown whether it is in use; jobs of Sockudo 5 would "
                "stay there. docs/drivers.md has the rule for the user",
            )
        if in_use is False:
            return Finding(
                FindingLevel.OK, "rights", f"{source.key}: rights are missing, but it is not in use ({source.kind})"
            )
        listed = "; ".join([*dict.fromkeys(refused), "docs/drivers.md has the rule for the user"])
        return Finding(FindingLevel.ERROR, "rights", f"{source.key} cannot be served{self._by_whom(source)}: {listed}")

    def _by_whom(self, source: RedisSource) -> str:
        """Name our user if ACL WHOAMI is allowed: the login may differ from the intended one."""
        try:
            user = self._link.call("ACL", "WHOAMI", near=source.key, read=replies.text)
            return f" by the user {user.decode(errors='replace')}"
        except BrokerRefused:
            return ""

    def _refusals(self, source: RedisSource) -> Iterator[str]:
        try:
            source.settle_and_claim(None, "none")  # the real script with all of its keys; it settles and claims nothing
        except ServerRefused:
            raise
        except BrokerRefused as refusal:
            yield str(refusal)
        needed = {*commands_of(V2_SCRIPTS if isinstance(source, V2Source) else LIST_SCRIPTS), *_OUTSIDE}
        try:
            reply = refused_commands(self._link, source.key, needed)
        except BrokerRefused as refusal:
            yield str(refusal)
            return
        denied = [command for command, _ in reply]
        if denied:
            text = reply[0][1]
            if (of_all := refusal_of_writes(text)) is not None:
                raise of_all
            yield f"it refuses {', '.join(denied)} ({text})"

    def _odd_types(self, source: RedisSource) -> Iterator[Finding]:
        """Report keys that another program uses with another type: the scripts fail there, whatever our rights."""
        for key, wanted in source.types.items():
            try:
                found = self._link.call("TYPE", key, read=replies.text)
            except BrokerRefused:
                return  # the daemon does not need this command, so the ACL rule need not allow it
            name = found.decode(errors="replace")
            if name not in (wanted, "none"):
                yield Finding(
                    FindingLevel.ERROR,
                    "source",
                    f"{source.key} cannot be served: the key {key} is a {name}, and must be a {wanted}; "
                    "find the program that writes it, and rename or remove the key",
                )

    def _is_in_use(self, source: RedisSource) -> bool | None:
        """Return whether anything is stored, or None if that command is refused."""
        try:
            return source.is_known()
        except BrokerRefused:
            return None

    def _blocking(self) -> Iterator[Finding]:
        """Try the blocking command that the notifiers of lists use."""
        key = own_key(self._sources[-1].key, "check")
        try:
            self._link.call("BLMOVE", key, key, "LEFT", "LEFT", "0.001", read=replies.wakeup)
        except CommandDenied as refusal:
            # A full server accepts it again once it is drained; forbidden keys were reported already.
            if any(words in str(refusal) for words in ("maxmemory", "permissions to access")):
                return
            yield Finding(
                FindingLevel.WARNING,
                "rights",
                f"BLMOVE is refused ({refusal}), so an idle daemon polls 20 times a second; allow +blmove for this "
                "user",
            )
        except BrokerError:
            return  # the command does not exist before 6.2, which the version finding reports


def _pairs(reply: Any) -> list[tuple[str, str]]:
    words = [replies.text(word).decode(errors="replace") for word in replies.listed(reply)]
    return list(zip(words[::2], words[1::2], strict=True))


def _version(info: Mapping[str, str]) -> Finding:
    # Valkey reports its own version and the Redis version that it is derived from.
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    parts = info.get("redis_version", "").split(".")[:2]
    number = tuple(int(part) for part in parts if part.isdecimal() and len(part) <= MAX_DIGITS)
    if number < OLDEST:
        return Finding(
            FindingLevel.ERROR, "version", f"{name} {version or 'of an unknown version'}; 6.0 or newer is needed"
        )
    if number < NO_BLOCKING_BELOW:
        return Finding(
            FindingLevel.OK,
            "version",
            f"{name} {version}; from 6.2 on an idle daemon waits instead of polling 20 times a second",
        )
    return Finding(FindingLevel.OK, "version", f"{name} {version}")


def _master(info: Mapping[str, str]) -> str:
    host, port = info.get("master_host", ""), info.get("master_port", "")
    return f"{f'[{host}]' if ':' in host else host}:{port}" if host else "its address is unknown"


def _persistence(info: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") == "1" and info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            FindingLevel.ERROR,
            "persistence",
            "the last write to the append-only file failed; check the server's disk and log",
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            FindingLevel.ERROR,
            "persistence",
            "the last snapshot could not be written, and Redis may refuse jobs; check the server's disk and log",
        )
    if info.get("aof_enabled") != "1":
        return Finding(
            FindingLevel.WARNING,
            "persistence",
            "appendonly is off: a crash or a restart of the server loses the jobs since its last snapshot, or all "
            "jobs; set appendonly yes and appendfsync everysec there",
        )
    return Finding(FindingLevel.OK, "persistence", "appendonly is on")
