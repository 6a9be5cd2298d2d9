"""Builds the delivery objects from the settings: the transport, its guard, and the senders on top of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

import certifi
import msgspec

from sockudo_queue.config import AlertSettings, Settings
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.delivery import proxies
from sockudo_queue.delivery.addresses import Rules
from sockudo_queue.delivery.alert_sender import AlertSender
from sockudo_queue.delivery.aws_lambda import LambdaSender
from sockudo_queue.delivery.certificates import file_faults
from sockudo_queue.delivery.connections import DESCRIPTORS_OF_A_HANDLE, IDLE_LIMIT, HandleOptions
from sockudo_queue.delivery.guard import Guard, Service
from sockudo_queue.delivery.own_services import broker, brokers
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from sockudo_queue.errors import SettingsError
from sockudo_queue.runtime.interpreter_lock import PythonGate

DESCRIPTORS_OF_A_WORKER: Final = 4
"""A connection to an endpoint, libcurl's internal descriptors, and a connection to the queue."""
DESCRIPTORS_BESIDE: Final = 100
"""For files, pages and their clients, service threads' connections, and DNS look-ups."""


class DeliveryStack:
    """The transport, guard and senders. Raises `SettingsError` for unusable certificates or proxies."""

    def __init__(self, settings: Settings, gate: PythonGate) -> None:
        """`gate` is that of the workers, which release it while they wait for an endpoint."""
        delivery = settings.delivery
        self.guard = make_guard(settings)
        self._transport = CurlTransport(
            msgspec.structs.replace(usable_options(settings, self.guard), around=gate.released)
        )
        self._functions = LambdaSender(
            self._transport, retry_every_status=delivery.retry_every_status, allowed=delivery.invocable_functions
        )
        self._gate = gate
        self._retry_every_status = delivery.retry_every_status
        self.sender = Sender(self._transport, self._invoke, retry_every_status=delivery.retry_every_status)
        self._workers = settings.workers + delivery.max_slow
        self._services: dict[Service, None] = {}
        for service in brokers(settings):
            self.protect(service)

    def session_sender(self) -> Sender:
        """Return a sender for a few attempts of one thread, with a `requests.Session` over the same transport."""
        from sockudo_queue.delivery.session import SessionTransport  # only for commands

        return Sender(SessionTransport(self._transport), self._invoke, retry_every_status=self._retry_every_status)

    def alert_sender(self, alerts: AlertSettings) -> AlertSender | None:
        """Return the sender of alerts, where they are wanted."""
        if alerts.url is None or alerts.secret is None:
            return None
        return AlertSender(self._transport, alerts.url, alerts.secret)

    def protect(self, service: Service) -> None:
        """Block webhooks from reaching a service of ours, for the lifetime of this process."""
        if self.guard is not None and service not in self._services:
            self.guard.protect(service)
            self._services[service] = None

    def protect_broker(self, host: str, port: int) -> None:
        """Block webhooks from reaching a server of the queue that was discovered through the configured ones."""
        self.protect(broker(host, port))

    def fit(self, descriptors: int) -> str | None:
        """Limit idle connections to the available descriptors; return a warning if there are too few descriptors."""
        needed = self._workers * DESCRIPTORS_OF_A_WORKER + DESCRIPTORS_BESIDE
        self._transport.pool.limit = min(max((descriptors - needed) // DESCRIPTORS_OF_A_HANDLE, 8), IDLE_LIMIT)
        if descriptors >= needed:
            return None
        return (
            f"this process may open {descriptors} files and connections, and {self._workers} threads can need "
            f"{needed}; raise the limit (ulimit -n, LimitNOFILE), or lower QUEUE_WORKERS or QUEUE_DELIVERY_MAX_SLOW"
        )

    @property
    def upkeep(self) -> Sequence[Callable[[float], object]]:
        """Return the periodic maintenance functions, for a thread that may block for seconds."""
        if self.guard is None:
            return [self._transport.pool.close_old]
        return [
            self._look_up,
            self._transport.pool.close_old,
        ]

    def _invoke(self, webhook: Webhook, body: bytes) -> tuple[Outcome, bool]:
        # Finding credentials may take AWS's library seconds.
        return self._gate.released(self._functions.post, webhook, body)

    def _look_up(self, now: float) -> None:
        assert self.guard is not None
        for service in tuple(self._services):
            self.guard.look_up(service, now)


def make_guard(settings: Settings) -> Guard | None:
    """Return the network guard, or None if it is disabled."""
    delivery = settings.delivery
    if not delivery.guard:
        return None
    return Guard(
        Rules(
            allowed=delivery.allowed_networks,
            denied=delivery.denied_networks,
            private=delivery.private == "allow",
            allowed_ports=frozenset(delivery.allowed_ports),
            denied_ports=frozenset(delivery.denied_ports),
        )
    )


def usable_options(settings: Settings, guard: Guard | None) -> HandleOptions:
    """Return the options of all connections to endpoints.

    Raises `SettingsError` for unusable certificates or proxies.
    """
    delivery = settings.delivery
    options = HandleOptions(
        max_response_bytes=delivery.max_response_bytes,
        ca_file=delivery.ca_file or certifi.where(),
        client_cert_file=delivery.client_cert_file,
        client_key_file=delivery.client_key_file,
        environment_proxy=delivery.use_environment_proxy,
        guard=guard,
    )
    faults = list(file_faults(options))
    if options.environment_proxy:
        proxies.adopt(os.environ)
        faults += proxies.faults(os.environ)
    if faults:
        raise SettingsError(faults)
    return options
