"""What a proxy of the environment does is named by what it did, and not taken for the endpoint's answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from tests.helpers.certificates import Authority
from tests.helpers.hostile import CHUNK, HostileReceiver, Visit, silent

Send = Callable[[str], Outcome]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def send(authority: Authority) -> Send:
    sender = Sender(CurlTransport(HandleOptions(environment_proxy=True, ca_file=str(authority.ca_file))))

    def post(url: str) -> Outcome:
        return sender.post(Webhook("a", frozenset(), url=Secret(url), request_timeout_ms=400), b"{}", {})[0]

    return post


def refuses_login(visit: Visit) -> None:
    visit.read_request()
    visit.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    visit.linger()


def opens_the_tunnel_and_hangs(visit: Visit) -> None:
    visit.read_request()
    visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
    visit.linger()


def through_to(port: int) -> Callable[[Visit], None]:
    def tunnel(visit: Visit) -> None:
        visit.read_request()
        with socket.create_connection(("127.0.0.1", port)) as other:
            visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
            threading.Thread(target=pump, args=(other, visit.connection), daemon=True).start()
            pump(visit.connection, other)

    return tunnel


def socks4_to(port: int) -> Callable[[Visit], None]:
    def proxy(visit: Visit) -> None:
        visit.connection.recv(CHUNK)
        with socket.create_connection(("127.0.0.1", port)) as other:
            visit.send(b"\0\x5a" + bytes(6))
            threading.Thread(target=pump, args=(other, visit.connection), daemon=True).start()
            pump(visit.connection, other)

    return proxy


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refused_login_at_the_proxy_is_retried(send: Send, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with HostileReceiver(refuses_login) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url(""))
        outcome = send(f"{scheme}://hooks.invalid/")
    assert (outcome.verdict, outcome.reason) == ("retryable", "refused")
    assert "407" in outcome.detail


def test_endpoint_itself_that_answers_407_is_refused_once() -> None:
    sender = Sender(CurlTransport(HandleOptions()))
    with HostileReceiver(refuses_login) as receiver:
        hook = Webhook("a", frozenset(), url=Secret(receiver.url()), request_timeout_ms=2000)
        assert sender.post(hook, b"{}", {})[0].verdict == "permanent"


def test_endpoint_without_a_proxy_that_answers_407_is_refused_once(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileReceiver(refuses_login) as receiver, HostileReceiver(silent) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert send(receiver.url()).verdict == "permanent"


def test_endpoint_behind_a_tunnel_that_answers_407_is_refused_once(
    send: Send, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        HostileReceiver(refuses_login, tls=authority.server()) as receiver,
        HostileReceiver(through_to(receiver.port)) as proxy,
    ):
        monkeypatch.setenv("https_proxy", proxy.url(""))
        assert send(receiver.url(scheme="https")).verdict == "permanent"


def test_endpoint_behind_a_socks_proxy_that_answers_407_is_refused_once(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileReceiver(refuses_login) as receiver, HostileReceiver(socks4_to(receiver.port)) as proxy:
        monkeypatch.setenv("all_proxy", f"socks4://127.0.0.1:{proxy.port}")
        assert send(receiver.url()).verdict == "permanent"


@pytest.mark.parametrize("behaviour", [silent, opens_the_tunnel_and_hangs])
def test_tunnel_that_is_not_ready_in_time_is_no_connection(
    send: Send, monkeypatch: pytest.MonkeyPatch, behaviour: Callable[[Visit], None]
) -> None:
    with HostileReceiver(behaviour) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url(""))
        assert send("https://hooks.invalid/").reason == "connect-timeout"


def test_endpoint_that_hangs_behind_a_tunnel_has_not_answered(
    send: Send, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(visit: Visit) -> None:
        visit.read_request()
        visit.linger()

    with (
        HostileReceiver(hang, tls=authority.server()) as receiver,
        HostileReceiver(through_to(receiver.port)) as proxy,
    ):
        monkeypatch.setenv("https_proxy", proxy.url(""))
        assert send(receiver.url(scheme="https")).reason == "read-timeout"
