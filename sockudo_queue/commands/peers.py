"""The checks of the forms of the queue, the clocks, and Sockudo's own workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockudo_queue.drivers.base import Finding, FindingLevel, Peers, Skew
from sockudo_queue.errors import BrokerRefused
from sockudo_queue.services.peers import WARN_MS, format_clock, format_signs

QUEUE_V2: Final = "Queue V2"
ZERO_WITH_V2: Final = (
    "a concurrency of 0 is set, but Queue V2 of Sockudo 5.0 or later is in use here; with 0, such a server has no "
    "queue and sends no webhooks, although its /up says OK; remove the 0 for the server, and give its queue the "
    "Redis user that sockudo-queue check --acl prints"
)


def peer_findings(peers: Peers, lease_ms: int, *, says_zero: bool) -> Iterator[Finding]:
    """Yield one finding per check. `says_zero`: a concurrency of 0 is set. Raises `BrokerUnavailable`."""
    yield from _formats(peers, says_zero=says_zero)
    for skew in peers.skews():
        yield _clock(skew, lease_ms)
    signs = peers.signs()
    if signs:
        yield Finding(FindingLevel.WARNING, "workers", format_signs(signs))
    elif signs.clients is None:
        text = "no foreign claims; waiting clients cannot be checked without the permission to run CLIENT LIST"
        yield Finding(FindingLevel.OK, "workers", text)
    else:
        yield Finding(FindingLevel.OK, "workers", "no signs of Sockudo's own workers")


def _formats(peers: Peers, *, says_zero: bool) -> Iterator[Finding]:
    try:
        formats = peers.formats()
    except BrokerRefused as refusal:
        yield Finding(FindingLevel.OK, "source", f"the forms of the queue in use cannot be determined ({refusal})")
        return
    for form in formats:
        use = "in use" if form.known else "no keys exist now"
        yield Finding(FindingLevel.OK, "source", f"{form.source} ({form.kind}): {use}")
        if says_zero and form.known and form.kind.startswith(QUEUE_V2):
            yield Finding(FindingLevel.ERROR, "workers", ZERO_WITH_V2)


def _clock(skew: Skew, lease_ms: int) -> Finding:
    if abs(skew.ahead_ms) > lease_ms / 3:
        text = f"{format_clock(skew)}, more than a third of the lease; set the clocks by NTP"
        return Finding(FindingLevel.ERROR, "clock", text)
    if abs(skew.ahead_ms) > WARN_MS:
        return Finding(FindingLevel.WARNING, "clock", f"{format_clock(skew)}; set the clocks by NTP")
    return Finding(FindingLevel.OK, "clock", f"the clock of {skew.owner} agrees with Redis")
