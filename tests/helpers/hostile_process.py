"""Runs all hostile receivers in a process of their own, so that they do not slow down a test's other receivers.

Its one line of output holds the URLs by case name; it exits when its input is closed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.helpers.hostile import HostileReceiver
from tests.helpers.hostile_cases import CASES


@contextmanager
def hostile_urls() -> Iterator[dict[str, str]]:
    """Start the process, and stop it at the end of the block."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    urls = {case.name: HostileReceiver(case.behave).url(scheme=case.scheme) for case in CASES}
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
