"""The types of single settings: conversion of text to values. No message contains the value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

import msgspec
from pydantic import Field, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema, core_schema

from sockudo_queue.config.redis_urls import TCP_SCHEMES, UNIX, redis_scheme, unix_socket
from sockudo_queue.config.urls import ascii_url, check_host, check_ipv6, url_parts
from sockudo_queue.core.secret import MASK, Secret
from sockudo_queue.core.signing_secrets import signing_secret_fault

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
_GLOB = "*?[\\"
DATABASE_NODE_PORT = 7_000
"""Sockudo's default for a node of `database.redis.cluster.nodes`."""
_POSTGRES_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}")
_IPV6_FIRST = re.compile(r"\s*\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]")
_MYSQL_TABLE = re.compile(r"[^`%./\\\x00-\x1f\x7f]{1,64}")
APPS_DRIVER_SPELLINGS = {
    "postgres": "pgsql",
    "postgresql": "pgsql",
    "scylla": "scylladb",
    "surreal": "surrealdb",
}


def boolean(value: object) -> bool:
    """Read a boolean as Sockudo does."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError("must be true or false (also 1, yes, on or 0, no, off)")


def text(value: object) -> str:
    """Return text as it is. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 - pydantic makes a fault of a ValueError only
    return value


def _number(value: object) -> object:
    # JSON's true would pass as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - as above
    # Python reads 5_0 and digits of other scripts as numbers, and Sockudo does not.
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError("must be a number written only with the digits 0 to 9")
    return value


def _secret(value: object) -> object:
    return value if isinstance(value, Secret) else Secret(text(value))


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def texts(value: object) -> object:
    """Turn `a, b` or `["a","b"]` into a list; anything but text is left for the next check."""
    if isinstance(value, Secret):
        value = value.revealed
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("[") and not _IPV6_FIRST.match(value):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("begins with [ but is not a JSON list") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _host(value: object) -> object:
    """Check a host name or address. The scheme that Sockudo allows before it is taken off where settings are merged."""
    host = text(value).strip()
    if "://" in host:
        raise ValueError("must be a host name without a scheme")
    if "@" in host:
        raise ValueError("must be only a host name; user and password have their own settings")
    if host.count(":") > 1:
        address = host.removeprefix("[").removesuffix("]")
        check_ipv6(address)
        return address
    if ":" in host:
        raise ValueError("must be only a host name; the port has its own setting")
    check_host(host)
    return host


def _host_and_port(value: object) -> object:
    """Check a host as a `Host` header names it: with a port or without, an IPv6 address in brackets."""
    given = text(value).strip().lower()
    name, _, port = given.rpartition(":")
    has_port = bool(name) and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]"))
    host = str(_host(name if has_port else given))
    return f"[{host}]" * (":" in host) + host * (":" not in host) + f":{port}" * has_port


def _redis_url(value: object) -> object:
    secret = value if isinstance(value, Secret) else Secret(text(value))
    url = secret.revealed
    if redis_scheme(url) == UNIX:
        unix_socket(url)
        return secret
    rest = url.partition("://")[2]
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[-1] and re.search(r"[/?#]", rest):
        raise ValueError("has an @ after a / ? or #; write %2F, %3F and %23 for these in a password")
    url_parts(url, TCP_SCHEMES)
    path = re.split(r"[?#]", rest.partition("/")[2], maxsplit=1)[0]
    if path and not (path.isascii() and path.isdigit()):
        raise ValueError("must have a database number or nothing after the host and port")
    return secret


def _node(value: object) -> object:
    """Read one cluster node; the scheme may be left out, as Sockudo allows."""
    node = _node_text(value) if isinstance(value, Mapping) else _revealed(value)
    if redis_scheme(node) == UNIX:
        raise ValueError("must be a host and a port; a cluster node cannot be a Unix socket")
    return _redis_url(node if "://" in node else f"redis://{node}")


def _node_text(node: Mapping[str, object]) -> str:
    """Write a node of `database.redis.cluster.nodes` as text; its host may be a URL, with or without a port."""
    host, port = _revealed(node.get("host", "127.0.0.1")), node.get("port", DATABASE_NODE_PORT)
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise ValueError("must have a port from 1 to 65535")
    scheme, separator, rest = host.rpartition("://")
    authority, *tail = re.split(r"(?=[/?#])", rest, maxsplit=1)
    userinfo, at, address = authority.rpartition("@")
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    if ":" not in address.rpartition("]")[2]:
        address = f"{address}:{port}"
    return "".join((scheme, separator, userinfo, at, address, *tail))


def _revealed(value: object) -> str:
    return (value.revealed if isinstance(value, Secret) else text(value)).strip()


def _address_mapping(value: object) -> object:
    """Check one `ANNOUNCED=REACHABLE`, each a host with or without a port."""
    entry = text(value).strip()
    announced, found, reachable = entry.partition("=")
    if not found:
        raise ValueError("must be the address that a node announces, an equals sign, and its reachable address")
    ports = [url_parts(f"redis://{address}", ("redis",)) for address in (announced, reachable)]
    if any(parts.has_userinfo for parts in ports):
        raise ValueError("must contain only addresses, without user and password")
    return entry


def _http_url(value: object) -> object:
    """Check the URL of a service. A URL with a password is refused, because it would be printed."""
    url = text(value).strip()
    if url_parts(url, ("http", "https")).has_userinfo:
        raise ValueError("must not contain a user or password")
    return url


def _alert_url(value: object) -> object:
    """Check the URL of a receiver. It is a secret as a whole: path and query often hold a token."""
    secret = value if isinstance(value, Secret) else Secret(text(value))
    url_parts(ascii_url(secret.revealed.strip()), ("http", "https"))
    return secret


def _signing_secret(value: object) -> object:
    secret = value if isinstance(value, Secret) else Secret(text(value))
    if (fault := signing_secret_fault(secret.revealed)) is not None:
        raise ValueError(fault)
    return secret


def _prefix(value: object) -> object:
    prefix = text(value)
    if any(character in _GLOB for character in prefix):
        raise ValueError(
            "must not contain * ? [ or a backslash: when a Sockudo server up to 4.7 stops, it deletes all keys that "
            "match its prefix as a pattern"
        )
    if not prefix.isprintable():
        raise ValueError("must not contain control characters")
    return prefix


def _name(value: object) -> object:
    name = text(value)
    if not name.strip():
        raise ValueError("must be non-empty text")
    if not name.isprintable():
        raise ValueError("must not contain control characters")
    return name


def apps_driver(value: object) -> object:
    """Read the name of an app store in each spelling that Sockudo takes."""
    name = _lower(value)
    return APPS_DRIVER_SPELLINGS.get(name, name) if isinstance(name, str) else name


def _postgres_table(value: object) -> object:
    """Check a table's name as it stands in a query, unquoted as Sockudo writes it; a schema may stand before it."""
    if not _POSTGRES_TABLE.fullmatch(name := text(value).strip()):
        raise ValueError("must be letters, digits and underscores, optionally after a schema and a dot")
    return name


def _mysql_table(value: object) -> object:
    """Check a table's name that a query puts between backquotes."""
    if not _MYSQL_TABLE.fullmatch(name := text(value).strip()):
        raise ValueError(
            "must be 1 to 64 characters without backquotes, percent signs, dots, slashes and control characters"
        )
    return name


def _network(value: object) -> object:
    """Read one network, or one address as a network of one address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    written = text(value).strip()
    with suppress(ValueError):
        return ip_network(written)
    try:
        ip_network(written, strict=False)
    except ValueError:
        raise ValueError("must be an IP network or address") from None
    raise ValueError("must not have host bits set")


def _masked(value: Any) -> str | None:
    return None if value is None else MASK


class Converter(msgspec.Struct, frozen=True):
    """Converts a value before its type is checked, as pydantic's `BeforeValidator` does.

    That one inspects the signature of its function for every field, and so takes a tenth of the time in which the
    models are built.
    """

    convert: Callable[[Any], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.convert, handler(source))


Boolean = Annotated[bool, Converter(boolean)]
Whole = Annotated[int, Converter(_number)]
Fraction = Annotated[float, Converter(_number)]
SecretText = Annotated[Secret, Converter(_secret), PlainSerializer(_masked)]
Host = Annotated[str, Converter(_host)]
HostAndPort = Annotated[str, Converter(_host_and_port)]
RedisUrl = Annotated[Secret, Converter(_redis_url), PlainSerializer(_masked)]
Node = Annotated[Secret, Converter(_node), PlainSerializer(_masked)]
AlertUrl = Annotated[Secret, Converter(_alert_url), PlainSerializer(_masked)]
SigningSecret = Annotated[Secret, Converter(_signing_secret), PlainSerializer(_masked)]
HttpUrl = Annotated[str, Converter(_http_url)]
Prefix = Annotated[str, Converter(_prefix)]
Name = Annotated[str, Converter(_name)]
PostgresTable = Annotated[str, Converter(_postgres_table)]
MysqlTable = Annotated[str, Converter(_mysql_table)]
AppsDriver = Converter(apps_driver)
Lower = Converter(_lower)
AddressMapping = Annotated[str, Converter(_address_mapping)]
Network = Annotated[IPv4Network | IPv6Network, Converter(_network)]
Port = Annotated[int, Converter(_number), Field(ge=1, le=65_535)]
Texts = Converter(texts)
