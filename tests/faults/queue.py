"""The queue as tests see it: Sockudo's lists, our own keys beside them, and a daemon on both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess

SERVER_LIST: Final = "sockudo_queue::queue:webhooks"  # what every released server before 5.0 writes
DOCUMENTED_LIST: Final = "sockudo_queue:queue:webhooks"
LISTS: Final = (SERVER_LIST, DOCUMENTED_LIST)

SHORT_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "3000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "1000"}
SLOTS: Final = 5  # the default of QUEUE_WORKERS
_BATCH: Final = 500
_LOG_TAIL_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Record:
    """One record in a set of ours: `score` is when it is due, when its lease ends, or when it died."""

    receipt: str
    score: float
    state: Mapping[str, Any]
    body: bytes

    @property
    def attempts(self) -> int:
        return int(self.state.get("attempts", 0))


def own_key(source: str, part: str) -> str:
    """Return the name of one of our keys, which lies in the cluster slot of its source."""
    return f"sockudo-queue:{source if '{' in source else '{' + source + '}'}:{part}"


def push(client: redis.Redis, bodies: Sequence[bytes], *lists: str) -> None:
    """Append jobs as Sockudo does, in turn to each of the lists; by default to the one that servers write."""
    lists = lists or (SERVER_LIST,)
    for number, name in enumerate(lists):
        mine = bodies[number :: len(lists)]
        for first in range(0, len(mine), _BATCH):
            client.rpush(name, *mine[first : first + _BATCH])


def records(client: redis.Redis, part: str, source: str = SERVER_LIST) -> list[Record]:
    """Return the records of one set of ours (`active`, `delayed` or `dead`), by their scores."""
    members: Any = client.zrange(own_key(source, part), 0, -1, withscores=True)
    receipts = [receipt.decode() for receipt, _ in members]
    names = [receipt.rpartition("/")[0] for receipt in receipts]
    values: Any = client.hmget(own_key(source, "records"), names) if names else []
    scores = [float(score) for _, score in members]
    return [_record(*each) for each in zip(receipts, scores, values, strict=True)]


def waiting(client: redis.Redis) -> int:
    """Count the jobs and shares that wait or are at work, wherever they are, at one moment."""
    # In one transaction: counted one after the other, a record that changes its place meanwhile would be in none.
    with client.pipeline(transaction=True) as counts:
        for source in LISTS:
            counts.llen(source)
            counts.llen(own_key(source, "ready"))
            counts.zcard(own_key(source, "active"))
            counts.zcard(own_key(source, "delayed"))
        return sum(counts.execute())


def daemon_on(redis_url: str, *webhooks: str | Mapping[str, Any], **environment: str) -> DaemonProcess:
    """Return a daemon, not yet started, whose one app has these webhooks; a URL stands for one that wants all."""
    hooks = [webhook(each) if isinstance(each, str) else dict(each) for each in webhooks]
    return DaemonProcess(config(app(*hooks)), environment, redis_url=redis_url)


def log_tail(daemon: DaemonProcess) -> Callable[[], str]:
    """Return a function for failure messages: the end of the daemon's log, without successful attempts."""
    return lambda: "\n".join(
        [line for line in daemon.output().splitlines() if '"outcome":"delivered"' not in line][-_LOG_TAIL_LINES:]
    )


def settled(daemon: DaemonProcess, outcome: str) -> int:
    """Return how many claims have ended in this way since the daemon's start."""
    return int(daemon.metric("sockudo_queue_settlements_total", outcome=outcome))


def _record(receipt: str, score: float, value: bytes | None) -> Record:
    assert value is not None, f"{receipt} has no value"
    if value[:1] != b"\x01":
        return Record(receipt, score, {}, value)
    state, _, body = value[1:].partition(b"\n")
    return Record(receipt, score, json.loads(state or b"{}"), body)
