"""What is sent to a database that asks for the password itself, and what a refused login says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sockudo_queue.errors import AppStoreUnavailable
from tests.app_stores.conftest import MakeStore
from tests.helpers.databases import Mariadb

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
        with pytest.raises(AppStoreUnavailable, match="asks for the password itself") as caught:
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


def test_a_user_that_logs_in_by_the_socket_alone_is_named(mariadb: Mariadb, store_of: MakeStore) -> None:
    mariadb.run("CREATE OR REPLACE USER socketed@'%' IDENTIFIED VIA unix_socket")
    store = store_of(None, **variables("mysql", mariadb.port) | {"DATABASE_MYSQL_USERNAME": "socketed"})
    with pytest.raises(AppStoreUnavailable, match="Access denied for user 'socketed'"):
        store.fetch(["shop"])
