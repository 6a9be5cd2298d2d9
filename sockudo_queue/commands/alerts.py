"""The checks of the alert receiver, and the test alert of `check --alert`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sockudo_queue.commands.endpoints import endpoint_of, inspect_endpoint
from sockudo_queue.config import Settings, ascii_url
from sockudo_queue.core import alert
from sockudo_queue.delivery.factory import DeliveryStack, usable_options
from sockudo_queue.drivers.base import Finding, FindingLevel
from sockudo_queue.runtime.interpreter_lock import PythonGate
from sockudo_queue.services.alert_message import message_of, replica_name

_SUBJECT = "alerts"


def alert_findings(settings: Settings, *, send: bool) -> Iterator[Finding]:
    """Yield whether the receiver can be reached, and with `send` what it answers to a test alert."""
    url = settings.alerts.url
    if url is None or settings.alerts.secret is None:
        if send:
            text = "no test alert was sent; set QUEUE_ALERT_URL and QUEUE_ALERT_SECRET, see docs/alerts.md"
            yield Finding(FindingLevel.ERROR, _SUBJECT, text)
        return
    endpoint = endpoint_of(ascii_url(url.revealed.strip()))
    level, text = inspect_endpoint(endpoint, usable_options(settings, None), verify=True)
    yield Finding(level, _SUBJECT, f"{endpoint}: {text}")
    if send:
        yield _sent(settings)


def _sent(settings: Settings) -> Finding:
    sender = DeliveryStack(settings, PythonGate()).alert_sender(settings.alerts)
    assert sender is not None, "its settings are there"
    outcome = sender.post(*message_of(alert.trial_alert(time.time()), replica_name()))
    if outcome.delivered:
        return Finding(FindingLevel.OK, _SUBJECT, f"a test alert was accepted with {outcome.status}")
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return Finding(
        FindingLevel.ERROR, _SUBJECT, f"a test alert failed: {outcome.reason}{detail}; see the receiver's log"
    )
