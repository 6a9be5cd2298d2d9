"""Whether most of the queue is for apps that nobody told us about: likelier a wrong configuration than wrong jobs.

Claiming on would turn the whole queue into dead letters, so the workers hold back and the daemon is not ready until a
look at the queue, or at a changed file of apps, says otherwise.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

RECENT: Final = 20
"""Fresh jobs that the verdict rests on; fewer than that say nothing."""
SHOWN: Final = 80
"""Characters of an id that are shown; whoever can queue a job chooses it."""


class UnknownApps:
    """Told of each fresh job whether its app was known. Safe from any thread."""

    def __init__(self, log: Any, on_change: Callable[[str | None], None]) -> None:
        self.prevail = False
        self._log = log
        self._on_change = on_change
        self._lock = threading.Lock()
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._unknown = ""  # the last one; a known app can be what tips the scale

    def saw(self, app: str, *, known: bool) -> None:
        """Take note of one fresh job for an app."""
        if known and not self._recent:
            return  # the ordinary case costs nothing
        with self._lock:
            if not known:
                self._unknown = app
            self._recent.append(known)
            if all(self._recent):
                self._recent.clear()
            prevail = len(self._recent) == RECENT and 2 * sum(self._recent) < RECENT
            self._turn(prevail)

    def forget(self) -> None:
        """Begin anew, because the apps have changed."""
        with self._lock:
            self._recent.clear()
            self._turn(False)

    def _turn(self, prevail: bool) -> None:
        if prevail == self.prevail:
            return
        self.prevail = prevail
        reason = told(self._unknown) if prevail else None
        if reason is not None:
            self._log.error("apps.unknown", app=self._unknown[:SHOWN], text=reason)
        self._on_change(reason)


def told(app: str) -> str:
    """Say what is wrong, with the unknown one that was seen last."""
    return (
        f"most jobs are for apps that are not in the configuration, such as {app[:SHOWN]!r}; see app_manager.array.apps"
    )
