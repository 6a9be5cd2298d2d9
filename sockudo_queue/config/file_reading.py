"""Reads a whole file or pipe, without waiting forever for a writer."""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path
from typing import Final

WRITER_SECONDS: Final = 10.0
"""Seconds to wait for the first, or the next, bytes of a pipe."""
_CHUNK: Final = 65_536
_NOT_REGULAR: Final = "it is not a regular file"
_HAS_NAMES: Final = os.path.isdir("/proc/self/fd")  # noqa: PTH112 - asked once


def read_limited(path: Path, max_bytes: int, *, regular: bool = False) -> bytes:
    """Return the content of a file, at most `max_bytes` bytes and one.

    Raises OSError; also for a pipe into which nothing is written for `WRITER_SECONDS`, and with `regular` for any pipe.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(0, "Is a directory")
        if regular and not stat.S_ISREG(mode):
            raise OSError(0, _NOT_REGULAR)
        if not stat.S_ISREG(mode):
            return _read_stream(descriptor, max_bytes + 1)
        content, size = bytearray(), max_bytes + 1
        while len(content) < size and (chunk := file.read(size - len(content))):
            content += chunk
        return bytes(content)


class RegularFile:
    """A regular file that is kept open. `name` refers to it, even if its path is replaced meanwhile.

    A library that opens `name` never waits, as it would for the writer of a pipe. Raises OSError.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise OSError(0, _NOT_REGULAR)
        # Elsewhere than on Linux no name of a descriptor can be opened as if it were the file.
        self.name = f"/proc/self/fd/{self._descriptor}" if _HAS_NAMES else path

    def close(self) -> None:
        """Close the file; repeated calls have no effect."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # else it could not be opened
            self.close()


def _read_stream(descriptor: int, size: int) -> bytes:
    # A pipe that has had no writer yet reads as empty, but only one that a writer has closed is reported as ended.
    poll, content = select.poll(), bytearray()
    poll.register(descriptor, select.POLLIN)
    began = time.monotonic()
    while len(content) < size:
        left = began + WRITER_SECONDS - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError(0, f"nothing was written to it for {WRITER_SECONDS:g} s")
        try:
            chunk = os.read(descriptor, min(_CHUNK, size - len(content)))
        except BlockingIOError:
            continue
        if not chunk:
            break
        content += chunk
        began = time.monotonic()
    return bytes(content)
