"""The wire format of an alert: a Standard Webhooks id and the bytes of its body."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from sockudo_queue.core.alert import Alert


class AlertMessage(NamedTuple):
    """One message. Every attempt to send it has the same id and body."""

    id: str
    body: bytes


def message_of(alert: Alert, replica: str, lost: int = 0) -> AlertMessage:
    """Return the message of an alert. `lost` is the number of alerts lost since the last one that arrived."""
    count = {"changes" if alert.is_change else "count": alert.count}
    moment = datetime.fromtimestamp(alert.at, UTC).isoformat(timespec="milliseconds")
    payload = {
        "type": alert.type,
        "timestamp": moment.replace("+00:00", "Z"),
        "data": {**alert.data, **count, "alerts_lost": lost, "replica": replica},
    }
    return AlertMessage(f"msg_{os.urandom(16).hex()}", msgspec.json.encode(payload))


def replica_name() -> str:
    """Return the name of this process in alerts and in the attempt history."""
    return f"{socket.gethostname()}:{os.getpid()}"
