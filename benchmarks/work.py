"""The work of one job for every subject: the job's bytes in, a signed POST out."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import requests

from tests.helpers.jobs import APP_ID, event, job

THREADS = 5


def bodies(count: int, *, events: int = 2, endpoints: int = 1, apps: int = 1, event_bytes: int = 0) -> list[bytes]:
    """Return numbered jobs, assigned in turn to endpoints (by the prefix of their channels) and apps.

    `event_bytes` is the approximate size of an event; 0 leaves out its data.
    """
    made = []
    fields = {"data": "x" * max(event_bytes - 60, 0)} if event_bytes else {}
    for number in range(count):
        listed = [event(channel=f"e{number % endpoints}-room-{number}-{n}", **fields) for n in range(events)]
        app_id = APP_ID if apps == 1 else f"app-{number % apps}"
        made.append(job(number, events=listed, app_id=app_id))
    return made


def timed_body(number: int) -> bytes:
    """Return a job whose timestamp is now."""
    return job(number, events=[event(channel=f"e0-room-{number}", pushed_at=time.time_ns())])


def naive_post(session: requests.Session, url: str, body: bytes) -> None:
    """Deliver a job with straightforward code."""
    found: dict[str, Any] = json.loads(body)
    payload = json.dumps(found["payload"], separators=(",", ":"), ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Pusher-Key": found["app_key"],
        "X-Pusher-Signature": hmac.new(found["app_secret"].encode(), payload, hashlib.sha256).hexdigest(),
    }
    session.post(url, data=payload, headers=headers, timeout=10)
