"""Says how redis-py makes connections: addresses, logins, TLS, Sentinels. Nothing is connected here.

Logins and certificates are read anew for every connection, so what an operator renews is used without a restart.
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
"""The fragment with which Sockudo's Redis library takes any certificate: `rediss://host/#insecure`."""


class Login(CredentialProvider):
    """Gives user and password to each new connection, as they are at that moment."""

    def __init__(self, read: Callable[[], tuple[str | None, str | None]]) -> None:
        self._read = read

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH wants."""
        username, password = self._read()
        return (username, password or "") if username else (password or "",)


class TlsVerification:
    """What is asked of a server's certificate, and what is shown to it."""

    def __init__(self, tls: TlsSettings, *, check_name: bool, insecure: bool = False) -> None:
        self._tls = tls
        self._check_name = check_name
        self._insecure = insecure or tls.accept_invalid_certs

    def context(self) -> ssl.SSLContext:
        """Read the files and return what a handshake needs. Raises OSError."""
        with ExitStack() as files:
            authorities, certificate, key = (
                None if path is None else files.enter_context(RegularFile(path))
                for path in (self._tls.ca_path, self._tls.client_cert_path, self._tls.client_key_path)
            )
            # With an authority of one's own given, no other is trusted.
            context = ssl.create_default_context(cafile=authorities)
            context.check_hostname = self._check_name and not self._insecure
            if self._insecure:
                context.verify_mode = ssl.CERT_NONE
            if certificate is not None:
                # Without a password of ours, OpenSSL would ask for that of a key on the terminal, and wait.
                context.load_cert_chain(certificate, key, password=lambda: "")
        return context

    def check(self, group: str) -> None:
        """Raise `SettingsError` for files that cannot be used; `group` is the key under which they are named."""
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
    """A connection that trusts whom the settings say; redis-py would trust the system's authorities besides."""

    def __init__(self, *, trust: TlsVerification, **options: Any) -> None:
        super().__init__(**options)
        self._trust = trust

    def _wrap_socket_with_ssl(self, sock: Any) -> ssl.SSLSocket:
        return self._trust.context().wrap_socket(sock, server_hostname=self.host)


def server_pool(settings: Settings) -> ConnectionPool:
    """Return the connections to the one server that the settings name."""
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
    """Return the option that logs in with the user and password of a group of settings."""
    if account.username is None and account.password is None:
        return {}
    password: Secret | None = account.password
    return {"credential_provider": Login(lambda: (account.username, password.current() if password else None))}


def url_options(url: Secret) -> dict[str, Any]:
    """Return where a URL points and how to log in there. Its query is for other libraries and is left out."""
    parts = _parts_of(url.revealed)
    options: dict[str, Any] = {name: parts[name] for name in ("host", "port", "db") if name in parts}
    if "username" in parts or "password" in parts:
        options["credential_provider"] = Login(lambda: _login_in(url.current()))
    return options


def _socket_options(url: Secret) -> dict[str, Any]:
    """Return where a Unix socket is and how to log in there."""
    found = unix_socket(url.revealed)
    options: dict[str, Any] = {"path": found.path, "db": found.database}
    if found.username or found.password:
        options["credential_provider"] = Login(lambda: unix_socket(url.current())[2:])
    return options


def is_tls(url: Secret) -> bool:
    """Tell whether a URL asks for TLS."""
    return redis_scheme(url.revealed) == "rediss"


def is_insecure(url: Secret) -> bool:
    """Tell whether a URL takes any certificate."""
    return url.revealed.partition("#")[2] == INSECURE


def tls_options(settings: Settings, *, uses_tls: bool, insecure: bool = False) -> dict[str, Any]:
    """Return the kind of connection to a Redis server or node."""
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
    """Return the second class, with what it trusts, where TLS is used. Raises `SettingsError`."""
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
