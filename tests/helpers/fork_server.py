"""Starts daemons and other commands by fork, from a process that has imported the package already.

The imports are nearly all of the CPU time of a start, and the tests start several hundred daemons. A forked command is
a process like any other: it has its own id, environment, limits, directory and output, and is a child of the tests.
Three things differ from a start: its peak of memory is lower, all drivers are imported whatever the setting, and
all commands of a test process have one seed for hashes.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAM = Path(__file__).with_name("fork_server_main.py")
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# An interpreter or the C library reads these when a program begins, and so not in a forked process. OpenTelemetry reads
# its own when `opentelemetry.sdk.trace` is imported and tracing starts. Both are after the fork, although redis-py
# imports other parts of it before.
_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ", "OPENSSL_")
# Coverage measures a process from its start.
_NEVER_FORKED = "COVERAGE_"

_OF_THE_SERVER = ("PATH", "PYTHONPATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


class ForkedProcess:
    """A command that was forked; the methods are those of `subprocess.Popen` that the tests use. Thread-safe."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._descriptor)
            return self.returncode

    def wait(self, timeout: float) -> int:
        code = self.poll()
        if code is None:
            self._await_end(timeout)
            code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a forked command", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _await_end(self, seconds: float) -> None:
        with self._lock:
            if self.returncode is not None:
                return
            watched = os.dup(self._descriptor)  # another thread may close it
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            poll.poll(seconds * 1000)
        finally:
            os.close(watched)


def can_fork(environment: Mapping[str, str], base: Mapping[str, str]) -> bool:
    """Whether a command with this environment behaves the same after a fork as after a start of its own."""
    if sys.platform != "linux" or any(name.startswith(_NEVER_FORKED) for name in environment):
        return False
    special = {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}
    return all(base.get(name) == value for name, value in special.items())


def fork(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    stdout: int,
    stderr: int,
    *,
    program: str = "sockudo_queue.__main__",
) -> ForkedProcess:
    """Start `sockudo-queue`, or the `main` of another module, with these arguments; standard input is empty."""
    request = {
        "program": program,
        "arguments": list(arguments),
        "environment": dict(environment),
        "directory": str(directory),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
    }
    inherited = {name: value for name, value in environment.items() if name in _OF_THE_SERVER}
    return ForkedProcess(_server(tuple(sorted(inherited.items()))).fork(request, stdout, stderr))


class _Server:
    """The process that forks. It ends when the test process does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # A forked command is an orphan, which becomes a child of this process and not of process 1. So do others, and
        # nothing waits for them: they stay zombies when they end.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", str(_PROGRAM), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        atexit.register(self._end)

    def fork(self, request: Mapping[str, object], stdout: int, stderr: int) -> int:
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], [stdout, stderr])
                answer = self._control.recv(64)
            except OSError:
                answer = b""
        if not answer:
            _server.cache_clear()  # the next command gets a new one
            raise RuntimeError("the process that forks commands has ended")
        return int(answer)

    def _end(self) -> None:
        self._control.close()
        self._process.wait(10)


@functools.cache
def _server(environment: tuple[tuple[str, str], ...]) -> _Server:
    return _Server(dict(environment))
