"""Checks whether the configured certificate files can be used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import certifi

from sockudo_queue.config import RegularFile
from sockudo_queue.delivery.connections import HandleOptions


def file_faults(options: HandleOptions) -> Iterator[str]:
    """Yield one line for each unusable certificate file. No line contains anything of its content."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca_file != certifi.where():
        try:
            with RegularFile(options.ca_file) as name:
                context.load_verify_locations(name)
        except OSError as error:
            yield (
                "queue.delivery.ca_file (QUEUE_DELIVERY_CA_FILE): contains no readable certificates "
                f"({_reason(error)}); for example /etc/ssl/certs/ca-certificates.crt"
            )
    if options.client_cert_file is not None:
        try:
            with ExitStack() as files:
                certificate = files.enter_context(RegularFile(options.client_cert_file))
                key = options.client_key_file and files.enter_context(RegularFile(options.client_key_file))
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            yield (
                "queue.delivery.client_cert_file (QUEUE_DELIVERY_CLIENT_CERT_FILE): no usable certificate and key "
                f"({_reason(error)}); both must be PEM and belong together, and the key must have no password"
            )


def _reason(error: OSError) -> str:
    # OpenSSL's full message contains its source file and line; the reason is enough.
    return error.reason if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
