"""Job bodies as Sockudo 4.7 and 5.0 put them on a queue, written out by hand."""

from __future__ import annotations

import time
import uuid
from typing import Final

APP_ID: Final = "shop"
APP_KEY: Final = "shop-key"
APP_SECRET: Final = "demo-secret"  # noqa: S105 - known only to the demo's own receivers

OCCUPIED: Final = '{"channel":"room-1","name":"channel_occupied"}'
JOINED: Final = (
    '{"name":"channel_occupied","channel":"presence-lobby"}',
    '{"user_id":"ann","name":"member_added","channel":"presence-lobby"}',
    '{"channel":"room-2","name":"channel_occupied"}',
)
# Another JSON library would write the number as 1e16, and the signature over the old bytes would be wrong.
TYPED: Final = (
    '{"event":"client-typing","channel":"private-chat","name":"client_event","data":{"x":1e+16},"socket_id":"1.2"}'
)


def job_4_7(signature: str, *events: str) -> bytes:
    """Return a job of Sockudo 4.7, which knows no `job_id`."""
    return ("{" + _rest(signature, events)).encode()


def job_5_0(signature: str, *events: str) -> bytes:
    """Return a job of Sockudo 5.0, which begins with its id."""
    return (f'{{"job_id":"{uuid.uuid4().hex}",' + _rest(signature, events)).encode()


def unreadable() -> bytes:
    """Return an object that is not a job: it has no events and nothing to sign with."""
    return b'{"app_id":"shop","payload":"?"}'


def _rest(signature: str, events: tuple[str, ...]) -> str:
    return (
        f'"app_key":"{APP_KEY}","app_id":"{APP_ID}","app_secret":"{APP_SECRET}",'
        f'"payload":{{"time_ms":{time.time_ns() // 1_000_000},"events":[{",".join(events)}]}},'
        f'"original_signature":"{APP_ID}:{signature}"}}'
    )
