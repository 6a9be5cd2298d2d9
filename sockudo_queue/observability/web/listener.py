"""Opens a listening socket."""

from __future__ import annotations

import socket
from typing import Any, Final

LISTEN_BACKLOG: Final = 128


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; an empty `host` means every address. Raises `OSError`. The caller closes it."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        _take(listener, address)
    except OSError:
        listener.close()
        raise
    return listener


def _take(listener: socket.socket, address: Any) -> None:
    # A restart must not wait for the last scrapes' connections to time out.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")  # `::` serves IPv4 too
    listener.bind(address)
    listener.listen(LISTEN_BACKLOG)
