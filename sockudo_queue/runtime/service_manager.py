"""Notifies systemd that the daemon has started or is stopping, for a unit with `Type=notify`.

The protocol is one datagram to the socket in the variable NOTIFY_SOCKET; see sd_notify(3).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_SEND_SECONDS: Final = 1.0
"""Maximum wait for space in the socket's queue."""


class ServiceManager:
    """The service manager that started this process. Without one, `notify` does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")

    def notify(self, state: str) -> str | None:
        """Send a state, within 1 s. Return why that failed, or None if it was sent or there is no service manager."""
        if not self._path:
            return None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(_SEND_SECONDS)
                connection.sendto(state.encode(), self._address)
        except OSError as error:
            return f"NOTIFY_SOCKET: cannot send {state} to {self._path}: {error.strerror or error}"
        return None

    @property
    def _address(self) -> str:
        """A leading "@" means the null byte of an abstract socket."""
        return f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
