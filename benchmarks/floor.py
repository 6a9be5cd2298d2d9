"""The floor: only the daemon's script, with batches, and bare libcurl in threads.

No logs, metrics, matching, retries or drain.

python -m benchmarks.floor    # reads BENCH_REDIS, BENCH_URL and BENCH_THREADS, runs until it is stopped
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

import pycurl

from benchmarks.work import THREADS
from sockudo_queue.config import RedisSettings, Settings
from sockudo_queue.core import job as jobs
from sockudo_queue.core import signing
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Claim, Settlement
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.lists import ListSource, source_keys
from sockudo_queue.drivers.redis.source import SourceOptions

BATCH = 16


class _Batches:
    """The claims and acks that wait. One thread at a time asks for more."""

    def __init__(self, source: ListSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._waiting: deque[Claim] = deque()
        self._acks: list[Settlement] = []

    def ack(self, claim: Claim) -> None:
        self._acks.append(Settlement(claim))

    def next(self) -> Claim | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            acks, self._acks = self._acks, []
            result = self._source.settle_and_claim_batch(acks, BATCH, None)
            self._waiting.extend(result.more)
            return result.claim


def _work(batches: _Batches, url: str) -> None:
    curl = pycurl.Curl()
    for option, value in ((pycurl.NOSIGNAL, 1), (pycurl.POST, 1), (pycurl.URL, url), (pycurl.TIMEOUT_MS, 10_000)):
        curl.setopt(option, value)
    while True:
        claim = batches.next()
        if claim is None:
            time.sleep(0.001)
            continue
        job = jobs.decode(claim.body)
        body = signing.body_of(job.time_ms, job.events)
        signature = signing.sign(job.signing_key, body)
        curl.setopt(
            pycurl.HTTPHEADER,
            [
                b"Content-Type: application/json",
                b"X-Pusher-Key: " + job.app_key.encode(),
                b"X-Pusher-Signature: " + signature.encode(),
                b"Expect:",
            ],
        )
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.perform()
        batches.ack(claim)


if __name__ == "__main__":
    link = link_of(Settings(redis=RedisSettings(url=Secret(os.environ["BENCH_REDIS"]))))
    served = ListSource(source_keys("sockudo_queue:", "webhooks")[0], link, link, SourceOptions(30_000, 1000))
    shared = _Batches(served)
    for _ in range(int(os.environ.get("BENCH_THREADS", THREADS))):
        threading.Thread(target=_work, args=(shared, os.environ["BENCH_URL"])).start()
