"""Authentication for metrics and pages: a user with a password, or a bearer token."""

from __future__ import annotations

import hmac
import ipaddress
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import msgspec
from werkzeug.datastructures import Authorization
from werkzeug.wrappers import Request, Response

from sockudo_queue.core.secret import Secret
from sockudo_queue.observability.logs import get_logger
from sockudo_queue.observability.reminder import Reminder

FAILURES: Final = 10
"""Failed logins of one address per minute, after which it is refused without comparing its credentials."""
PERIOD: Final = 60.0
ADDRESSES: Final = 1_000
_LOG_INTERVAL: Final = 10.0


class Credentials(msgspec.Struct, frozen=True):
    """The accepted credentials: user and password, or a token. One of the two may be absent."""

    user: str = ""
    password: Secret | None = None
    token: Secret | None = None

    def __bool__(self) -> bool:
        return self.password is not None or self.token is not None

    def accept(self, header: str) -> bool:
        """Compare in constant time, regardless of the position of the first wrong character."""
        scheme, _, token = header.partition(" ")
        if self.token is not None and scheme.lower() == "bearer":
            # WSGI decodes the bytes of a header as Latin-1.
            return _equal(token.encode("latin-1", "replace").decode(errors="replace"), self.token.current())
        if self.password is not None and (shown := _basic(header)) is not None:
            is_user = _equal(shown.username, self.user)
            return _equal(shown.password, self.password.current()) and is_user
        return False

    def key_material(self) -> bytes:
        """Return both current secrets, for key derivation only; never display or store them."""
        return b"\0".join(secret.current().encode() if secret else b"" for secret in (self.password, self.token))

    @property
    def challenges(self) -> list[str]:
        """The values of `WWW-Authenticate`."""
        basic = 'Basic realm="sockudo-queue", charset="UTF-8"'
        return [basic] * (self.password is not None) + ['Bearer realm="sockudo-queue"'] * (self.token is not None)


class LoginGate:
    """Refuses requests without valid credentials. Thread-safe."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._failures = FailureLimit()
        self._reminder, self._blocked_reminder = Reminder(_LOG_INTERVAL), Reminder(_LOG_INTERVAL)
        self._lock = threading.Lock()
        self._unlogged = 0

    def refusal(self, request: Request) -> Response | None:
        """Return the response that refuses a request, or None if it may continue."""
        network, now = network_of(request.remote_addr or ""), self._clock()
        with self._lock:
            wait = self._failures.wait(network, now)
        if wait > 0:
            return _text(429, "too many failed logins; wait", {"Retry-After": str(math.ceil(wait))})
        header = request.headers.get("Authorization")
        if header is not None:
            if self._credentials.accept(header):
                return None
            self._failed(network, request.path, now)
        response = _text(401, "a login is needed")
        for challenge in self._credentials.challenges:
            response.headers.add("WWW-Authenticate", challenge)
        return response

    def _failed(self, network: str, path: str, now: float) -> None:
        with self._lock:
            self._failures.add(network, now)
            self._unlogged += 1
            is_blocked = self._failures.wait(network, now) > 0
            if not self._reminder.is_due(now, changed=is_blocked and self._blocked_reminder.is_due(now)):
                return
            count, self._unlogged = self._unlogged, 0
        get_logger().warning("login.failed", address=network, path=path, failures=count, blocked=is_blocked)


class FailureLimit:
    """Counts failures by address over the last minute; pure.

    Above `ADDRESSES` it forgets the addresses whose last failure is the oldest. Within a minute that happens only with
    an attacker who has more addresses, and can make ten tries with each anyway.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str, now: float) -> None:
        """Count a failure."""
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(now)
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def wait(self, address: str, now: float) -> float:
        """Return the seconds that an address has to wait before its next try."""
        failures = self._failures.get(address)
        return max(failures[0] + PERIOD - now, 0.0) if failures and len(failures) == FAILURES else 0.0


def _basic(header: str) -> Authorization | None:
    try:
        shown = Authorization.from_header(header)
    except ValueError:
        return None
    return shown if shown is not None and shown.type == "basic" else None


def network_of(address: str) -> str:
    """Return the address under which failures are counted.

    For IPv6 this is the /64, because one client owns all of its addresses.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _equal(shown: str | None, expected: str) -> bool:
    return hmac.compare_digest((shown or "").encode(errors="surrogateescape"), expected.encode())


def _text(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    return Response(f"{line}\n", status, headers, content_type="text/plain; charset=utf-8")
