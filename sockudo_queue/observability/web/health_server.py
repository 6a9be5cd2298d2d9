"""The server of probes, metrics and pages: one application on one port, in its own thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from sockudo_queue.core.ports import host_port
from sockudo_queue.errors import StartError
from sockudo_queue.observability.web.application import PROBES
from sockudo_queue.observability.web.connection import Limits
from sockudo_queue.observability.web.server import WebServer
from sockudo_queue.observability.web.tls_files import TlsFiles
from sockudo_queue.runtime.limits import start_thread

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

LIMITS: Final = Limits(
    connections=32, requests=8, body_bytes=16_384, head_seconds=5.0, body_seconds=5.0, response_seconds=10.0
)


class HealthServer:
    """Serves until `stop`, also after errors."""

    def __init__(
        self,
        application: WSGIApplication,
        host: str,
        port: int,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        """With a `cert_file` the port speaks TLS; see `TlsFiles`."""
        self._host = host
        self._tls = TlsFiles(cert_file, key_file) if cert_file is not None else None
        self._web = WebServer(application, host, port, LIMITS, is_quick=PROBES.__contains__, tls=self._tls)

    @property
    def port(self) -> int:
        """The served port; after `start` the actual port if 0 was configured."""
        return self._web.port

    def start(self) -> None:
        """Bind and start serving.

        Raises `StartError` if the address or the certificate cannot be used, or no thread can be started.
        """
        if self._tls is not None:
            self._tls.load()
        try:
            self._web.bind()
        except OSError as error:
            raise StartError(
                f"cannot serve metrics and probes on {host_port(self._host.strip('[]'), self.port)}: {error.strerror}; "
                "set another QUEUE_METRICS_PORT or QUEUE_METRICS_HOST"
            ) from error
        start_thread(threading.Thread(target=self._web.serve, name="health", daemon=True))

    def stop(self) -> None:
        """Stop accepting connections and free the port; requests in flight continue to their end."""
        self._web.stop()
