"""The floor: only the daemon's claim script and bare libcurl in threads. No logs, metrics, matching, retries or drain.

python -m benchmarks.floor    # reads BENCH_REDIS, BENCH_URL and BENCH_THREADS, runs until it is stopped
"""

from __future__ import annotations

import os
import threading
import time

import pycurl

from benchmarks.work import THREADS
from sockudo_queue.config import RedisSettings, Settings
from sockudo_queue.core import job as jobs
from sockudo_queue.core import signing
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Settlement
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.lists import ListSource, source_keys
from sockudo_queue.drivers.redis.source import SourceOptions


def _work(source: ListSource, url: str) -> None:
    curl = pycurl.Curl()
    for option, value in ((pycurl.NOSIGNAL, 1), (pycurl.POST, 1), (pycurl.URL, url), (pycurl.TIMEOUT_MS, 10_000)):
        curl.setopt(option, value)
    settled = None
    while True:
        claim = source.settle_and_claim(settled).claim
        settled = None
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
        settled = Settlement(claim)


if __name__ == "__main__":
    link = link_of(Settings(redis=RedisSettings(url=Secret(os.environ["BENCH_REDIS"]))))
    served = ListSource(source_keys("sockudo_queue:", "webhooks")[0], link, link, SourceOptions(30_000, 1000))
    for _ in range(int(os.environ.get("BENCH_THREADS", THREADS))):
        threading.Thread(target=_work, args=(served, os.environ["BENCH_URL"])).start()
