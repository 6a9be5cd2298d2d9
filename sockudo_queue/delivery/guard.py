"""The network guard: asked by libcurl before each new connection, with the address that it is about to connect to.

Besides the rules that a person sets, nobody's webhook may reach the queue's own server, nor our pages and doors. Those
are known by name, so a service looks them up now and then; where one of them is on this host, its port is refused at
every address of this host.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple

from sockudo_queue.delivery.addresses import Address, Rules, meanings, refusal

LOOK_UP_EVERY: Final = 60.0
"""Seconds between two look-ups of a service that has a name."""


_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class Service(NamedTuple):
    """A server of ours that no webhook may reach. `what` names it in a refusal."""

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
        self._unknown: set[Service] = set()  # those of which no look-up has told where they are

    def protect(self, service: Service) -> None:
        """Refuse connections to a service of ours from now on.

        Until the first look-up of one that has a name, `undecided` holds back connections to its port.
        """
        if _is_literal(service.host):
            self._learn(service, [service.host])
        elif service not in self._looked_up_at:
            self._unknown.add(service)
        self._ports.add(service.port)

    def refusal(self, text: str, port: int) -> str | None:
        """Return why no connection may be made to that address and port, or None."""
        try:
            return refusal(self._rules, text, port) or (self._own(text, port) if port in self._ports else None)
        except ValueError:
            return "the address cannot be read"

    def undecided(self, port: int) -> str | None:
        """Return why it cannot be said yet whether a connection to this port reaches a service of ours, or None."""
        if port not in self._ports:
            return None
        unknown = next((service for service in tuple(self._unknown) if service.port == port), None)
        return unknown and f"port {port} is that of {unknown.what}, whose host has not been looked up yet"

    def look_up(self, service: Service, now: float) -> None:
        """Learn where a service is now, unless it was looked up a moment ago. May block for seconds."""
        if _is_literal(service.host) or now - self._looked_up_at.get(service, -LOOK_UP_EVERY) < LOOK_UP_EVERY:
            return
        try:
            found = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            # What was known of it stays, and the next call asks again. A name that does not exist leads nowhere: a host
            # that only a proxy can resolve must not hold back deliveries for ever.
            if error.errno in _NO_SUCH_NAME:
                self._unknown.discard(service)
            return
        except UnicodeError:  # a host that cannot be one, as servers may name it; it leads nowhere, too
            self._unknown.discard(service)
            return
        except OSError:
            return
        self._learn(service, [str(address[4][0]) for address in found])
        self._looked_up_at[service] = now
        self._unknown.discard(service)

    def _learn(self, service: Service, texts: Iterable[str]) -> None:
        for text in texts:
            for address in meanings(text):
                if _is_of_this_host(address):
                    self._local[service.port] = service.what
                else:
                    self._remote[address, service.port] = service.what

    def _own(self, text: str, port: int) -> str | None:
        for address in meanings(text):
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
    """Tell whether an address is one of this host: only those can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
