"""A settings file that nobody named: a tool says which one it found, and refuses one that others could have written.

A file of settings can send variables of the environment to any host. `run` takes what it finds, as Sockudo does: it is
started in a directory of its own. A tool is started wherever a person happens to be.
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
            [f"{file}: was found in the working directory, and {fault}; name it with --config if it is yours"]
        )
    print_error(f"using the settings of {file}")


def _fault(file: Path) -> str | None:
    try:
        found, directory = file.stat(), file.resolve().parent.stat()
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if found.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if directory.st_mode & stat.S_IWOTH:
        return "lies where everybody may write"
    return None
