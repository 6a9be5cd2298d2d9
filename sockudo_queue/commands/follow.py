"""`attempts --follow`: print new entries as they are stored, also after an outage of the queue server."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sockudo_queue.commands.attempt_lines import entry_for_machines, row_of
from sockudo_queue.commands.terminal import print_error, print_json, print_line
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable
from sockudo_queue.history.entry import Entry
from sockudo_queue.history.items import lines_backwards, parsed, split
from sockudo_queue.history.search import Criteria, entry_of
from sockudo_queue.history.store import SharedHistory
from sockudo_queue.runtime import streams
from sockudo_queue.runtime.backoff import Backoff

POLL_INTERVAL: Final = 1.0
REREAD_MS: Final = 60_000
"""After an outage the items of the last minute are read again: a replica that took over may have lost some, and may
give new ones lower ids."""
SEEN: Final = 10_000
"""Number of items that are remembered, so that none is printed twice."""


class Follower:
    """Reads what is new. For one thread. `refused` has the reason of each source that cannot be read now."""

    def __init__(self, store: SharedHistory, criteria: Criteria) -> None:
        self._store = store
        self._criteria = criteria
        self._cursors: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self.refused: dict[str, str] = {}

    def begin(self) -> dict[str, str]:
        """Return for each source that can be read the id after which an item is new. Raises `BrokerUnavailable`."""
        for source in self._store.sources:
            with self._noting_refusal(source):
                self._begin(source)
        return dict(self._begun)

    def new(self) -> Iterator[Entry]:
        """Yield the new entries that are wanted, about in their order. Raises `BrokerUnavailable`."""
        for source in self._store.sources:
            with self._noting_refusal(source):
                if source not in self._cursors:
                    self._begin(source)
                for last, text in self._store.after(source, self._cursors[source]):
                    for item in split(text):
                        yield from self._of_item(source, item)
                    self._cursors[source] = last

    def _begin(self, source: str) -> None:
        self._cursors[source] = self._begun[source] = self._store.newest(source)

    @contextmanager
    def _noting_refusal(self, source: str) -> Iterator[None]:
        try:
            yield
        except BrokerRefused as refusal:
            self.refused[source] = str(refusal)
        else:
            self.refused.pop(source, None)

    def read_earlier(self) -> None:
        """Read the last minute again, but nothing from before the start."""
        for source, last in self._cursors.items():
            ms = int(last.partition("-")[0]) - REREAD_MS
            if ms > int(self._begun[source].partition("-")[0]):
                self._cursors[source] = f"{ms}-0"
            else:
                self._cursors[source] = self._begun[source]

    def _of_item(self, source: str, item: bytes) -> Iterator[Entry]:
        stored = parsed(item)
        if stored is None or self._knows(source, item):
            return
        for _, line in reversed(list(lines_backwards(stored.rows, len(stored.rows), b""))):
            entry = entry_of(stored, line)
            if entry is not None and self._criteria.takes(entry):
                yield entry

    def _knows(self, source: str, item: bytes) -> bool:
        key = (source, item.partition(b" ")[0])
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return False


def follow(follower: Follower, *, as_json: bool) -> None:
    """Write new entries until the process is interrupted. The start and the end of an outage are reported once."""
    backoff, is_lost = Backoff(POLL_INTERVAL, 10.0), False
    refused: dict[str, str] = {}
    while True:
        streams.flush()
        try:
            for entry in follower.new():
                if as_json:
                    print_json(entry_for_machines(entry))
                else:
                    print_line("  ".join(row_of(entry)))
            streams.flush()
            refused = _report_refusals(refused, follower.refused)
        except BrokerUnavailable as error:
            if not is_lost:
                print_error(f"attempts: the queue server: {error}; retrying")
                follower.read_earlier()
            is_lost = True
            time.sleep(backoff.next())
            continue
        if is_lost:
            print_error("attempts: the queue server answers again")
        is_lost = False
        backoff.reset()
        time.sleep(POLL_INTERVAL)


def _report_refusals(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Report each source once that cannot be read any more, or can again; return what was reported."""
    for source, reason in now.items():
        if source not in before:
            print_error(f"attempts: entries of {source} cannot be read: {reason}; retrying")
    for source in before.keys() - now.keys():
        print_error(f"attempts: entries of {source} can be read again")
    return dict(now)
