"""Reads a file from beginning to end, also one that is a pipe, without waiting for ever for somebody to write."""

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


def read_limited(path: Path, most: int) -> bytes:
    """Return what a file holds, at most `most` bytes and one.

    Raises OSError; also for a pipe into which nothing is written for `WRITER_SECONDS`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(0, "Is a directory")
        if not stat.S_ISREG(mode):
            return _read_stream(descriptor, most + 1)
        content, size = bytearray(), most + 1
        while len(content) < size and (chunk := file.read(size - len(content))):
            content += chunk
        return bytes(content)


def check_regular(path: str) -> None:
    """Raise OSError for a file that cannot be read again and again, as a pipe; libraries would wait for its writer."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - of the file behind a link
        raise OSError(0, "it is not a regular file")


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
