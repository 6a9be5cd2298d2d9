"""Reads a secret from its own file, as container platforms mount it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from sockudo_queue.config.file_reading import read_limited
from sockudo_queue.core.secret import Secret

MAX_SECRET_BYTES: Final = 65_536  # far above any key, far below a file named by mistake


class FileSecret(Secret):
    """A secret in a file that may change while the daemon runs."""

    __slots__ = ("_last", "_path")

    def __init__(self, value: str, path: str) -> None:
        super().__init__(value)
        self._last, self._path = value, path

    def current(self) -> str:
        """Read the file again; what was read last where it cannot be used just now, as in the middle of a change, or
        where it is a pipe, which is read once."""
        with contextlib.suppress(ValueError):
            self._last = read_secret_file(self._path, again=True)
        return self._last


def read_secret_file(path: str, *, again: bool = False) -> str:
    """Return the content of the file, without the line break at its end; a pipe is not read `again`.

    Raises ValueError. Its text holds neither the content nor the path, which may be the secret itself, put there by
    mistake.
    """
    try:
        content = _read(Path(path), regular=again).decode()
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    # One line end belongs to the file; a second one may be meant.
    secret = re.sub(r"(\r?\n|\r)\Z", "", content)
    if not secret:
        raise ValueError("the file is empty")
    return secret


def _read(path: Path, *, regular: bool) -> bytes:
    content = read_limited(path, MAX_SECRET_BYTES, regular=regular)
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError("the file is too large for a secret")
    return content
