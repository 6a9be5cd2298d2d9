"""The files of certificates that the settings name, and whether they can be used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import certifi

from sockudo_queue.config import RegularFile
from sockudo_queue.delivery.connections import HandleOptions


def file_faults(options: HandleOptions) -> Iterator[str]:
    """Yield one line for each file of certificates that cannot be used; nothing of what is in it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca_file != certifi.where():
        try:
            with RegularFile(options.ca_file) as name:
                context.load_verify_locations(name)
        except OSError as error:
            yield (
                "queue.delivery.ca_file (QUEUE_DELIVERY_CA_FILE): holds no certificates that can be read "
                f"({_reason(error)}); for example /etc/ssl/certs/ca-certificates.crt"
            )
    if options.client_cert_file is not None:
        try:
            with ExitStack() as files:
                certificate = files.enter_context(RegularFile(options.client_cert_file))
                key = options.client_key_file and files.enter_context(RegularFile(options.client_key_file))
                # A password that is asked for would be asked for on the terminal.
                context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            yield (
                "queue.delivery.client_cert_file (QUEUE_DELIVERY_CLIENT_CERT_FILE): no certificate and key that can be "
                f"used ({_reason(error)}); both must be PEM and belong together, and the key must have no password"
            )


def _reason(error: OSError) -> str:
    # OpenSSL's own errors name the file of its source and its line; their reason is enough.
    return error.reason if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
