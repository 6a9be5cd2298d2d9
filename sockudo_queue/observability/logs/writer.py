"""The thread that writes the log, and the bounded queue in front of it: logging never blocks."""

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

QUEUE_LIMIT: Final = 10_000  # lines that wait for a slow reader, usually some 4 MB
BATCH_BYTES: Final = 65_536  # the capacity of a pipe
BATCH_PAUSE: Final = 0.02  # seconds; with frequent lines, one write and one thread switch serve many of them
FAILED_PAUSE: Final = 1.0  # seconds after a failed write: a broken pipe is permanent, a full disk may not be

THREAD: Final = "log-writer"


class Writer:
    """Writes whole lines to a descriptor, and never closes it. `put` and `flush` are safe from any thread."""

    def __init__(self, descriptor: int, render: Callable[[str, dict[str, Any]], bytes]) -> None:
        """`render` builds a line from a level and fields, for the writer's own lines."""
        self._descriptor = descriptor
        self._render = render
        self._lines: deque[bytes | threading.Event | None] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = self._torn = self._closed = False
        self._counting = threading.Lock()
        self.dropped = self._reported = 0
        self._taken = 0  # lines taken off the queue but not written yet
        self._flushed: list[threading.Event] = []
        self.thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        start_thread(self.thread)

    def put(self, line: bytes) -> None:
        if len(self._lines) >= QUEUE_LIMIT:
            self.drop(1)
            return
        self._lines.append(line)
        if self._idle:  # otherwise the writer checks again without a wake-up, which saves a thread switch
            self._idle = False
            self._wake.put(None)

    def flush(self, timeout: float) -> bool:
        done = threading.Event()
        self._lines.append(done)
        self._wake.put(None)
        return done.wait(timeout)

    def drop(self, count: int) -> None:
        """Count lost lines. Safe from any thread."""
        with self._counting:
            self.dropped += count

    def close(self) -> None:
        """Let the thread end after it has written the pending lines; do not wait for it."""
        self._lines.append(None)
        self._wake.put(None)

    def _run(self) -> None:
        """Write until `close`. An error may lose the current batch, but never ends the thread."""
        while not self._closed:
            try:
                self._write_batches()
            except BaseException as error:  # noqa: BLE001 - if this thread ended, no more lines would be written
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
            self._lines.append(self._render("error", fields))
        except MemoryError:
            pass
        time.sleep(FAILED_PAUSE)  # a repeated failure must not keep a core busy

    def _await_line(self) -> None:
        self._idle = True
        if not self._lines:  # checked after the flag is set, so a concurrent line is either seen here or wakes us
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
            lines.insert(0, self._render("warning", fields))
        try:
            if lines:
                self._write(b"\n".join(lines) + b"\n")
            self._reported, self._taken = lost, 0
            return True
        except (OSError, MemoryError):  # no reader, a full disk, or no memory: the counter reports it
            return False
        finally:
            self._give_up_batch()

    def _give_up_batch(self) -> None:
        """Count lines that were taken but not written, and release callers of `flush`."""
        taken, self._taken = self._taken, 0
        if taken:
            self.drop(taken)
        while self._flushed:
            self._flushed.pop().set()

    def _take(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        while self._lines and size < BATCH_BYTES and not self._closed:
            line = self._lines.popleft()
            if isinstance(line, bytes):
                self._taken += 1
                size += len(line)
                lines.append(line)
            elif line is None:
                self._closed = True
            else:
                self._flushed.append(line)
        return lines

    def _write(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # standard output may be shared with a program that made it non-blocking
                select.select((), (self._descriptor,), (), FAILED_PAUSE)
                continue
            self._torn = rest[written - 1] != 10  # after a failure now, the next write must first end this line
            rest = rest[written:]
