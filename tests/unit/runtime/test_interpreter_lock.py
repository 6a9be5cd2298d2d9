"""A check of a socket sees what is to be read, consumes nothing, and keeps the interpreter lock."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from sockudo_queue.runtime.interpreter_lock import is_quiet
from tests.helpers.waiting import eventually

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs = server.accept()[0]
        with theirs:
            yield ours, theirs


def test_socket_without_data_is_quiet(pair: Pair) -> None:
    assert is_quiet(pair[0].fileno())


def test_pending_bytes_are_seen_but_not_consumed(pair: Pair) -> None:
    pair[1].sendall(b"xy")
    eventually(lambda: not is_quiet(pair[0].fileno()))
    assert not is_quiet(pair[0].fileno())
    assert pair[0].recv(9) == b"xy"
    assert is_quiet(pair[0].fileno())


def test_end_of_the_stream_is_seen(pair: Pair) -> None:
    pair[1].close()
    eventually(lambda: not is_quiet(pair[0].fileno()))


def test_end_of_the_stream_after_consumed_bytes_is_seen(pair: Pair) -> None:
    pair[1].sendall(b"xy")
    pair[1].close()
    assert pair[0].recv(9) == b"xy"
    eventually(lambda: not is_quiet(pair[0].fileno()))


def test_reset_is_seen(pair: Pair) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair[1].close()
    eventually(lambda: not is_quiet(pair[0].fileno()))


def test_invalid_descriptor_is_not_quiet() -> None:
    assert not is_quiet(-1)


def test_peek_does_not_release_the_interpreter_lock(pair: Pair) -> None:
    """With such a long switch interval, another thread runs only if the interpreter lock is released."""
    rounds, started, stop = [0], threading.Event(), threading.Event()
    before = sys.getswitchinterval()

    def count() -> None:
        started.set()
        while not stop.is_set():
            rounds[0] += 1

    sys.setswitchinterval(0.3)
    thread = threading.Thread(target=count)
    try:
        thread.start()
        assert started.wait(10)
        seen = rounds[0]
        for _ in range(1000):
            is_quiet(pair[0].fileno())
        assert rounds[0] == seen
    finally:
        stop.set()
        sys.setswitchinterval(before)
        thread.join()
