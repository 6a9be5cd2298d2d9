"""One replay or purge that was started on the page, in a thread of its own.

It ends with the daemon: finished letters stay finished, and the others remain dead letters.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from sockudo_queue.drivers.base import DeadLetterStore, StoredDeadLetter
from sockudo_queue.errors import BrokerError
from sockudo_queue.observability.logs import get_logger
from sockudo_queue.observability.status_page.dead_letters import DeadLetterFilter, DeadLetterProgress
from sockudo_queue.observability.status_page.dead_letters_view import PURGE
from sockudo_queue.observability.web.actions import Actor
from sockudo_queue.operations.dead_letters import UNREADABLE, DeadLetterEntry, Selection
from sockudo_queue.operations.replay import PURGE_BATCH_SIZE, REPLAY_BATCH_SIZE, FindApp, groups, obstacle, replay

MAX_REASONS: Final = 10
MAX_REASON_LENGTH: Final = 300
OTHER_REASONS: Final = "other reasons"
TOO_LATE: Final = "added after the action began"
MAX_TOO_LATE: Final = 10_000
"""Maximum number of such letters per scan: letters that arrive as fast as they are skipped must not make it endless."""
REMEMBERED: Final = 100_000
"""Maximum number of letters that one action remembers; about 100 bytes each."""


class DeadLetterWork:
    """Runs after `start`. `wait` and `progress` may be called from any thread."""

    def __init__(
        self,
        action: str,
        wanted: DeadLetterFilter,
        actor: Actor,
        letters: DeadLetterStore,
        find_app: FindApp,
        stopping: threading.Event,
        *,
        is_ordered: bool = True,
    ) -> None:
        """`is_ordered` means that `letters.newest` yields the newest letter first."""
        self._action, self._wanted, self._actor = action, wanted, actor
        self._letters, self._find_app, self._stopping = letters, find_app, stopping
        self._is_ordered = is_ordered
        self._started_at = time.time()
        self._selection = selection_of(wanted, self._started_at)
        self._seen = self._done = self._gone = 0
        self._met: OrderedDict[int, None] = OrderedDict()
        self._left: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._fault = ""
        self._ended_at: float | None = None
        self._ended = threading.Event()

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    def start(self) -> bool:
        """Start the thread; return whether the system allowed it."""
        try:
            threading.Thread(target=self._run, name="operator-action", daemon=True).start()
        except (RuntimeError, MemoryError):
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Wait for the end, for at most `seconds`."""
        self._ended.wait(seconds)

    def progress(self) -> DeadLetterProgress:
        with self._counting:
            left = dict(self._left.most_common())
        return DeadLetterProgress(
            self._action,
            chosen_words(self._wanted),
            self._actor.user,
            self._started_at,
            self._ended_at,
            self._seen,
            self._done,
            self._gone,
            left,
            self._fault,
        )

    def _run(self) -> None:
        self._log_start()
        try:
            self._purge() if self._action == PURGE else self._replay()
            if self._stopping.is_set():
                self._fault = "the daemon was stopped"
        except BrokerError as error:
            self._fault = str(error)
        except BaseException:
            self._fault = "an internal error; see the daemon's log"
            raise
        finally:
            self._ended_at = time.time()
            self._log()
            self._ended.set()

    def _replay(self) -> None:
        for entries in groups(self._replayable(), REPLAY_BATCH_SIZE):
            self._count(replay(self._letters, entries))

    def _purge(self) -> None:
        # The bodies are dropped, because those of a whole group may be large.
        chosen = (msgspec.structs.replace(entry.letter, body=b"", state=b"") for entry in self._chosen())
        for letters in groups(chosen, PURGE_BATCH_SIZE):
            self._count(self._letters.purge(letters))

    def _count(self, flags: list[bool]) -> None:
        self._done += sum(flags)
        self._gone += len(flags) - sum(flags)

    def _replayable(self) -> Iterator[DeadLetterEntry]:
        takes_unreadable = bool(self._wanted.id) or self._wanted.reason == UNREADABLE
        for entry in self._chosen():
            reason = obstacle(entry, self._find_app, takes_unreadable=takes_unreadable)
            if reason is None:
                yield entry
            else:
                self._leave(reason)

    def _chosen(self) -> Iterator[DeadLetterEntry]:
        """Yield the selected letters until the daemon is stopped."""
        for letter in self._walk():
            if self._stopping.is_set():
                return
            self._seen += 1
            entry = DeadLetterEntry(letter)
            if self._selection.holds(entry):
                yield entry

    def _walk(self) -> Iterator[StoredDeadLetter]:
        if self._wanted.id:
            found = self._letters.find(self._wanted.id)
            self._gone += found is None
            yield from () if found is None else (found,)
            return
        # A replayed letter that fails again appears again; without these limits it would be replayed repeatedly.
        latest_ms = self._latest_ms()
        for letter in self._letters.letters():
            if letter.died_ms <= latest_ms and self._is_new(letter):
                yield letter
            elif self._leave(TOO_LATE) >= MAX_TOO_LATE:
                return

    def _latest_ms(self) -> float:
        """Return the time of death of the newest letter to process.

        It is read from the queue, because the local clock may differ from the clock of the queue.
        """
        if not self._is_ordered:
            return self._started_at * 1000
        newest = next(self._letters.newest(), None)
        return -1 if newest is None else newest.died_ms

    def _is_new(self, letter: StoredDeadLetter) -> bool:
        """Return whether this action has not met the letter yet, and remember it.

        The time of death does not tell if a letter dies again in the same millisecond or after a clock was set back.
        """
        key = hash((letter.source, letter.id))  # small, also for a long id that another program wrote
        if key in self._met:
            return False
        self._met[key] = None
        if len(self._met) > REMEMBERED:
            self._met.popitem(last=False)
        return True

    def _leave(self, reason: str) -> int:
        """Count a letter that was skipped, by its reason; the number of reasons is bounded."""
        text = reason[:MAX_REASON_LENGTH]
        with self._counting:
            key = text if text in self._left or len(self._left) < MAX_REASONS else OTHER_REASONS
            self._left[key] += 1
            return self._left[key]

    def _log_start(self) -> None:
        """Log the start, because a daemon that is killed does not log the end."""
        get_logger().info(
            "operator.started",
            action="purge" if self._action == PURGE else "replay",
            app=self._wanted.app or None,
            webhook=self._wanted.webhook or None,
            by=str(self._actor),
            chosen=chosen_words(self._wanted),
        )

    def _log(self) -> None:
        get_logger().info(
            "operator.acted",
            action="purge" if self._action == PURGE else "replay",
            app=self._wanted.app or None,
            webhook=self._wanted.webhook or None,
            by=str(self._actor),
            count=self._done,
            chosen=chosen_words(self._wanted),
            gone=self._gone,
            left=self._left.total(),
            reason=self._fault or None,
        )


def selection_of(wanted: DeadLetterFilter, now: float) -> Selection:
    """Return the selection for a page's filter."""
    return Selection(
        frozenset([wanted.id]) if wanted.id else frozenset(),
        wanted.app or None,
        wanted.webhook or None,
        wanted.reason or None,
        wanted.older,
        wanted.newer,
        now,
    )


def chosen_words(wanted: DeadLetterFilter) -> str:
    """Return a description of the selection, for the log and the page."""
    words = [f"{name} {value}" for name, value in wanted._asdict().items() if isinstance(value, str) and value]
    words += [f"older than {wanted.older:.0f} s"] if wanted.older is not None else []
    words += [f"newer than {wanted.newer:.0f} s"] if wanted.newer is not None else []
    return ", ".join(words) or "all"
