"""Logging is global to the process; a test that configures it restores it afterwards."""

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
    """Restore hooks, handlers and structlog's configuration at the end, and stop the log writer that was set up."""
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
