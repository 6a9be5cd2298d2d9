"""What is sent to a database that requests the clear-text password, and the errors of refused logins."""

from __future__ import annotations

import datetime
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from sockudo_queue.apps.stores.base import AppStore
from sockudo_queue.apps.stores.check import tls_lines
from sockudo_queue.apps.stores.mysql import MysqlStore
from sockudo_queue.errors import AppStoreUnavailable
from tests.app_stores.conftest import MakeStore
from tests.app_stores.tables import MariadbTable
from tests.helpers.databases import DATABASE, Mariadb, Postgres
from tests.helpers.settings import read
from tests.helpers.waiting import eventually

PASSWORD = "CANARY-db-password"
SALT = b"abcdefgh"
SECURE_PLUGIN_AUTH = 0x0008A208  # protocol 4.1, secure connection, plugin login, with a database; no TLS


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, bytearray]]:
    """Serve one connection at a time, and keep everything that comes after `answer` has asked for it."""
    received = bytearray()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    answer(connection)
                    while data := connection.recv(4096):
                        received.extend(data)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(plugin: bytes) -> bytes:
    low, high = struct.pack("<H", SECURE_PLUGIN_AUTH & 0xFFFF), struct.pack("<H", SECURE_PLUGIN_AUTH >> 16)
    fixed = b"\x0a8.0.36\0" + struct.pack("<I", 7) + SALT + b"\0" + low + b"\x21\x02\0" + high + b"\x15" + b"\0" * 10
    return packet(0, fixed + b"ijklmnopqrst\0" + plugin + b"\0")


def switch(plugin: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(greeting(b"mysql_native_password"))
        connection.recv(4096)
        connection.sendall(packet(2, b"\xfe" + plugin + b"\0" + SALT + b"ijklmnopqrst\0"))

    return answer


def full_login(connection: socket.socket) -> None:
    connection.sendall(greeting(b"caching_sha2_password"))
    connection.recv(4096)
    connection.sendall(packet(2, b"\x01\x04"))


def cleartext(connection: socket.socket) -> None:
    connection.recv(8)  # may we speak TLS?
    connection.sendall(b"N")
    connection.recv(4096)
    connection.sendall(b"R" + struct.pack("!ii", 8, 3))


ASKS = {
    "mysql clear": ("mysql", switch(b"mysql_clear_password")),
    "mysql dialog": ("mysql", switch(b"dialog")),
    "mysql sha256": ("mysql", switch(b"sha256_password")),
    "mysql sha2 key": ("mysql", full_login),
    "pgsql clear": ("pgsql", cleartext),
}


def variables(kind: str, port: int) -> dict[str, str]:
    group = "POSTGRES" if kind == "pgsql" else "MYSQL"
    values = {"HOST": "127.0.0.1", "PORT": str(port), "USERNAME": "reader", "PASSWORD": PASSWORD}
    return {"APP_MANAGER_DRIVER": kind} | {f"DATABASE_{group}_{name}": value for name, value in values.items()}


@pytest.mark.parametrize("name", ASKS)
def test_a_server_that_was_not_verified_never_gets_the_password(name: str, store_of: MakeStore) -> None:
    kind, answer = ASKS[name]
    with server(answer) as (port, received):
        with pytest.raises(AppStoreUnavailable, match="asks for the clear-text password") as caught:
            store_of(None, **variables(kind, port)).fetch(["shop"])
        assert "_SSL_MODE=verify-full" in str(caught.value)
        assert PASSWORD not in str(caught.value)
    assert PASSWORD.encode() not in received
    assert not received.endswith(b"\x02")  # no request for a key either


@pytest.mark.parametrize("name", ["mysql clear", "pgsql clear"])
def test_a_server_gets_the_password_where_the_settings_allow_it(name: str, store_of: MakeStore) -> None:
    kind, answer = ASKS[name]
    group = "POSTGRES" if kind == "pgsql" else "MYSQL"
    allowed = {f"DATABASE_{group}_ALLOW_CLEARTEXT_PASSWORD": "true"}
    with server(answer) as (port, received), pytest.raises(AppStoreUnavailable):
        store_of(None, **variables(kind, port), **allowed).fetch(["shop"])
    assert PASSWORD.encode() in received


def test_certificate_that_scram_cannot_use_is_named(postgres: Postgres, store_of: MakeStore) -> None:
    files = [postgres.directory / name for name in ("server.pem", "server.key")]
    before = [file.read_bytes() for file in files]
    store = store_of(None, **postgres.environment("applications"))
    try:
        for file, content in zip(files, ed25519_certificate(), strict=True):
            file.write_bytes(content)
        postgres.run("SELECT pg_reload_conf()")
        eventually(lambda: "Ed25519" in reason_of(store), 10)
        assert "SQLSTATE" not in reason_of(store)
    finally:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)
        postgres.run("SELECT pg_reload_conf()")
    eventually(lambda: "Ed25519" not in reason_of(store), 10)


def reason_of(store: AppStore) -> str:
    """Return why a new connection cannot be used, or nothing where it can."""
    store.close()
    try:
        store.fetch(["shop"])
    except AppStoreUnavailable as error:
        return str(error)
    return ""


def ed25519_certificate() -> tuple[bytes, bytes]:
    """Return a certificate and its key as PEM."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, None)
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


@pytest.mark.parametrize("kind", ["mysql", "pgsql"])
@pytest.mark.parametrize(
    ("host", "mode", "warns"),
    [("db.example", "prefer", True), ("db.example", "verify-full", False), ("127.0.0.1", "prefer", False)],
)
def test_check_warns_of_an_unverified_remote_database(
    tmp_path: Path, kind: str, host: str, mode: str, warns: bool
) -> None:
    group = "POSTGRES" if kind == "pgsql" else "MYSQL"
    given = {f"DATABASE_{group}_HOST": host, f"DATABASE_{group}_SSL_MODE": mode}
    settings = read(tmp_path, None, {"APP_MANAGER_DRIVER": kind} | given).good.settings
    lines = [*tls_lines(settings)]
    assert [level for level, _ in lines] == ["warning"] * warns
    assert all(f"DATABASE_{group}_SSL_MODE=verify-full" in text for _, text in lines)


def test_connection_to_mysql_keeps_no_setting_of_ours(mariadb: Mariadb, store_of: MakeStore) -> None:
    """Behind a pooler that shares connections, the next client would have it."""
    store = store_of(MariadbTable(mariadb, "5.0").create())
    assert isinstance(store, MysqlStore)
    assert store.fetch(["shop"]) == []
    with store._connection.cursor() as cursor:
        cursor.execute("SELECT @@session.tx_read_only, @@session.tx_isolation = @@global.tx_isolation")
        assert list(cursor.fetchall()) == [(0, 1)]


@pytest.mark.parametrize(
    ("clause", "sentence"),
    [
        ("WITH MAX_CONNECTIONS_PER_HOUR 1", "has exceeded the 'max_connections_per_hour' resource"),
        ("PASSWORD EXPIRE", "You must SET PASSWORD before executing this statement"),
    ],
)
def test_login_that_is_limited_or_expired_says_so(
    mariadb: Mariadb, store_of: MakeStore, clause: str, sentence: str
) -> None:
    mariadb.run(f"CREATE OR REPLACE USER narrow@'%' IDENTIFIED BY '{PASSWORD}' {clause}")
    mariadb.run(f"GRANT SELECT ON {DATABASE}.* TO narrow@'%'")
    store = store_of(None, **variables("mysql", mariadb.port) | {"DATABASE_MYSQL_USERNAME": "narrow"})
    with suppress(AppStoreUnavailable):
        store.fetch(["shop"])
    assert sentence in reason_of(store)


def test_a_user_that_logs_in_by_the_socket_alone_is_named(mariadb: Mariadb, store_of: MakeStore) -> None:
    mariadb.run("CREATE OR REPLACE USER socketed@'%' IDENTIFIED VIA unix_socket")
    store = store_of(None, **variables("mysql", mariadb.port) | {"DATABASE_MYSQL_USERNAME": "socketed"})
    with pytest.raises(AppStoreUnavailable, match="Access denied for user 'socketed'"):
        store.fetch(["shop"])
