"""TLS for the servers of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.certificates import Authority


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificate and key of a Redis server that accepts TLS only."""

    authority: Authority
    files: tuple[Path, Path]
    asks_clients: bool = False

    def server_options(self, port: int) -> Sequence[str]:
        """Return the server's options."""
        certificate, key = map(str, self.files)
        return (
            *("--port", "0", "--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key),
            *("--tls-ca-cert-file", str(self.authority.ca_file), "--tls-replication", "yes"),
            *("--tls-auth-clients", "yes" if self.asks_clients else "no"),
        )

    def client_options(self) -> dict[str, Any]:
        """Return redis-py's options for a connection; the certificate is not verified here."""
        certificate, key = map(str, self.files)
        return {"ssl": True, "ssl_cert_reqs": "none", "ssl_certfile": certificate, "ssl_keyfile": key}
