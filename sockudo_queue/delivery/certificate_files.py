"""The files of certificates that connections read when they are made, held open while they are what they were.

libcurl opens them by name for each handshake. A pipe in the place of one would block the thread of an attempt without
end, and no deadline of libcurl counts there. So it is given names of open regular files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sockudo_queue.config import RegularFile

FILES_EVERY: Final = 1.0
"""Seconds between two looks at the files of certificates, so that what was renewed or withdrawn is noticed."""

_Identity = tuple[int, ...] | None


@dataclass(frozen=True)
class Certificates:
    """One state of the files. Two are equal where the files are the same. `fault` says why one is not open."""

    identities: tuple[_Identity, ...] = ()
    opened: dict[str, RegularFile] = field(default_factory=dict, compare=False)
    fault: str = ""

    def name_of(self, path: str) -> str:
        """Return what a library may open in place of a path: it is never waited for."""
        return self.opened[path].name if path in self.opened else os.devnull

    def shown(self, text: str) -> str:
        """Return a library's message with the paths that the settings name."""
        for path, file in self.opened.items():
            text = text.replace(file.name, path)
        return text


class CertificateFiles:
    """The files at some paths. `present` may be called from any thread."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self.look_at = float("-inf")
        """When (monotonic) `present` looks at the files again; until then it returns what it has returned."""
        self._present = Certificates()

    def look_again(self) -> None:
        """Look at the files at the next call of `present`, whenever they were looked at."""
        self.look_at = float("-inf")

    def present(self) -> Certificates:
        """Return the present files; they are looked at once a second. Never blocks for long."""
        now = time.monotonic()
        if now >= self.look_at:
            self.look_at = now + FILES_EVERY
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
