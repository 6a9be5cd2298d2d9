"""The process that forks, see `fork_server`. It has one thread, because a child has only the one that forks."""

from __future__ import annotations

import importlib
import json
import os
import resource
import socket
import sys
from typing import Any, NoReturn

# Imports nearly all that a daemon imports; the rest is imported after the fork.
_PRELOADED = (
    "sockudo_queue.cli",
    "sockudo_queue.daemon",
    "sockudo_queue.drivers.redis.factory",
    "sockudo_queue.drivers.sqs.factory",
    "sockudo_queue.observability.status_page.page",
    "sockudo_queue.observability.status_page.dead_letters_pages",
    "sockudo_queue.services.dead_letter_tools",
)


def _serve(control: socket.socket) -> None:
    """Start a command for each request, and answer with its process id."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 2)
        if not request:
            return
        control.send(str(_fork_orphan(json.loads(request), descriptors)).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_orphan(request: dict[str, Any], output: list[int]) -> int:
    """Fork twice, so that the command becomes a child of the test process."""
    reading, writing = os.pipe()
    between = os.fork()
    if not between:
        command = os.fork()
        if not command:
            _run(request, output)
        os.write(writing, str(command).encode())
        os._exit(0)
    os.waitpid(between, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return int(pipe.read(32))


def _run(request: dict[str, Any], output: list[int]) -> NoReturn:
    os.setsid()
    for number, descriptor in enumerate(output, start=1):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_NOFILE, request["descriptors"])
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    importlib.import_module(request["program"]).main()
    raise AssertionError("the main function of the program returned")


if __name__ == "__main__":
    for name in _PRELOADED:
        importlib.import_module(name)
    assert "opentelemetry.sdk.trace" not in sys.modules, "it reads variables during its import"
    _serve(socket.socket(fileno=int(sys.argv[1])))
