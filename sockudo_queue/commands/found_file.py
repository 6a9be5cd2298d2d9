"""A settings file found in the working directory: commands name it, and refuse one that others could have written.

A settings file can send environment variables to any host. `run` uses the file that it finds, as Sockudo does, because
it is started in a directory of its own. Commands are started in any directory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sockudo_queue.commands.terminal import print_error
from sockudo_queue.errors import SettingsError


def approve(file: Path) -> None:
    """Name the file on standard error. Raises `SettingsError` for one that other users own or may write."""
    fault = _fault(file)
    if fault is not None:
        raise SettingsError(
            [f"{file}: was found in the working directory, but {fault}; if it is yours, name it with --config"]
        )
    print_error(f"using the settings file {file}")


def _fault(file: Path) -> str | None:
    try:
        found, directory = file.stat(), file.resolve().parent.stat()
    except OSError as error:
        return f"cannot be inspected: {error.strerror}"
    if found.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if found.st_mode & stat.S_IWOTH:
        return "everyone can write to it"
    if directory.st_mode & stat.S_IWOTH:
        return "is in a directory that everyone can write to"
    return None
