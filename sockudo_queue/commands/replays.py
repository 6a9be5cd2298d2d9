"""`dead-letters replay` and `purge`: deliver dead letters again, or delete them.

Both can be repeated, and two can run at the same time: the queue takes each dead letter once. After an error or an
interruption, the work so far is kept and reported.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from sockudo_queue.commands.acted import acted_line, system_user
from sockudo_queue.commands.apps import AppLookup, app_lookup
from sockudo_queue.commands.context import EXIT_NO, OpenQueue, reached
from sockudo_queue.commands.dead_letter_selection import none_matches, selection_of
from sockudo_queue.commands.terminal import Progress, format_rate, plural, print_error, print_json, print_line
from sockudo_queue.drivers.base import DeadLetterStore, StoredDeadLetter
from sockudo_queue.operations import replay as replaying
from sockudo_queue.operations.dead_letters import UNREADABLE, DeadLetterEntry, Selection
from sockudo_queue.operations.replay import PURGE_BATCH_SIZE, REPLAY_BATCH_SIZE, groups
from sockudo_queue.runtime.streams import visible


def replay(options: argparse.Namespace) -> int:
    """Make dead letters ready again, only for webhooks that did not get them, with the same ids and their history."""
    selection = selection_of(options)
    if not _is_chosen(options, selection, "replay"):
        return EXIT_NO
    with reached(options) as queue:
        if queue is None:
            return EXIT_NO
        with app_lookup(queue.loaded, queue.apps) as apps:
            work = _Replay(queue, apps, selection, options)
            try:
                work.run()
            finally:  # also after a fault or an interruption: what was done is done
                work.print_end()
            if not (work.has_met_any or selection.is_everything or selection.ids or options.json):
                print_line(none_matches(queue.driver))
        return EXIT_NO if selection.ids and (_misses(selection, work.met) or not work.done) else 0


class _Replay:
    """One run of the command."""

    def __init__(self, queue: OpenQueue, apps: AppLookup, selection: Selection, options: argparse.Namespace) -> None:
        self.done, self.gone = 0, 0
        self.met: set[str] = set()  # ids of letters and of their jobs
        self._letters = queue.driver.dead_letters
        self._apps = apps
        self._selection = selection
        self._target: str | None = options.to
        self._rate: float | None = options.rate
        self._dry, self._json = options.dry_run, options.json
        self._left: Counter[str] = Counter()
        self._seen: set[str] = set()
        total = queue.driver.depth()["dead-letter"] if selection.is_everything else 0
        self._progress = Progress("replayed", total, silent=options.json)

    def run(self) -> None:
        due = time.monotonic()
        for entries in groups(self._replayable(), self._at_once):
            if self._rate:
                time.sleep(max(due - time.monotonic(), 0))
                due = max(due, time.monotonic() - 1) + len(entries) / self._rate
            if self._dry:
                self.done += len(entries)
                continue
            flags = replaying.replay(self._letters, entries, self._target)
            self.done += sum(flags)
            self.gone += len(flags) - sum(flags)
            self._progress.at(self.done)

    @property
    def has_met_any(self) -> bool:
        """Whether any dead letter matched, replayable or not."""
        return bool(self._seen)

    @property
    def _at_once(self) -> int:
        """Number of dead letters per call: at most those of one second, because they become ready at the same time."""
        return min(REPLAY_BATCH_SIZE, max(int(self._rate), 1)) if self._rate else REPLAY_BATCH_SIZE

    def print_end(self) -> None:
        """Print what was done and what was skipped, however the run ended."""
        seconds = self._progress.seconds
        self._progress.end()
        if self._json:
            print_json(
                {
                    "would_replay" if self._dry else "replayed": self.done,
                    "gone": self.gone,
                    "left": dict(self._left),
                    "seconds": round(seconds, 3),
                    "by": system_user(),
                }
            )
            return
        if self._dry:
            print_line(f"would replay {plural(self.done, 'dead letter')}")
        else:
            rate = f" in {seconds:.1f} s, {format_rate(self.done, seconds)}" if self.done else ""
            print_line(f"replayed {plural(self.done, 'dead letter')}{rate}")
        if self.gone:
            print_line(f"{self.gone:,} were already taken by another command or daemon")
        for why, count in self._left.most_common():
            print_line(f"skipped {count:,}: {why}")
        if self.done and not self._dry:
            print_line(acted_line(action="replay", by=system_user(), count=self.done))

    def _replayable(self) -> Iterator[DeadLetterEntry]:
        for entry in self._selection.walk(self._letters):
            # A replayed dead letter that fails again immediately appears again; do not replay it twice.
            if entry.letter.id in self._seen:
                continue
            self._seen.add(entry.letter.id)
            if self._selection.ids:
                self.met |= {entry.letter.id, entry.job_id}
            obstacle = self._obstacle(entry)
            if obstacle is None:
                yield entry
            else:
                self._left[obstacle] += 1

    def _obstacle(self, entry: DeadLetterEntry) -> str | None:
        """Return why a dead letter would fail again, or None."""
        is_chosen = bool(self._selection.ids) or self._selection.reason == UNREADABLE
        return replaying.obstacle(entry, self._apps.find, self._target, takes_unreadable=is_chosen)


def purge(options: argparse.Namespace) -> int:
    """Delete dead letters after confirmation: those that were counted, and none that came later."""
    selection = selection_of(options)
    if not _is_chosen(options, selection, "purge"):
        return EXIT_NO
    with reached(options) as queue:
        if queue is None:
            return EXIT_NO
        reasons: Counter[str] = Counter()
        chosen: list[StoredDeadLetter] = []
        met: set[str] = set()
        for entry in selection.walk(queue.driver.dead_letters):
            reasons[entry.reason] += 1
            if selection.ids:
                met |= {entry.letter.id, entry.job_id}
            chosen.append(
                msgspec.structs.replace(entry.letter, body=b"", state=b"")
            )  # all of them at once may be large
        if chosen and not options.yes and not _agrees(chosen, reasons):
            return EXIT_NO
        code = _purge(queue.driver.dead_letters, chosen, options)
        if not (chosen or selection.is_everything or selection.ids or options.json):
            print_line(none_matches(queue.driver))
        return EXIT_NO if _misses(selection, met) else code


def _purge(letters: DeadLetterStore, chosen: Sequence[StoredDeadLetter], options: argparse.Namespace) -> int:
    progress, done = Progress("purged", len(chosen), silent=options.json), 0
    try:
        for group in groups(chosen, PURGE_BATCH_SIZE):
            done += sum(letters.purge(group))
            progress.at(done)
    finally:
        progress.end()
        if options.json:
            print_json({"purged": done, "gone": len(chosen) - done, "by": system_user()})
        else:
            print_line(f"purged {plural(done, 'dead letter')}")
            if done:
                print_line(acted_line(action="purge", by=system_user(), count=done))
    return EXIT_NO if options.ids and not done else 0


def _misses(selection: Selection, met: set[str]) -> bool:
    """Print the ids that were not found, and return whether there are any."""
    missing = sorted(selection.ids - met)
    matching = "" if replace(selection, ids=frozenset()).is_everything else "matching "
    for each in missing:
        print_error(f"dead-letters: no {matching}dead letter has the id {each}, and no job with that id has one")
    return bool(missing)


def _agrees(chosen: Sequence[StoredDeadLetter], reasons: Counter[str]) -> bool:
    listed = ", ".join(f"{count:,} {visible(reason)}" for reason, count in reasons.most_common())
    if not sys.stdin.isatty():
        print_error(
            f"dead-letters: purge would delete {plural(len(chosen), 'dead letter')} ({listed}); confirm with --yes"
        )
        return False
    sys.stderr.write(f"Permanently delete {plural(len(chosen), 'dead letter')} ({listed})? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _is_chosen(options: argparse.Namespace, selection: Selection, verb: str) -> bool:
    """Tell whether dead letters were selected. All of them must be selected explicitly, not by omission."""
    if selection.is_everything and not options.all:
        print_error(f"dead-letters {verb}: select dead letters by id, by filters such as --webhook NAME, or with --all")
        return False
    if options.all and selection.ids:
        print_error(f"dead-letters: {verb}: use ids or --all, not both")
        return False
    return True
