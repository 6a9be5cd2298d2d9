"""Checks of endpoints: whether their names resolve, whether they accept connections, and when certificates expire.

Nothing is sent to them without `--probe`, which sends each webhook one signed POST without events.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sockudo_queue.commands.apps import AppCredentials, inline_credentials
from sockudo_queue.commands.attempts import WebhookCaller
from sockudo_queue.config import LoadedSettings, Settings
from sockudo_queue.core.apps import App, Webhook
from sockudo_queue.core.outcome import Failure, Outcome
from sockudo_queue.core.ports import default_port, host_port
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.aws_lambda import NOT_ALLOWED, may_invoke
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.factory import make_guard, usable_options
from sockudo_queue.delivery.guard import Service
from sockudo_queue.delivery.inspection import HandshakeFault, connect
from sockudo_queue.delivery.own_services import brokers, pages
from sockudo_queue.drivers.base import Finding, FindingLevel

CONNECT_SECONDS: Final = 5.0
ALL_SECONDS: Final = 20.0
"""Time limit in seconds for all endpoints together, in case a resolver hangs."""
CONCURRENCY: Final = 16
EXPIRES_SOON_DAYS: Final = 14


class ProbedEndpoint(NamedTuple):
    """The scheme, host and port of a webhook's URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{host_port(self.host, self.port)}"


def endpoint_findings(
    loaded: LoadedSettings, apps: Sequence[App], servers: Iterable[Service], *, probe: bool
) -> Iterator[Finding]:
    """Yield a line for each endpoint of the apps in the file, and with a probe for each webhook.

    `servers` are those of the queue that no setting names and that have been found.
    """
    webhooks = [(app, webhook) for app in apps for webhook in app.webhooks]
    verified: dict[ProbedEndpoint, bool] = {}
    for _, webhook in webhooks:
        if webhook.url is not None:
            endpoint = endpoint_of(webhook.url.revealed)
            verified[endpoint] = verified.get(endpoint, False) or webhook.verify_tls
    options = _options(loaded.settings, servers)
    yield from _refused_functions(loaded, webhooks)
    yield from _side_by_side(
        [
            (str(each), partial(inspect_endpoint, each, options, verify=verify))
            for each, verify in sorted(verified.items())
        ]
    )
    if probe:
        attempts = WebhookCaller(loaded.settings)
        yield from _side_by_side(
            [
                (f"app {app.id!r}, webhook {webhook.name}", partial(_probe, attempts, loaded, app, webhook))
                for app, webhook in webhooks
                if not webhook.paused
            ]
        )
        for app, webhook in webhooks:
            if webhook.paused:
                yield Finding(
                    FindingLevel.OK, f"app {app.id!r}, webhook {webhook.name}", "is paused, so it gets no probe"
                )


def _refused_functions(loaded: LoadedSettings, webhooks: Iterable[tuple[App, Webhook]]) -> Iterator[Finding]:
    allowed = loaded.settings.delivery.invocable_functions
    for app, webhook in webhooks:
        if webhook.lambda_target is not None and not may_invoke(webhook.lambda_target.function_name, allowed):
            yield Finding(
                FindingLevel.ERROR, f"app {app.id!r}, webhook {webhook.name}", f"must not be invoked: {NOT_ALLOWED}"
            )


def inspect_endpoint(endpoint: ProbedEndpoint, options: HandleOptions, *, verify: bool) -> tuple[FindingLevel, str]:
    """Connect as a delivery would, without a request. Blocks for at most a few times `CONNECT_SECONDS`."""
    url = f"{endpoint}/"
    try:
        shown = connect(url, options, CONNECT_SECONDS, verify=verify)
    except TransportFault as fault:
        return _fault(url, options, fault, verify=verify)
    if shown.hung_up:
        return FindingLevel.ERROR, f"requires a client certificate and closed the connection; {_certificate(options)}"
    if endpoint.scheme == "http":
        if options.environment_proxy:
            return FindingLevel.OK, "connected, perhaps only to the proxy; --probe tests the endpoint behind it"
        return FindingLevel.OK, "resolves and listens"
    if not verify:
        return FindingLevel.WARNING, "resolves and listens; its certificate is not verified (verify_tls is false)"
    if shown.asks_for_certificate and options.client_cert_file is None:
        return FindingLevel.WARNING, f"asks for a client certificate; if it requires one, {_certificate(options)}"
    return _validity(shown.expires)


def _fault(url: str, options: HandleOptions, fault: TransportFault, *, verify: bool) -> tuple[FindingLevel, str]:
    if isinstance(fault, HandshakeFault):
        return FindingLevel.ERROR, _tls_fault(url, options, fault, verify=verify)
    match fault.failure:
        case Failure.DNS:
            return FindingLevel.ERROR, f"its host does not resolve: {fault}; check the URL and the name server"
        case Failure.GUARD:
            return (
                FindingLevel.ERROR,
                f"must not be called: {fault}; see QUEUE_DELIVERY_ALLOWED_NETWORKS in docs/settings.md",
            )
        case Failure.REFUSED if options.environment_proxy:
            return FindingLevel.WARNING, f"cannot be reached, or the proxy refuses: {fault}"
        case Failure.REFUSED | Failure.CONNECT_TIMEOUT:
            return (
                FindingLevel.WARNING,
                f"resolves, but no connection could be made: {fault}; is it running and reachable?",
            )
    return FindingLevel.ERROR, f"cannot be called: {fault.failure}, {fault}"


def _tls_fault(url: str, options: HandleOptions, fault: TransportFault, *, verify: bool) -> str:
    """Find the cause with a second connection that accepts any certificate."""
    try:
        shown = connect(url, options, CONNECT_SECONDS, verify=False) if verify else None
    except TransportFault:
        shown = None
    if shown is None:
        return f"the TLS handshake failed: {fault}; does that port serve HTTPS?"
    if shown.expires is not None and shown.expires < datetime.now(UTC):
        return f"its certificate expired on {shown.expires:%Y-%m-%d}; renew it"
    return (
        f"its certificate is not trusted: {fault}; replace it, or set QUEUE_DELIVERY_CA_FILE to your own certificate "
        "authority"
    )


def _certificate(options: HandleOptions) -> str:
    if options.client_cert_file is None:
        return "set QUEUE_DELIVERY_CLIENT_CERT_FILE"
    return "does it accept the certificate in QUEUE_DELIVERY_CLIENT_CERT_FILE?"


def _validity(expires: datetime | None) -> tuple[FindingLevel, str]:
    if expires is None:
        return FindingLevel.OK, "resolves and listens; its certificate is trusted"
    days = (expires - datetime.now(UTC)).days
    if days < EXPIRES_SOON_DAYS:
        return FindingLevel.WARNING, f"its certificate expires in {days} days, on {expires:%Y-%m-%d}; renew it"
    return FindingLevel.OK, f"resolves and listens; its certificate is valid until {expires:%Y-%m-%d}"


def _options(settings: Settings, servers: Iterable[Service]) -> HandleOptions:
    """Return the options of the daemon's connections to endpoints, including its network guard."""
    guard = make_guard(settings)
    if guard is not None:
        for service in {*servers, *brokers(settings), *pages(settings)}:
            guard.protect(service)
            guard.look_up(service, time.monotonic())
    return usable_options(settings, guard)


def _probe(attempts: WebhookCaller, loaded: LoadedSettings, app: App, webhook: Webhook) -> tuple[FindingLevel, str]:
    """Post a body without events: a receiver verifies the signature as usual, and has nothing to process."""
    credentials = inline_credentials(loaded.apps_document, app.id)
    outcome, _ = attempts.post(webhook, credentials or AppCredentials("", Secret("")), "check", ())
    return _finding_of(outcome, signed=credentials is not None)


def _finding_of(outcome: Outcome, *, signed: bool) -> tuple[FindingLevel, str]:
    if outcome.delivered:
        return FindingLevel.OK, f"answers a probe with {outcome.status}"
    if outcome.status is None or outcome.status >= 500:
        detail = f" ({outcome.detail})" if outcome.detail else ""
        return FindingLevel.ERROR, f"a probe failed: {outcome.reason}{detail}; see the receiver's log"
    why = (
        ""
        if signed
        else ", perhaps because the probe was signed without the app's secret, which the file does not contain"
    )
    return FindingLevel.WARNING, f"answers a probe without events with {outcome.status}{why}; see the receiver's log"


def _side_by_side(tasks: Sequence[tuple[str, Callable[[], tuple[FindingLevel, str]]]]) -> Iterator[Finding]:
    """Run the tasks in parallel and yield their findings in order; report tasks that do not end in time.

    The threads are daemons: one that hangs in the resolver must not hold up the end of the command.
    """
    results: dict[int, tuple[FindingLevel, str]] = {}
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

    for _ in range(min(CONCURRENCY, len(tasks))):
        threading.Thread(target=work, name="check", daemon=True).start()
    give_up_at = time.monotonic() + ALL_SECONDS
    for _ in tasks:
        try:
            done.get(timeout=max(give_up_at - time.monotonic(), 0.001))
        except queue.Empty:
            break
    for number, (subject, _) in enumerate(tasks):
        level, text = results.get(
            number, (FindingLevel.ERROR, f"the resolver or the host did not answer in {ALL_SECONDS:g} s")
        )
        yield Finding(level, subject, text)


def endpoint_of(url: str) -> ProbedEndpoint:
    """Return the endpoint that a URL points to."""
    parts = urlsplit(url)
    return ProbedEndpoint(parts.scheme, parts.hostname or "", parts.port or default_port(parts.scheme))
