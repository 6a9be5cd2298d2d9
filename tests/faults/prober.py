"""Polls both probes of a daemon from a separate process, so that the test's threads do not delay it.

    python -m tests.faults.prober PORT

Ends with its standard input, and then writes one line for each probe: its status, and the seconds until its answer.
"""

from __future__ import annotations

import http.client
import select
import sys
import time
from typing import Final

PAUSE_SECONDS: Final = 0.02
PATHS: Final = ("/livez", "/readyz")


def ask(port: int, path: str) -> tuple[int, float]:
    """Return the status of one probe, or 0 without an answer, and the seconds it took."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    return status, time.monotonic() - began


def main() -> None:
    port, answers = int(sys.argv[1]), []
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        answers += [ask(port, path) for path in PATHS]
    sys.stdout.write("".join(f"{status} {seconds}\n" for status, seconds in answers))


if __name__ == "__main__":
    main()
