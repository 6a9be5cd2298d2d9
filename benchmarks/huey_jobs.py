"""The naive delivery as a huey task."""

from __future__ import annotations

import os
import threading

import requests
from huey import RedisHuey

from benchmarks.work import naive_post

huey = RedisHuey("bench", url=os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379"), results=False)
_own = threading.local()


@huey.task()
def deliver(body: str) -> None:
    """Deliver one job."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    naive_post(_own.session, os.environ["BENCH_URL"], body.encode())
