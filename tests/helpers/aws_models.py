"""The files of AWS's library, read once per process.

The library reads its models and endpoints anew for each session, which takes longer than most tests, and the program
makes a session for each client. Within a session it shares what it has read and does not change it.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from botocore.loaders import JSONFileLoader, Loader

_FILES: Final = JSONFileLoader()


@functools.cache
def _exists(path: str) -> bool:
    return bool(_FILES.exists(path))


@functools.cache
def _load(path: str) -> Any:
    return _FILES.load_file(path)


class _SharedFiles(JSONFileLoader):  # type: ignore[misc] # botocore has no types
    """Reads each file once, for all sessions."""

    def exists(self, file_path: str) -> bool:
        return _exists(file_path)

    def load_file(self, file_path: str) -> Any:
        return _load(file_path)


def share_models() -> None:
    """Let all sessions of this process share the files that they read."""
    Loader.FILE_LOADER_CLASS = _SharedFiles
