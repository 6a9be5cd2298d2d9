"""What a history says of itself, without which an answer cannot be read; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

NOTE_SECONDS: Final = 60.0
"""How often each daemon notes its mode in a history."""
MODE_GAP_SECONDS: Final = 180
"""A mode that no daemon has noted for this long is no longer in use."""


class Mode(StrEnum):
    """Which attempts are kept. `FAILURES` keeps what failed, and the delivery that ended a row of failures."""

    OFF = "off"
    FAILURES = "failures"
    ALL = "all"


class ModePeriod(msgspec.Struct, frozen=True):
    """When daemons have used a history with a mode, in ms since 1970; `until_ms` is when one noted it last."""

    mode: str
    since_ms: int
    until_ms: int


class HistoryFigures(msgspec.Struct, frozen=True):
    """What must be known to read an answer. Times are in ms since 1970; None where there is nothing to say.

    `modes` are those that the daemons have used, the latest first. Entries that were stored after `complete_from_ms`
    are all kept; None means that no entry was ever removed to make room. `dropped` counts entries that were lost before
    they were stored. `purged_ms` is when entries of an app were removed, the last time. `refused` has the reasons of
    sources that could not be asked.
    """

    modes: tuple[ModePeriod, ...]
    entries: int
    bytes: int
    oldest_ms: int | None
    dropped: int
    complete_from_ms: int | None = None
    purged_ms: int | None = None
    refused: tuple[str, ...] = ()

    @property
    def current_modes(self) -> tuple[str, ...]:
        """The modes that are in use, or were when the last one was noted."""
        latest = max((period.until_ms for period in self.modes), default=0)
        return tuple(each.mode for each in self.modes if each.until_ms + MODE_GAP_SECONDS * 1000 >= latest)

    @property
    def records_all(self) -> bool:
        """Whether every attempt since the first entry was to be recorded."""
        return bool(self.modes) and all(period.mode == Mode.ALL for period in self.modes)


def merged(found: Sequence[HistoryFigures], refused: Iterable[str] = ()) -> HistoryFigures:
    """Return the figures of a history from those of its sources.

    A full source keeps less than a quiet one, so what is complete begins with the latest of them. A mode that ended
    before that says nothing of what is kept.
    """
    complete_from = max((each.complete_from_ms for each in found if each.complete_from_ms is not None), default=None)
    modes = _united(period for each in found for period in each.modes)
    return HistoryFigures(
        tuple(period for period in modes if complete_from is None or period.until_ms >= complete_from),
        sum(each.entries for each in found),
        sum(each.bytes for each in found),
        min((each.oldest_ms for each in found if each.oldest_ms is not None), default=None),
        sum(each.dropped for each in found),
        complete_from,
        max((each.purged_ms for each in found if each.purged_ms is not None), default=None),
        tuple(refused),
    )


def _united(periods: Iterable[ModePeriod]) -> list[ModePeriod]:
    by_mode: dict[str, ModePeriod] = {}
    for each in periods:
        had = by_mode.get(each.mode, each)
        by_mode[each.mode] = ModePeriod(each.mode, min(had.since_ms, each.since_ms), max(had.until_ms, each.until_ms))
    return sorted(by_mode.values(), key=lambda each: (each.until_ms, each.since_ms), reverse=True)
