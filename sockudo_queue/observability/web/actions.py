"""Protects requests that change something.

A login alone does not protect them, because a browser adds it to requests from pages of other sites. A `SameSite`
cookie would not help, because the login is not a cookie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from sockudo_queue.observability.web.form_tokens import FormTokens

TOKEN_FIELD: Final = "token"  # noqa: S105 - a field's name
FORM: Final = "application/x-www-form-urlencoded"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Actor(NamedTuple):
    """The user of the login, and the address of the client or of the proxy in front of it."""

    user: str
    address: str

    def __str__(self) -> str:
        return f"{self.user} at {self.address}"


ActionHandler = Callable[[Request, Actor], Response]
"""Performs an action. The request has passed `ActionGuard`."""


class ActionGuard:
    """Refuses requests that did not come from a form of this daemon's pages, or have only the bearer token.

    Thread-safe.
    """

    def __init__(self, tokens: FormTokens, hosts: Collection[str] = ()) -> None:
        """`hosts` are the host names allowed for the pages, with or without a port; empty allows any."""
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in hosts)

    def refusal(self, request: Request, purpose: str) -> Response | None:
        """Return the response that refuses a request, or None if it may act."""
        reason = self._reason(request, purpose)
        if reason is None:
            return None
        return Response(f"{reason}; nothing was done\n", 403, content_type="text/plain; charset=utf-8")

    def _reason(self, request: Request, purpose: str) -> str | None:
        if _user_of(request) is None:
            return "the bearer token only reads; to act, log in with the user and QUEUE_METRICS_PASSWORD"
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return "the request came from another site"
        scheme, origin = _origin(request.headers.get("Origin", ""))
        host = request.headers.get("Host", "").lower()
        if not origin:
            return "a request that acts needs a header Origin, which browsers send with every form"
        if self._hosts:
            # A proxy may use another scheme towards the daemon than the browser towards the proxy.
            if not (self._is_ours(origin, _DEFAULT_PORTS[scheme]) and self._is_ours(host, *_DEFAULT_PORTS.values())):
                return "Origin or Host is not one of QUEUE_METRICS_ACTION_HOSTS"
        elif origin != _without_default_port(host, scheme):
            return "Origin and Host differ; behind a proxy that changes Host, set QUEUE_METRICS_ACTION_HOSTS"
        if request.mimetype != FORM:
            return f"a request that acts must be a form ({FORM})"
        if not self._tokens.is_valid(request.form.get(TOKEN_FIELD, ""), purpose):
            return "the form is too old, or the login has changed since; go back, reload the page and try again"
        return None

    def _is_ours(self, host: str, *default_ports: str) -> bool:
        """Return whether a host is allowed; if it has no port, it stands for each of these ports."""
        name = _name_of(host)
        ports = default_ports if name == host else ()
        return not self._hosts.isdisjoint({host, name, *(host + port for port in ports)})


def see_other(location: str) -> Response:
    """Return the response to a form: a redirect, so that a reload does not send the form again."""
    return Response(status=303, headers={"Location": location})


def actor_of(request: Request) -> Actor:
    """Return the sender of a request that has passed the login and `ActionGuard`."""
    return Actor(_user_of(request) or "", request.remote_addr or "")


Forms = Mapping[str, tuple[str, str]]
"""The path and a new token of each form of a page, by the form's name."""


def forms_for(request: Request, tokens: FormTokens, paths: Mapping[str, str]) -> Forms:
    """Return the forms at `paths`; none for a request with the bearer token, which cannot act."""
    if _user_of(request) is None:
        return {}
    return {name: (path, tokens.make(path)) for name, path in paths.items()}


Actions = Mapping[str, ActionHandler]
"""All actions by path; the path is also the purpose of their tokens."""


def _user_of(request: Request) -> str | None:
    """Return the user of a login with a password, else None."""
    shown = request.authorization
    return shown.username if shown is not None and shown.type == "basic" else None


def _origin(header: str) -> tuple[str, str]:
    """Return scheme and host of an `Origin`, the host as in `Host`; both are empty for other values."""
    try:
        parts = urlsplit(header.lower())
    except ValueError:
        return "", ""
    if parts.scheme not in _DEFAULT_PORTS or header.lower() != f"{parts.scheme}://{parts.netloc}":
        return "", ""
    return parts.scheme, _without_default_port(parts.netloc, parts.scheme)


def _without_default_port(host: str, scheme: str) -> str:
    return host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _name_of(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host
