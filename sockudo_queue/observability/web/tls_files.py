"""A certificate and its key, reloaded when the files change, for example after a renewal."""

from __future__ import annotations

import ssl
import stat
import threading
import time
from pathlib import Path
from typing import Final

from sockudo_queue.errors import StartError
from sockudo_queue.observability.logs import get_logger
from sockudo_queue.observability.reminder import Reminder

RENEWAL_SECONDS: Final = 10.0
_LOG_INTERVAL: Final = 3_600.0


class TlsFiles:
    """A reloaded certificate and key. Thread-safe. Call `load` first."""

    def __init__(self, cert_file: str, key_file: str | None) -> None:
        """Without a `key_file` the key is in the certificate file."""
        self._cert_file, self._key_file = cert_file, key_file
        self._failures = Reminder(_LOG_INTERVAL)
        self._seen: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None
        self._check_at, self._is_usable = 0.0, True
        self._checking = threading.Lock()

    def load(self) -> None:
        """Read the files. Raises `StartError` if they cannot be used."""
        seen = self._stamps()
        fault = fault_of(self._cert_file, self._key_file)
        if fault is not None:
            raise StartError(fault)
        self._context, self._seen = context_of(self._cert_file, self._key_file), seen

    def context(self) -> ssl.SSLContext:
        """Return the TLS context for new connections. Invalid new files are logged, and the old ones stay in use."""
        if time.monotonic() >= self._check_at and self._checking.acquire(blocking=False):
            try:
                self._check_at = time.monotonic() + RENEWAL_SECONDS
                if (seen := self._stamps()) != self._seen:
                    self._renew(seen)
            finally:
                self._checking.release()
        assert self._context is not None
        return self._context

    def _renew(self, seen: tuple[object, ...]) -> None:
        try:
            self._context = context_of(self._cert_file, self._key_file)
        except OSError as error:
            # Certificate and key are not replaced atomically, so the next check may find both files valid.
            if self._failures.is_due(time.monotonic(), changed=self._is_usable):
                get_logger().warning("tls.files_unusable", path=self._cert_file, reason=_reason(error))
            self._is_usable = False
            return
        self._seen, self._is_usable = seen, True
        get_logger().info("tls.files_renewed", path=self._cert_file)

    def _stamps(self) -> tuple[object, ...]:
        return tuple(map(_stamp, filter(None, (self._cert_file, self._key_file))))


def fault_of(cert_file: str, key_file: str | None) -> str | None:
    """Return one line on why the files cannot be used, or None."""
    try:
        context_of(cert_file, key_file)
    except OSError as error:
        return (
            f"queue.metrics.tls_cert_file (QUEUE_METRICS_TLS_CERT_FILE): no certificate and key that can be used "
            f"({_reason(error)}); both must be PEM and belong together, and the key must have no password"
        )
    return None


def context_of(cert_file: str, key_file: str | None) -> ssl.SSLContext:
    """Return a TLS server context, version 1.2 or newer. Raises `OSError`."""
    for path in filter(None, (cert_file, key_file)):
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would block
            raise OSError(None, f"{path} is not a regular file")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Without `password`, OpenSSL would ask for one on the terminal.
    context.load_cert_chain(cert_file, key_file, password="")
    return context


def _stamp(path: str) -> object:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        # OpenSSL's text contains its source file; `reason` is None if a file has no certificate or no key.
        return error.reason or "a certificate or a key is missing"
    return error.strerror or type(error).__name__
