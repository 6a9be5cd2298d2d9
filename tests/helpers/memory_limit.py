"""Limits the memory of a process as a container would, where this machine permits it, and measures its peak."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def limited(pid: int, mebibytes: int) -> Iterator[bool]:
    """Put a process into a new memory cgroup, removed at the end; yields False if none can be created."""
    is_first = (_ROOT / "memory").is_dir()
    group = (_ROOT / "memory" if is_first else _ROOT) / f"sockudo-queue-test-{os.getpid()}-{pid}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_first else "memory.max")).write_text(str(mebibytes * 2**20))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        yield False
    else:
        yield True
    finally:
        # Only an empty group can be removed; its remaining memory is charged to the parent.
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(str(pid))
        with contextlib.suppress(OSError):
            group.rmdir()


def peak_mebibytes(pid: int) -> float:
    """Return the peak memory of a process as measured by the kernel."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
