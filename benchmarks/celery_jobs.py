"""The naive delivery as a Celery task."""

from __future__ import annotations

import os
import threading

import requests
from celery import Celery

from benchmarks.work import naive_post

app = Celery("bench", broker=os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379"))
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
_own = threading.local()


@app.task
def deliver(body: str) -> None:
    """Deliver one job."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    naive_post(_own.session, os.environ["BENCH_URL"], body.encode())
