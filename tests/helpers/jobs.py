"""Job bodies as Sockudo 4.7 puts them on a list: compact JSON, raw UTF-8, fields in its order."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Final

APP_ID: Final = "shop"
APP_KEY: Final = "shop-key"
APP_SECRET: Final = "shop-secret"
TIME_MS: Final = 1_751_100_000_000

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_NUMBERED_CHANNEL: Final = re.compile(rb'"channel":"room-(\d+)"')


def event(name: str = "channel_occupied", channel: str = "room-1", **fields: object) -> bytes:
    """Return one event. Its keys keep the given order: the server's order is arbitrary, but stays as it is."""
    return dumps({"channel": channel, "name": name, **fields})


def job(
    n: int = 1,
    *,
    events: Sequence[bytes] | None = None,
    app_id: str = APP_ID,
    key: str = APP_KEY,
    secret: str = APP_SECRET,
    time_ms: int | None = None,
) -> bytes:
    """Return the body of job number `n`: by default one `channel_occupied` of the channel `room-<n>`.

    `events` are inserted byte for byte. The same arguments give the same bytes, so identical jobs are `[job()] * 3`.
    """
    listed = b",".join([event(channel=f"room-{n}")] if events is None else events)
    time = TIME_MS + n if time_ms is None else time_ms
    signature = dumps(f"{app_id}:room-{n}:channel_occupied")
    payload = b'{"time_ms":%d,"events":[%b]}' % (time, listed)
    return b'%b,"payload":%b,"original_signature":%b}' % (_head(app_id, key, secret), payload, signature)


@functools.lru_cache(maxsize=1024)
def _head(app_id: str, key: str, secret: str) -> bytes:
    return dumps({"app_key": key, "app_id": app_id, "app_secret": secret})[:-1]


def jobs(count: int, first: int = 1) -> list[bytes]:
    """Return `count` jobs with consecutive numbers, starting at `first`."""
    return [job(n) for n in range(first, first + count)]


def numbers(body: bytes) -> list[int]:
    """Return the numbers of the jobs whose events are in the body of a job or a webhook."""
    return [int(number) for number in _NUMBERED_CHANNEL.findall(body)]


def webhook_body(n: int = 1, *, events: Sequence[bytes] | None = None, time_ms: int | None = None) -> bytes:
    """Return the body for a webhook that wants all of `job(n, …)`."""
    listed = b",".join([event(channel=f"room-{n}")] if events is None else events)
    return b'{"time_ms":%d,"events":[%b]}' % (TIME_MS + n if time_ms is None else time_ms, listed)


def dumps(value: object) -> bytes:
    """Return compact JSON in raw UTF-8."""
    return _ENCODER.encode(value).encode()
