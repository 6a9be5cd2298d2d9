"""Free ports of the loopback interface."""

from __future__ import annotations

import errno
import random
import socket
from typing import Final

# Below Linux's range for outgoing connections (from 32768). A client that dials a closed port inside that range can be
# given the same port as its own and then talks to itself; and an outgoing connection can take the port of a server that
# is being restarted. A node of a Redis Cluster listens on port + 10000 too, so that range is left to those.
_FIRST, _LAST = 12_000, 21_999
_BUS: Final = 10_000

# Of the system, so that a seed which a test has set does not give every process of a run the same ports.
_CHANCE: Final = random.SystemRandom()


def free_port() -> int:
    """Return a port that nobody listens on just now; somebody else may take it before the caller does."""
    for _ in range(200):
        port = _CHANCE.randint(_FIRST, _LAST)
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
