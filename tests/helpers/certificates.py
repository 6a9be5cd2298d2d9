"""Certificates for receivers and servers with TLS, and an authority that signs them."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Final

import trustme

HOST: Final = "127.0.0.1"


class Authority:
    """A certificate authority for one test; a client that trusts it needs `ca_file`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._directory = directory
        self.ca_file = directory / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def server(
        self, host: str = HOST, *, expires: datetime.datetime | None = None, clients: Authority | None = None
    ) -> ssl.SSLContext:
        """Return a server context for that host; with `clients` it requires a client certificate of that authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certify(context, host, expires=expires)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.ca_file)
        return context

    def certify(self, context: ssl.SSLContext, host: str = HOST, *, expires: datetime.datetime | None = None) -> None:
        """Give a server another certificate for its next connections."""
        self._authority.issue_cert(host, not_after=expires, key_type=trustme.KeyType.ECDSA).configure_cert(context)

    def client_files(self) -> tuple[Path, Path]:
        """Return the files of a client's certificate and its key."""
        return self.files("client.example", name="client")

    def files(self, *hosts: str, name: str = "server", expires: datetime.datetime | None = None) -> tuple[Path, Path]:
        """Return the files of a certificate for hosts and of its key; files of the same name are replaced."""
        issued = self._authority.issue_cert(*hosts, not_after=expires, key_type=trustme.KeyType.ECDSA)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key
