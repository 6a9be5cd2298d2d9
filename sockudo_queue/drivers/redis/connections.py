"""Defines how redis-py connects: addresses, logins, TLS, Sentinels. Nothing is connected here.

Logins and certificates are read again for every connection, so renewed files take effect without a restart.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.credentials import CredentialProvider

from sockudo_queue.config import UNIX, RedisSettings, RegularFile, Settings, TlsSettings, redis_scheme, unix_socket
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis.link import connection_options
from sockudo_queue.errors import SettingsError

INSECURE: Final = "insecure"
"""The URL fragment that makes Sockudo's Redis library accept any certificate: `rediss://host/#insecure`."""


class Login(CredentialProvider):
    """Reads user and password anew for each connection."""

    def __init__(self, read: Callable[[], tuple[str | None, str | None]]) -> None:
        self._read = read

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH."""
        username, password = self._read()
        return (username, password or "") if username else (password or "",)


class TlsVerification:
    """How a server's certificate is verified, and which client certificate is presented."""

    def __init__(self, tls: TlsSettings, *, check_name: bool, insecure: bool = False) -> None:
        self._tls = tls
        self._check_name = check_name
        self._insecure = insecure or tls.accept_invalid_certs

    def context(self) -> ssl.SSLContext:
        """Read the files and return the context for a handshake. Raises OSError."""
        with ExitStack() as files:
            authorities, certificate, key = (
                None if path is None else files.enter_context(RegularFile(path))
                for path in (self._tls.ca_path, self._tls.client_cert_path, self._tls.client_key_path)
            )
            # If a CA file is configured, no other authority is trusted.
            context = ssl.create_default_context(cafile=authorities)
            context.check_hostname = self._check_name and not self._insecure
            if self._insecure:
                context.verify_mode = ssl.CERT_NONE
            if certificate is not None:
                # Without an explicit password, OpenSSL would prompt for the key's password on the terminal and block.
                context.load_cert_chain(certificate, key, password=lambda: "")
        return context

    def check(self, group: str) -> None:
        """Raise `SettingsError` for unusable files; `group` is the settings group named in the error."""
        for name in ("ca_path", "client_cert_path", "client_key_path"):
            path = getattr(self._tls, name)
            if path is not None:
                try:
                    with RegularFile(path) as name:
                        Path(name).read_bytes()
                except OSError as error:
                    raise SettingsError([f"{group}.{name}: the file cannot be read: {error.strerror}"]) from None
        try:
            self.context()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or "it holds no certificate, or a key that needs a password"
            raise SettingsError([f"{group}: the certificates cannot be used: {reason}; they must be PEM"]) from None


class TlsConnection(SSLConnection):
    """A connection that trusts only the configured authorities; redis-py would also trust the system's."""

    def __init__(self, *, trust: TlsVerification, **options: Any) -> None:
        super().__init__(**options)
        self._trust = trust

    def _wrap_socket_with_ssl(self, sock: Any) -> ssl.SSLSocket:
        return self._trust.context().wrap_socket(sock, server_hostname=self.host)


def server_pool(settings: Settings) -> ConnectionPool:
    """Return a pool of connections to the single configured server."""
    redis = settings.redis
    options = connection_options(redis.response_timeout_ms / 1000)
    if redis.url is None:
        options |= {"host": redis.host, "port": redis.port, "db": redis.db} | login_options(redis)
        uses_tls, insecure = settings.master_tls.enabled, False
    elif redis_scheme(redis.url.revealed) == UNIX:
        return ConnectionPool(UnixDomainSocketConnection, **options, **_socket_options(redis.url))
    else:
        options |= url_options(redis.url)
        uses_tls, insecure = is_tls(redis.url), is_insecure(redis.url)
    return ConnectionPool(**options, **tls_options(settings, uses_tls=uses_tls, insecure=insecure))


def login_options(account: Any) -> dict[str, Any]:
    """Return the option that logs in with the user and password of a settings group."""
    if account.username is None and account.password is None:
        return {}
    password: Secret | None = account.password
    return {"credential_provider": Login(lambda: (account.username, password.current() if password else None))}


def url_options(url: Secret) -> dict[str, Any]:
    """Return the address and login of a URL. Its query is meant for other libraries and is ignored."""
    parts = _parts_of(url.revealed)
    options: dict[str, Any] = {name: parts[name] for name in ("host", "port", "db") if name in parts}
    if "username" in parts or "password" in parts:
        options["credential_provider"] = Login(lambda: _login_in(url.current()))
    return options


def _socket_options(url: Secret) -> dict[str, Any]:
    """Return the path and login of a Unix socket."""
    found = unix_socket(url.revealed)
    options: dict[str, Any] = {"path": found.path, "db": found.database}
    if found.username or found.password:
        options["credential_provider"] = Login(lambda: unix_socket(url.current())[2:])
    return options


def is_tls(url: Secret) -> bool:
    """Return whether a URL asks for TLS."""
    return redis_scheme(url.revealed) == "rediss"


def is_insecure(url: Secret) -> bool:
    """Return whether a URL accepts any certificate."""
    return url.revealed.partition("#")[2] == INSECURE


def tls_options(settings: Settings, *, uses_tls: bool, insecure: bool = False) -> dict[str, Any]:
    """Return the connection class and its options for a Redis server or node."""
    group, classes = "database.redis.master_tls", (Connection, TlsConnection)
    return connection_class(settings.master_tls, settings.redis, group, classes, uses_tls, insecure)


def connection_class(
    tls: TlsSettings,
    redis: RedisSettings,
    group: str,
    classes: tuple[type[Connection], type[Connection]],
    uses_tls: bool,
    insecure: bool = False,
) -> dict[str, Any]:
    """Return the second class with its TLS verification if TLS is used, else the first. Raises `SettingsError`."""
    if not uses_tls:
        return {"connection_class": classes[0]}
    trust = TlsVerification(tls, check_name=redis.tls_check_hostname, insecure=insecure)
    trust.check(group)
    return {"connection_class": classes[1], "trust": trust}


def _parts_of(url: str) -> dict[str, Any]:
    rest = url.partition("://")[2]
    return dict(parse_url(f"{redis_scheme(url)}://{rest.partition('?')[0].partition('#')[0]}"))


def _login_in(url: str) -> tuple[str | None, str | None]:
    parts = _parts_of(url)
    return parts.get("username"), parts.get("password")
