"""Free ports of the loopback interface."""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

# Below Linux's range for outgoing connections (from 32768). A client that dials a closed port inside that range can be
# given the same port as its own and then talks to itself; and an outgoing connection can take the port of a server that
# is being restarted. A node of a Redis Cluster listens on port + 10000 too, so that range is left to those.
_FIRST, _LAST = 12_000, 21_999
_BUS: Final = 10_000


def own_ports(worker: str, workers: int) -> range:
    """Return the ports of one process of a run, such as `gw1` of 3. No two processes of a run share one.

    A server that is being restarted leaves its port free for a moment, and a server of another test must not take it.
    """
    size = (_LAST - _FIRST + 1) // workers
    first = _FIRST + size * (int(worker.removeprefix("gw")) % workers)
    return range(first, first + size)


def _walk() -> Iterator[int]:
    """Return the ports of this process in turn, so that one is not soon handed out again."""
    ports = own_ports(
        os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    )
    # Of the system, so that a seed which a test has set does not give every run the same ports.
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
