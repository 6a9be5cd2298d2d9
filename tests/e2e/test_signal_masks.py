"""No signal interrupts anything: no handler exists, and every thread leaves the signals to the one that waits."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Final

from tests.faults.queue import daemon_on
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer

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


def _holds(status: str, mask: str, number: signal.Signals) -> bool:
    found = re.search(rf"^{mask}:\t([0-9a-f]+)$", status, re.MULTILINE)
    assert found is not None, status
    return bool(int(found[1], 16) >> (number - 1) & 1)
