"""What `check` finds out about endpoints: whether their names resolve, who listens, and how long certificates hold.

Nothing is sent to them, unless a probe is asked for: then each webhook gets one signed POST without events.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sockudo_queue.commands.apps import Credentials, inline_credentials
from sockudo_queue.commands.attempts import Attempts
from sockudo_queue.config import Loaded
from sockudo_queue.core.apps import App, Webhook
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.core.ports import default_port, host_port
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.certificates import expiry_of, file_faults
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.factory import handle_options, make_guard
from sockudo_queue.delivery.guard import Guard
from sockudo_queue.delivery.own_services import brokers
from sockudo_queue.drivers.base import Finding, Level
from sockudo_queue.errors import SettingsError

CONNECT_SECONDS: Final = 5.0
ALL_SECONDS: Final = 20.0
"""Seconds for all endpoints together; a resolver that hangs is not waited for any longer."""
AT_ONCE: Final = 16
EXPIRES_SOON_DAYS: Final = 14


class Endpoint(NamedTuple):
    """Where webhooks point: what is looked up, connected to, and spoken there."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{host_port(self.host, self.port)}"


class Ways(NamedTuple):
    """What is asked of every endpoint alike: a guard that allows its address, and a certificate that is trusted."""

    guard: Guard | None
    options: HandleOptions
    trust: ssl.SSLContext
    no_trust: ssl.SSLContext


def endpoint_findings(loaded: Loaded, apps: Sequence[App], *, probe: bool) -> Iterator[Finding]:
    """Yield a line for each endpoint of the apps in the file, and with a probe for each webhook."""
    webhooks = [(app, webhook) for app in apps for webhook in app.webhooks]
    verified: dict[Endpoint, bool] = {}
    for _, webhook in webhooks:
        if webhook.url is not None:
            endpoint = _endpoint_of(webhook.url)
            verified[endpoint] = verified.get(endpoint, False) or webhook.verify_tls
    ways = _ways(loaded)
    yield from _side_by_side(
        [(str(each), partial(look_at, each, ways, verify=verify)) for each, verify in sorted(verified.items())]
    )
    if probe:
        attempts = Attempts(loaded.settings)
        yield from _side_by_side(
            [
                (f"app {app.id!r}, webhook {webhook.name}", partial(_probe, attempts, loaded, app, webhook))
                for app, webhook in webhooks
            ]
        )


def look_at(endpoint: Endpoint, ways: Ways, *, verify: bool) -> tuple[Level, str]:
    """Resolve, connect, and with https shake hands. Blocks for as long as the resolver, and then some seconds."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name that can be looked up"
        return Level.ERROR, f"its host does not resolve: {reason}; mend the URL, or the name server"
    addresses = [address for *_, address in found]
    refusals = [ways.guard.refusal(str(address[0]), endpoint.port) if ways.guard else None for address in addresses]
    allowed = [address for address, refusal in zip(addresses, refusals, strict=True) if refusal is None]
    if not allowed:
        return Level.ERROR, f"may not be called: {refusals[0]}; see QUEUE_DELIVERY_ALLOWED_NETWORKS in docs/settings.md"
    try:
        link = _connect(allowed)
    except OSError as error:
        reason = error.strerror or "no answer in time"
        return Level.WARNING, f"resolves, but nobody takes a connection: {reason}; start it, or open the way to it"
    with link:
        if endpoint.scheme == "http":
            return Level.OK, "resolves and listens"
        if not verify:
            return _untrusted(link, endpoint, ways.no_trust)
        return _certificate(link, endpoint, ways)


def _certificate(link: socket.socket, endpoint: Endpoint, ways: Ways) -> tuple[Level, str]:
    try:
        with ways.trust.wrap_socket(link, server_hostname=endpoint.host):
            pass
        expires = expiry_of(f"{endpoint}/", ways.options, CONNECT_SECONDS)
    except ssl.SSLCertVerificationError as error:
        until = _expired(endpoint, ways)
        if until:
            return Level.ERROR, f"its certificate expired {until}; renew it"
        return (
            Level.ERROR,
            f"its certificate is not trusted: {error.verify_message}; give it another, or set QUEUE_DELIVERY_CA_FILE "
            "for an authority of your own",
        )
    except (OSError, ValueError, TransportFault) as error:
        return Level.ERROR, f"no TLS could be agreed upon: {_reason(error)}; is that port for https?"
    days = (expires - datetime.now(UTC)).days
    if days < EXPIRES_SOON_DAYS:
        return Level.WARNING, f"its certificate expires in {days} days, on {expires:%Y-%m-%d}; renew it"
    return Level.OK, f"resolves, listens, and its certificate holds until {expires:%Y-%m-%d}"


def _expired(endpoint: Endpoint, ways: Ways) -> str:
    """Return when a certificate that is not trusted has expired, if that is what is wrong with it."""
    try:
        expires = expiry_of(f"{endpoint}/", ways.options, CONNECT_SECONDS)
    except TransportFault:
        return ""
    return f"on {expires:%Y-%m-%d}" if expires < datetime.now(UTC) else ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _connect(addresses: Iterable[tuple[object, ...]]) -> socket.socket:
    fault: OSError = TimeoutError()
    for address in addresses:
        try:
            return socket.create_connection((str(address[0]), int(str(address[1]))), CONNECT_SECONDS)
        except OSError as error:
            fault = error
    raise fault


def _untrusted(link: socket.socket, endpoint: Endpoint, no_trust: ssl.SSLContext) -> tuple[Level, str]:
    try:
        with no_trust.wrap_socket(link, server_hostname=endpoint.host):
            return (
                Level.WARNING,
                "resolves and listens; whose certificate it shows is not checked (verify_tls is false)",
            )
    except (OSError, ValueError) as error:
        return Level.ERROR, f"no TLS could be agreed upon: {_reason(error)}; is that port for https?"


def _ways(loaded: Loaded) -> Ways:
    guard = make_guard(loaded.settings)
    options = handle_options(loaded.settings, guard)
    if guard is not None:
        for service in brokers(loaded.settings):
            guard.protect(service)
            guard.look_up(service, time.monotonic())
    if faults := list(file_faults(options)):
        raise SettingsError(faults)
    contexts = []
    for _ in range(2):
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.client_cert_file:
            context.load_cert_chain(options.client_cert_file, options.client_key_file, password=lambda: "")
        contexts.append(context)
    contexts[1].check_hostname = False
    contexts[1].verify_mode = ssl.CERT_NONE
    return Ways(guard, options, *contexts)


def _probe(attempts: Attempts, loaded: Loaded, app: App, webhook: Webhook) -> tuple[Level, str]:
    """Post a body without events: a receiver that checks signatures answers as it would, and has nothing to do."""
    credentials = inline_credentials(loaded.apps_document, app.id)
    outcome, _ = attempts.post(webhook, credentials or Credentials("", Secret("")), "check", ())
    return _told(outcome, signed=credentials is not None)


def _told(outcome: Outcome, *, signed: bool) -> tuple[Level, str]:
    if outcome.delivered:
        return Level.OK, f"answers a probe with {outcome.status}"
    if outcome.status is None or outcome.status >= 500:
        detail = f" ({outcome.detail})" if outcome.detail else ""
        return Level.ERROR, f"a probe failed: {outcome.reason}{detail}; see the receiver's log"
    why = "" if signed else ", perhaps since the app's secret is not in the file and the probe was signed with none"
    return Level.WARNING, f"answers a probe without events with {outcome.status}{why}; see the receiver's log"


def _side_by_side(tasks: Sequence[tuple[str, Callable[[], tuple[Level, str]]]]) -> Iterator[Finding]:
    """Do all tasks, some at once, and yield what they find in their order; what does not end in time is said so.

    The threads are daemons: one that hangs in the resolver must not hold up the end of the command.
    """
    results: dict[int, tuple[Level, str]] = {}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(tasks)):
        waiting.put(number)

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            results[number] = tasks[number][1]()
            done.put(number)

    for _ in range(min(AT_ONCE, len(tasks))):
        threading.Thread(target=work, name="check", daemon=True).start()
    give_up_at = time.monotonic() + ALL_SECONDS
    for _ in tasks:
        try:
            done.get(timeout=max(give_up_at - time.monotonic(), 0.001))
        except queue.Empty:
            break
    for number, (subject, _) in enumerate(tasks):
        level, text = results.get(number, (Level.ERROR, f"no answer of the resolver or the host in {ALL_SECONDS:g} s"))
        yield Finding(level, subject, text)


def _endpoint_of(url: Secret) -> Endpoint:
    parts = urlsplit(url.reveal())
    return Endpoint(parts.scheme, parts.hostname or "", parts.port or default_port(parts.scheme))
