"""The naive loop: five threads, each `BLPOP`, `json.loads`, an HMAC and `requests.Session.post`.

python -m benchmarks.naive    # reads BENCH_REDIS and BENCH_URL, runs until it is stopped
"""

from __future__ import annotations

import os
import threading
from typing import Any

import redis
import requests

from benchmarks.work import THREADS, naive_post

LIST = "sockudo_queue::queue:webhooks"


def _work() -> None:
    client = redis.Redis.from_url(os.environ["BENCH_REDIS"])
    session = requests.Session()
    while True:
        popped: Any = client.blpop([LIST], timeout=1)
        if popped is not None:
            naive_post(session, os.environ["BENCH_URL"], popped[1])


if __name__ == "__main__":
    for _ in range(THREADS):
        threading.Thread(target=_work).start()
