"""Calls a WSGI application (PEP 3333) for one request."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from werkzeug.wrappers import Response

from sockudo_queue.observability.web.connection import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

_OWN_VARIABLES: Final = {"HTTP_CONTENT_TYPE": "CONTENT_TYPE", "HTTP_CONTENT_LENGTH": ""}


def response_of(application: WSGIApplication, request: HttpRequest, address: str, *, tls: bool) -> HttpResponse:
    """Return the complete response of the application. Its exceptions are not caught. `address` is the client's."""
    response = Response.from_app(application, _environ(request, address, tls=tls), buffered=True)
    return HttpResponse(response.status, response.headers.to_wsgi_list(), response.get_data())


def _environ(request: HttpRequest, address: str, *, tls: bool) -> WSGIEnvironment:
    path, _, query = request.target.partition("?")
    return {
        **_header_variables(request),
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(request.body)),
        "REMOTE_ADDR": address,
        # WSGI requires a name and a port; no response depends on the host name that a client uses.
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if tls else "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _header_variables(request: HttpRequest) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in request.headers:
        # A header name with an underscore would be confused with one with a hyphen. The body is complete, without its
        # transfer encoding.
        if b"_" in name or name == b"transfer-encoding":
            continue
        key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        key = _OWN_VARIABLES.get(key, key)
        text = value.decode("latin-1")
        variables[key] = f"{variables[key]},{text}" if key in variables else text
    return variables
