"""Logging belongs to the process; a test that sets it up leaves it as it was."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from sockudo_queue.observability import logs

WAIT = 5.0


@contextmanager
def logging_put_back() -> Iterator[None]:
    """Put back hooks, handlers and structlog's configuration at the end, and end the writer of a set-up within."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        root.handlers[:], root.level = handlers, level
        writer, logs._output.writer = logs._output.writer, None
        if writer is not None:
            writer.close()
            writer.thread.join(WAIT)
        structlog.reset_defaults()
