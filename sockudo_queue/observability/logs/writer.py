"""The thread that writes the log, and the bounded queue before it: who logs waits for nobody."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

from sockudo_queue.runtime.limits import start_thread

QUEUE_LIMIT: Final = 10_000  # lines that wait for a slow reader, some 4 MB as they usually are
RAW_LIMIT: Final = 500  # lines that wait as they are; one that comes behind so many is encoded at once, to be smaller
BATCH_BYTES: Final = 65_536  # what a pipe takes at once
BATCH_PAUSE: Final = 0.02  # seconds; while lines are frequent, one write and one thread switch serve many of them
FAILED_PAUSE: Final = 1.0  # seconds between tries after a failed write: a broken pipe stays broken, a full disk may not

THREAD: Final = "log-writer"

Line = tuple[float, str, dict[str, Any]]
"""When (seconds since 1970), the level, and the fields, of which one is the event; nobody changes them any more."""


class Writer:
    """Writes whole lines to a descriptor, which stays its owner's. `put` and `flush` are for any thread."""

    def __init__(self, descriptor: int, encode: Callable[[Line], bytes]) -> None:
        self._descriptor = descriptor
        self._encode = encode
        self._lines: deque[Line | bytes | threading.Event | None] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = self._torn = self._closed = False
        self._counting = threading.Lock()
        self.dropped = self._reported = 0
        self._taken = 0  # lines off the queue and not written yet
        self._flushed: list[threading.Event] = []
        self.thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        start_thread(self.thread)

    def put(self, line: Line) -> None:
        waiting = len(self._lines)
        if waiting >= QUEUE_LIMIT:
            self.drop(1)
            return
        self._lines.append(line if waiting < RAW_LIMIT else self._encode(line))
        if self._idle:  # else the writer looks again by itself: no thread switch for most lines
            self._idle = False
            self._wake.put(None)

    def flush(self, timeout: float) -> bool:
        done = threading.Event()
        self._lines.append(done)
        self._wake.put(None)
        return done.wait(timeout)

    def drop(self, count: int) -> None:
        """Count lines that are lost. Safe from any thread."""
        with self._counting:
            self.dropped += count

    def close(self) -> None:
        """Let the thread end once it has written what waits; do not wait for it."""
        self._lines.append(None)
        self._wake.put(None)

    def _run(self) -> None:
        """Write until `close`. Whatever fails costs the lines in hand, and never the thread."""
        while not self._closed:
            try:
                self._write_batches()
            except BaseException as error:  # noqa: BLE001 - without this thread no line is ever written again
                self._failed(error)

    def _write_batches(self) -> None:
        while True:
            self._await_line()
            written = self._write_batch()
            if self._closed:
                return
            self._pause(BATCH_PAUSE if written else FAILED_PAUSE)

    def _failed(self, error: BaseException) -> None:
        try:
            self._give_up_batch()
            fields = {"event": "thread.crashed", "thread": THREAD, "error": type(error).__name__}
            self._lines.append((time.time(), "error", fields))
        except MemoryError:
            pass
        time.sleep(FAILED_PAUSE)  # what fails again and again must not keep a core busy

    def _await_line(self) -> None:
        self._idle = True
        if not self._lines:  # asked after the flag is up, so a line that came meanwhile is either seen or wakes us
            self._wake.get()
        self._idle = False

    def _pause(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return

    def _write_batch(self) -> bool:
        lines = self._take()
        lost = self.dropped
        if lost > self._reported:
            fields = {"event": "logs.dropped", "count": lost - self._reported}
            lines.insert(0, self._encode((time.time(), "warning", fields)))
        try:
            if lines:
                self._write(b"\n".join(lines) + b"\n")
            self._reported, self._taken = lost, 0
            return True
        except (OSError, MemoryError):  # nobody reads, the disk is full, or there is no memory: the counter says so
            return False
        finally:
            self._give_up_batch()

    def _give_up_batch(self) -> None:
        """Count what was taken and not written, and let go of those who wait for it."""
        taken, self._taken = self._taken, 0
        if taken:
            self.drop(taken)
        while self._flushed:
            self._flushed.pop().set()

    def _take(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        while self._lines and size < BATCH_BYTES and not self._closed:
            match self._lines.popleft():
                case None:
                    self._closed = True
                case threading.Event() as event:
                    self._flushed.append(event)
                case line:
                    self._taken += 1
                    try:
                        lines.append(line if isinstance(line, bytes) else self._encode(line))
                    except MemoryError:
                        self._taken -= 1
                        self.drop(1)
                        continue
                    size += len(lines[-1])
        return lines

    def _write(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # Standard output may be shared with a program that made it non-blocking.
                select.select((), (self._descriptor,), (), FAILED_PAUSE)
                continue
            self._torn = rest[written - 1] != 10  # a failure now would leave half a line for the next to join
            rest = rest[written:]
