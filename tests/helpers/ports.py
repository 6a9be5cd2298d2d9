"""Free ports of the loopback interface."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Below Linux's range for outgoing connections (from 32768). A client that dials a closed port inside that range can
# receive the same port as its own and then talk to itself; and an outgoing connection can take the port of a server
# that is being restarted. A node of a Redis Cluster also listens on port + 10000, so that range is reserved for those.
_FIRST, _LAST = 12_000, 21_999
_BUS: Final = 10_000
_RUNS: Final = 4
_RUN_VARIABLE: Final = "SOCKUDO_QUEUE_TEST_RUN"


def own_ports(worker: str, workers: int, run: int = 0) -> range:
    """Return the ports of one process of a run, such as `gw1` of 3. No two processes share a port, not even of two
    runs.

    A restarting server leaves its port free for a moment, and a server of another test must not take it.
    """
    size = (_LAST - _FIRST + 1) // (_RUNS * workers)
    first = _FIRST + size * (run * workers + int(worker.removeprefix("gw")) % workers)
    return range(first, first + size)


def _number_of_this_run() -> int:
    """Return a number that no other run on this machine has, for up to four concurrent runs.

    The first process of a run holds it by a lock until it ends, and passes it on to its workers in a variable.
    """
    passed_on = os.environ.get(_RUN_VARIABLE)
    if passed_on is not None:
        return int(passed_on)
    number = next(filter(_lock, range(_RUNS)), random.SystemRandom().randrange(_RUNS))
    os.environ[_RUN_VARIABLE] = str(number)
    return number


def _lock(number: int) -> bool:
    path = Path(tempfile.gettempdir()) / f"sockudo-queue-test-run-{os.getuid()}-{number}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True  # the descriptor stays open, and with it the lock


def _walk() -> Iterator[int]:
    """Yield the ports of this process in turn, so that a port is not reused soon."""
    ports = own_ports(
        os.environ.get("PYTEST_XDIST_WORKER", "gw0"),
        int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
        _number_of_this_run(),
    )
    # Uses the system's source, so that a seed set by a test does not give every run the same ports.
    start = random.SystemRandom().randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_PORTS: Final = _walk()


def free_port() -> int:
    """Return a port on which nothing listens now. Only a program outside this run may take it first."""
    for port in itertools.islice(_PORTS, 200):
        if _is_free(port) and _is_free(port + _BUS):
            return port
    raise RuntimeError("found no free port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
