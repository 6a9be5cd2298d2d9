"""The network guard: libcurl calls it before each new connection, with the address that it is about to connect to.

Besides the configured rules, no webhook may reach the queue's own server, nor the ports of this daemon. Services with a
host name are looked up regularly. If one is on this host, its port is refused at every address of this host.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple

from sockudo_queue.delivery.addresses import Address, Rules, addresses_in, refusal

LOOKUP_INTERVAL: Final = 60.0
"""Seconds between two look-ups of a service's host name."""


_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class Service(NamedTuple):
    """A server of ours that no webhook may reach. `what` is its description in a refusal."""

    what: str
    host: str
    port: int


class Guard:
    """Decides on new connections. Safe from any thread; `refusal` never blocks and never raises."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._ports: set[int] = set()
        self._local: dict[int, str] = {}  # port -> what
        self._remote: dict[tuple[Address, int], str] = {}
        self._looked_up_at: dict[Service, float] = {}
        self._unknown: set[Service] = set()  # those whose addresses are not known yet

    def protect(self, service: Service) -> None:
        """Refuse connections to a service of ours from now on.

        Until the first look-up of its host name, `undecided` holds back connections to its port.
        """
        if _is_literal(service.host):
            self._learn(service, [service.host])
        elif service not in self._looked_up_at:
            self._unknown.add(service)
        self._ports.add(service.port)

    def refusal(self, text: str, port: int) -> str | None:
        """Return why a connection to that address and port is refused, or None."""
        try:
            return refusal(self._rules, text, port) or (self._own(text, port) if port in self._ports else None)
        except ValueError:
            return "the address is not valid"

    def undecided(self, port: int) -> str | None:
        """Return why it is unknown whether a connection to this port would reach a service of ours, or None."""
        if port not in self._ports:
            return None
        unknown = next((service for service in tuple(self._unknown) if service.port == port), None)
        return unknown and f"port {port} is that of {unknown.what}, whose host has not been looked up yet"

    def look_up(self, service: Service, now: float) -> None:
        """Update the addresses of a service, unless it was looked up recently. May block for seconds."""
        if _is_literal(service.host) or now - self._looked_up_at.get(service, -LOOKUP_INTERVAL) < LOOKUP_INTERVAL:
            return
        try:
            found = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            # Known addresses stay, and the next call retries. A name that does not exist counts as looked up: a host
            # that only a proxy can resolve must not hold back deliveries forever.
            if error.errno in _NO_SUCH_NAME:
                self._unknown.discard(service)
            return
        except UnicodeError:  # an invalid host name, as a server may announce; no connection can reach it
            self._unknown.discard(service)
            return
        except OSError:
            return
        self._learn(service, [str(address[4][0]) for address in found])
        self._looked_up_at[service] = now
        self._unknown.discard(service)

    def _learn(self, service: Service, texts: Iterable[str]) -> None:
        for text in texts:
            for address in addresses_in(text):
                if _is_of_this_host(address):
                    self._local[service.port] = service.what
                else:
                    self._remote[address, service.port] = service.what

    def _own(self, text: str, port: int) -> str | None:
        for address in addresses_in(text):
            what = self._remote.get((address, port))
            if what is None and _is_of_this_host(address):
                what = self._local.get(port)
            if what is not None:
                return f"{address} port {port} is {what}"
        return None


def _is_literal(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ip_address(host)
        return True
    return False


def _is_of_this_host(address: Address) -> bool:
    """Return whether an address belongs to this host: only those can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
