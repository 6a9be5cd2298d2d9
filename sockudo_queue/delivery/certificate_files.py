"""The certificate files that new connections read, held open until they change.

libcurl opens them by name for each handshake. A named pipe at such a path would block the thread of an attempt forever,
because libcurl's deadline does not apply there. So libcurl gets only the names of open regular files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sockudo_queue.config import RegularFile

FILE_CHECK_INTERVAL: Final = 1.0
"""Seconds between two checks of the certificate files, so that a renewed or removed file is noticed."""

_Identity = tuple[int, ...] | None


@dataclass(frozen=True)
class Certificates:
    """One state of the files, equal to another if the files are the same. `fault` says why one cannot be opened."""

    identities: tuple[_Identity, ...] = ()
    opened: dict[str, RegularFile] = field(default_factory=dict, compare=False)
    fault: str = ""

    def name_of(self, path: str) -> str:
        """Return a name that a library can open in place of a path without blocking."""
        return self.opened[path].name if path in self.opened else os.devnull

    def shown(self, text: str) -> str:
        """Return a library's message with the configured paths in place of the opened names."""
        for path, file in self.opened.items():
            text = text.replace(file.name, path)
        return text


class CertificateFiles:
    """The files at some paths. `present` is safe from any thread."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self.check_at = float("-inf")
        """When (monotonic) `present` checks the files again; until then it returns the last state."""
        self._present = Certificates()

    def recheck(self) -> None:
        """Check the files at the next call of `present`, even if the interval has not passed."""
        self.check_at = float("-inf")

    def present(self) -> Certificates:
        """Return the current state of the files, checked once a second. Never blocks for long."""
        now = time.monotonic()
        if now >= self.check_at:
            self.check_at = now + FILE_CHECK_INTERVAL
            identities = tuple(map(_identity, self._paths))
            if identities != self._present.identities or self._present.fault:
                self._present = self._opened(identities)
        return self._present

    def _opened(self, identities: tuple[_Identity, ...]) -> Certificates:
        opened, fault = dict[str, RegularFile](), ""
        for path in self._paths:
            try:
                opened[path] = RegularFile(path)
            except OSError as error:
                fault = f"{path}: the file cannot be read: {error.strerror}"
        return Certificates(identities, opened, fault)


def _identity(path: str) -> _Identity:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
