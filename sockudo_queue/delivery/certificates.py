"""Certificates: whether the files that the settings name can be used, and until when an endpoint's own is valid."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import certifi
import pycurl

from sockudo_queue.delivery.connections import Handle, HandleOptions, Route
from sockudo_queue.delivery.transport import fault_of, origin_of

_EXPIRES: Final = "Expire date"


def file_faults(options: HandleOptions) -> Iterator[str]:
    """Yield one line for each file of certificates that cannot be used; nothing of what is in it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca_file != certifi.where():
        try:
            context.load_verify_locations(options.ca_file)
        except OSError as error:
            yield (
                "queue.delivery.ca_file (QUEUE_DELIVERY_CA_FILE): holds no certificates that can be read "
                f"({_reason(error)}); for example /etc/ssl/certs/ca-certificates.crt"
            )
    if options.client_cert_file is not None:
        try:
            # A password that is asked for would be asked for on the terminal.
            context.load_cert_chain(options.client_cert_file, options.client_key_file, password="")
        except OSError as error:
            yield (
                "queue.delivery.client_cert_file (QUEUE_DELIVERY_CLIENT_CERT_FILE): no certificate and key that can be "
                f"used ({_reason(error)}); both must be PEM and belong together, and the key must have no password"
            )


def expiry_of(url: str, options: HandleOptions, timeout: float) -> datetime:
    """Return until when the certificate that an https URL shows is valid, trusted or not.

    Blocks for at most `timeout` seconds; no request is sent. Raises `TransportFault` where none is shown.
    """
    handle = Handle(options, Route(origin_of(url), verify=False, guarded=True))
    try:
        timeout_ms = round(timeout * 1000)
        handle.curl.setopt(pycurl.CONNECT_ONLY, 1)
        handle.curl.setopt(pycurl.OPT_CERTINFO, 1)
        fault = handle.perform(url, [], b"", timeout_ms)
        if fault is not None:
            raise fault_of(handle, fault, timeout_ms)
        shown = dict(handle.curl.getinfo(pycurl.INFO_CERTINFO)[0])
        return datetime.strptime(shown[_EXPIRES], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
    finally:
        handle.curl.close()


def _reason(error: OSError) -> str:
    # OpenSSL's own errors name the file of its source and its line; their reason is enough.
    return error.reason if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
