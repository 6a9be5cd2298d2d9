"""The naive delivery as a dramatiq actor, and the same with the daemon's own sender instead of `requests`."""

from __future__ import annotations

import os
import threading

import dramatiq
import requests
from dramatiq.brokers.redis import RedisBroker

from benchmarks.work import naive_post
from sockudo_queue.core import job as jobs
from sockudo_queue.core import signing
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport

URL = os.environ.get("BENCH_URL", "")

broker = RedisBroker(url=os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379"))
dramatiq.set_broker(broker)

_own = threading.local()
_sender = Sender(CurlTransport(HandleOptions()))
_webhook = Webhook("hook", frozenset({"channel_occupied"}), Secret(URL))


@dramatiq.actor
def deliver(body: str) -> None:
    """Deliver one job with `requests`."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    naive_post(_own.session, URL, body.encode())


@dramatiq.actor
def deliver_lean(body: str) -> None:
    """Deliver one job with our sender: the effect of the HTTP layer alone."""
    read = jobs.decode(body.encode())
    payload = signing.body_of(read.time_ms, read.events)
    headers = {"X-Pusher-Key": read.app_key, "X-Pusher-Signature": signing.sign(read.signing_key, payload)}
    _sender.post(_webhook, payload, headers)
