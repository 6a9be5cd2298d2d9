"""Ending a connection with a TCP reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct


def reset(transport: asyncio.WriteTransport) -> None:
    """Discard unsent data and reset the connection."""
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        # Lingering for zero seconds makes the close a reset; a connection that is already closing has no socket.
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
