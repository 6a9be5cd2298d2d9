"""Signals: there are no handlers, one thread waits for all of them, and nothing else is treated as one."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Final

from tests.faults.queue import daemon_on, log_tail, push
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def test_no_handler_runs_and_every_thread_blocks_the_signals(redis_server: RedisServer, receiver: Receiver) -> None:
    """python/cpython#121649, python/cpython#126434: a handler that takes a lock can hang the process for ever."""
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        daemon.wait_ready()
        threads = [path.read_text() for path in Path(f"/proc/{daemon.pid}/task").glob("*/status")]
        assert len(threads) > 5
        for status in threads:
            for number in _SIGNALS:
                assert _holds(status, "SigBlk", number)
        assert not any(_holds(threads[0], "SigCgt", number) for number in (signal.SIGTERM, signal.SIGHUP))
        daemon.signal(signal.SIGHUP)
        daemon.terminate()
        assert daemon.wait(5) == 0
        assert len(daemon.events("daemon.stopped")) == 1


def test_frozen_daemon_sees_no_signal(redis_server: RedisServer, receiver: Receiver) -> None:
    """As a debugger, a checkpoint or a laptop's lid does it: longer than the daemon waits for a signal at a time."""
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        daemon.wait_ready()
        daemon.signal(signal.SIGHUP)  # memory of a signal, which must not be taken for another
        for _ in range(3):
            daemon.pause()
            time.sleep(0.6)
            daemon.resume()
            eventually(lambda: daemon.get("/livez") == 200, 5, log_tail(daemon))
        daemon.wait_ready()
        assert daemon.events("daemon.draining") == []
        receiver.hang()
        with redis_server.client() as client:
            push(client, [job(1)])
            receiver.wait_for(1)
        daemon.terminate()
        eventually(lambda: daemon.events("daemon.draining"), 5, log_tail(daemon))
        daemon.pause()
        time.sleep(0.1)  # a moment longer than a stop waits for a second signal at a time
        daemon.resume()
        receiver.refuse()
        assert daemon.wait(10) == 0  # and not 1, as after a second signal


def _holds(status: str, mask: str, number: signal.Signals) -> bool:
    found = re.search(rf"^{mask}:\t([0-9a-f]+)$", status, re.MULTILINE)
    assert found is not None, status
    return bool(int(found[1], 16) >> (number - 1) & 1)
