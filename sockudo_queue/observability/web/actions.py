"""Requests that change something: who may send them.

A login alone does not protect them, since a browser adds it to requests that another site's page makes. A `SameSite`
cookie would not help: the login is no cookie.
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
    """Who acts: the user of the login, and the address of the client or of the proxy before it."""

    user: str
    address: str

    def __str__(self) -> str:
        return f"{self.user} at {self.address}"


ActionHandler = Callable[[Request, Actor], Response]
"""Carries out an action. The request has passed `ActionGuard`."""


class ActionGuard:
    """Refuses requests that did not come from a form of our own pages. Safe from any thread."""

    def __init__(self, tokens: FormTokens, hosts: Collection[str] = ()) -> None:
        """`hosts` are the names under which the pages may be used, with or without a port; none means any."""
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in hosts)

    def refusal(self, request: Request, purpose: str) -> Response | None:
        """Return the answer to a request that may not act, or None."""
        reason = self._reason(request, purpose)
        if reason is None:
            return None
        return Response(f"{reason}; nothing was done\n", 403, content_type="text/plain; charset=utf-8")

    def _reason(self, request: Request, purpose: str) -> str | None:
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return "the request came from another site"
        scheme, origin = _origin(request.headers.get("Origin", ""))
        host = _without_default_port(request.headers.get("Host", "").lower(), scheme)
        if not origin:
            return "a request that acts needs a header Origin, which browsers send with every form"
        if self._hosts:
            if not (self._is_ours(origin) and self._is_ours(host)):
                return "Origin or Host is not one of QUEUE_METRICS_ACTION_HOSTS"
        elif origin != host:
            return "Origin and Host differ; behind a proxy that changes Host, set QUEUE_METRICS_ACTION_HOSTS"
        if request.mimetype != FORM:
            return f"a request that acts must be a form ({FORM})"
        if not self._tokens.is_valid(request.form.get(TOKEN_FIELD, ""), purpose):
            return "the form is too old, or the login has changed since; go back, reload the page and try again"
        return None

    def _is_ours(self, host: str) -> bool:
        return host in self._hosts or _name_of(host) in self._hosts


def see_other(location: str) -> Response:
    """Return the answer to a form: the browser loads a page, which a reload then loads again instead of the form."""
    return Response(status=303, headers={"Location": location})


def actor_of(request: Request) -> Actor:
    """Return who has sent a request that has passed the login."""
    shown = request.authorization
    user = shown.username if shown is not None and shown.type == "basic" else None
    return Actor(user or "bearer token", request.remote_addr or "")


Actions = Mapping[str, ActionHandler]
"""Every action by its path, which is also the purpose of its tokens."""


def _origin(header: str) -> tuple[str, str]:
    """Return scheme and host of an `Origin`, the host as in `Host`; both are empty for one that is no web page's."""
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
