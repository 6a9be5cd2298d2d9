"""What `check` says of the queue's surroundings: its forms, the clocks, and Sockudo's own workers."""

from __future__ import annotations

from collections.abc import Iterator

from sockudo_queue.drivers.base import Skew, Surroundings
from sockudo_queue.surroundings_watch import WARN_MS, told_clock, told_signs


def told(surroundings: Surroundings, lease_ms: int) -> Iterator[str]:
    """Yield a line for each thing that was looked at. Raises `BrokerError`."""
    for form in surroundings.forms():
        use = "in use" if form.known else "nothing of it is there now"
        yield f"ok       source: {form.source} ({form.kind}): {use}"
    for skew in surroundings.skews():
        yield _clock(skew, lease_ms)
    signs = surroundings.signs()
    if signs:
        yield f"warning  workers: {told_signs(signs)}"
    elif signs.clients is None:
        yield "ok       workers: no claims of others; whether clients wait for jobs may not be asked (CLIENT LIST)"
    else:
        yield "ok       workers: no signs of Sockudo's own"


def _clock(skew: Skew, lease_ms: int) -> str:
    if abs(skew.ahead_ms) > lease_ms / 3:
        return f"error    clock: {told_clock(skew)}, more than a third of the lease; set the clocks by NTP"
    if abs(skew.ahead_ms) > WARN_MS:
        return f"warning  clock: {told_clock(skew)}; set the clocks by NTP"
    return f"ok       clock: that of {skew.whose} agrees with Redis"
