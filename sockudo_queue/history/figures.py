"""The figures that are needed to interpret a search result of the history; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

NOTE_SECONDS: Final = 60.0
"""How often each daemon stores its current mode in the history."""
MODE_GAP_SECONDS: Final = 180
"""A mode that no daemon has stored for this long is no longer in use."""


class Mode(StrEnum):
    """Which attempts are recorded. `FAILURES` records failures, and the delivery that follows them."""

    OFF = "off"
    FAILURES = "failures"
    ALL = "all"


class ModePeriod(msgspec.Struct, frozen=True):
    """The period in which daemons used a mode, in ms since 1970; `until_ms` is the last time a daemon stored it."""

    mode: str
    since_ms: int
    until_ms: int


class HistoryFigures(msgspec.Struct, frozen=True):
    """The figures that are needed to interpret a search result. Times are in ms since 1970; None if unknown.

    `modes` lists the modes that daemons have used, the latest first. No entry stored after `complete_from_ms` was
    removed to make room; None means that none was ever removed. `dropped` counts entries that were lost before they
    were stored. `purged_ms` is the last time that the entries of an app were removed. `refused` lists the reasons of
    sources that could not be read.
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
        """The modes that are in use, or were in use when a mode was last stored."""
        latest = max((period.until_ms for period in self.modes), default=0)
        return tuple(each.mode for each in self.modes if each.until_ms + MODE_GAP_SECONDS * 1000 >= latest)

    @property
    def records_all(self) -> bool:
        """Whether daemons were configured to record every attempt since the first entry."""
        return bool(self.modes) and all(period.mode == Mode.ALL for period in self.modes)


def merged(found: Sequence[HistoryFigures], refused: Iterable[str] = ()) -> HistoryFigures:
    """Combine the figures of the sources of one history.

    A full source keeps entries for a shorter time than a quiet one, so the history is complete only from the latest
    `complete_from_ms` of all sources. A mode that ended before then does not describe the entries that are left; it may
    have been used for up to `NOTE_SECONDS` after a daemon last stored it.
    """
    complete_from = max((each.complete_from_ms for each in found if each.complete_from_ms is not None), default=None)
    ended_ms = None if complete_from is None else complete_from - NOTE_SECONDS * 1000
    modes = _united(period for each in found for period in each.modes)
    return HistoryFigures(
        tuple(period for period in modes if ended_ms is None or period.until_ms >= ended_ms),
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
