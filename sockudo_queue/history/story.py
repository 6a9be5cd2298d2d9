"""What became of one job: each webhook, each try, and how it ended; pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sockudo_queue.core.outcome import Verdict
from sockudo_queue.history.entry import DEAD_LETTER, Entry


class WebhookStory(msgspec.Struct, frozen=True):
    """What the history has of one job and one webhook, the oldest entry first."""

    app: str
    webhook: str
    entries: tuple[Entry, ...]

    @property
    def ending(self) -> str:
        """How it ended, or stands, by the last entry: `delivered`, `dead-letter`, `refused` or `failed`.

        `failed` may be tried again. `refused` becomes a dead letter unless the daemon has stopped before that.
        """
        match self.entries[-1].row.outcome:
            case Verdict.DELIVERED | "dead-letter" as outcome:
                return outcome
            case Verdict.PERMANENT:
                return "refused"
            case _:
                return "failed"

    @property
    def was_delivered(self) -> bool:
        """Tell whether any attempt was delivered, whatever came later."""
        return any(entry.row.outcome == Verdict.DELIVERED for entry in self.entries)


def stories(entries: Iterable[Entry]) -> list[WebhookStory]:
    """Group the entries of one job by app and webhook; those whose first entry is the oldest come first.

    An attempt and the dead letter that it led to may have the same moment; the dead letter comes last.
    """
    by_webhook: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.row.at, entry.row.outcome == DEAD_LETTER)):
        by_webhook.setdefault((entry.app, entry.row.webhook), []).append(entry)
    return [WebhookStory(app, webhook, tuple(found)) for (app, webhook), found in by_webhook.items()]
