"""TLS to Redis: trusted authorities, client certificates, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sockudo_queue.config import RedisClusterSettings, RedisSettings, SentinelSettings, Settings, TlsSettings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import OutOfStep
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link, RedisLink, parser_of
from sockudo_queue.errors import BrokerUnavailable, SettingsError
from tests.drivers.conformance import deliver_all
from tests.drivers.redis_lists import SOURCES, RedisLists
from tests.helpers.certificates import Authority
from tests.helpers.jobs import jobs
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import RedisSentinels
from tests.helpers.redis_server import RedisServer
from tests.helpers.redis_tls import ServerTls
from tests.helpers.waiting import eventually

KIND = ServerKind.REDIS_7_0  # the one that is built with TLS


class TlsServer:
    """A server that speaks TLS alone, with a certificate for the names."""

    def __init__(self, authority: Authority, *names: str, file: str, asks: bool = False, **issue: Any) -> None:
        self.authority = authority
        self.server = RedisServer(KIND, tls=ServerTls(authority, authority.files(*names, name=file, **issue), asks))

    def reach(self, tls: TlsSettings | None = None, url: str | None = None, **redis: Any) -> None:
        """Connect with these settings and ask for a sign of life."""
        link = self.link(tls, url, **redis)
        try:
            link.call("PING", read=replies.PONG)
        finally:
            link.close()

    def link(self, tls: TlsSettings | None = None, url: str | None = None, **redis: Any) -> Link:
        """Return a link with these settings; by default with TLS and the right authority."""
        tls = tls or TlsSettings(enabled=url is None, ca_path=str(self.authority.ca_file))
        if url is None:
            redis |= {"host": "127.0.0.1", "port": self.server.port}
        else:
            redis["url"] = Secret(url.replace("PORT", str(self.server.port)))
        return link_of(Settings(master_tls=tls, redis=RedisSettings(response_timeout_ms=2000, **redis)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Iterator[TlsServer]:
    found = TlsServer(authority, "127.0.0.1", "localhost", file="server")
    with found.server:
        yield found


@pytest.fixture(scope="module")
def named(authority: Authority) -> Iterator[TlsServer]:
    """A server whose certificate is for a name under which the tests do not reach it."""
    found = TlsServer(authority, "redis.local", file="named")
    with found.server:
        yield found


@pytest.fixture(scope="module")
def careful(authority: Authority) -> Iterator[TlsServer]:
    """A server that wants to see a certificate of its clients."""
    found = TlsServer(authority, "127.0.0.1", file="careful", asks=True)
    with found.server:
        yield found


def test_jobs_go_over_tls(tls: TlsServer, cleanup: ExitStack) -> None:
    lists = RedisLists(tls.server, cleanup)
    lists.push(*jobs(20))
    driver = lists.over(tls.link())
    for source in SOURCES:
        driver.wait(source, 0.01)

    assert [claim.body for claim in deliver_all(driver)] == jobs(20)


@pytest.mark.parametrize("url", ["rediss://127.0.0.1:PORT", "REDISS://localhost:PORT/0", "rediss://127.0.0.1:PORT/"])
def test_a_url_asks_for_tls(tls: TlsServer, url: str) -> None:
    tls.reach(url=url)


@pytest.mark.parametrize("url", [None, "rediss://127.0.0.1:PORT"])
def test_an_unknown_authority_is_not_trusted(tls: TlsServer, stranger: Authority, url: str | None) -> None:
    for ca_path in (None, str(stranger.ca_file)):
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            tls.reach(TlsSettings(enabled=url is None, ca_path=ca_path), url)


def test_configured_authority_replaces_the_system_ones(
    tls: TlsServer, authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))  # what the system trusts
    tls.reach(TlsSettings(enabled=True))
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        tls.reach(TlsSettings(enabled=True, ca_path=str(stranger.ca_file)))


def test_a_certificate_for_another_name_is_refused_unless_asked_otherwise(
    named: TlsServer, stranger: Authority
) -> None:
    with pytest.raises(BrokerUnavailable, match="IP address mismatch"):
        named.reach()
    named.reach(tls_check_hostname=False)
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        named.reach(TlsSettings(enabled=True, ca_path=str(stranger.ca_file)), tls_check_hostname=False)


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = TlsServer(authority, "127.0.0.1", file="expired", expires=yesterday)
    with expired.server:
        with pytest.raises(BrokerUnavailable, match="certificate has expired"):
            expired.reach()
        expired.reach(TlsSettings(enabled=True, accept_invalid_certs=True))


def test_any_certificate_is_accepted_without_verification(named: TlsServer) -> None:
    named.reach(TlsSettings(enabled=True, accept_invalid_certs=True))
    named.reach(TlsSettings(), url="rediss://127.0.0.1:PORT/#insecure")


def test_a_client_shows_its_certificate(careful: TlsServer, authority: Authority) -> None:
    with pytest.raises(BrokerUnavailable):
        careful.reach()
    client = authority.files("daemon", name="client")
    shown = TlsSettings(
        enabled=True,
        ca_path=str(authority.ca_file),
        client_cert_path=str(client[0]),
        client_key_path=str(client[1]),
    )
    careful.reach(shown)
    careful.reach(shown, url="rediss://127.0.0.1:PORT")


def test_renewed_files_are_used_for_the_next_connection(
    careful: TlsServer, authority: Authority, stranger: Authority
) -> None:
    false = stranger.files("daemon", name="client")
    shown = TlsSettings(
        enabled=True,
        ca_path=str(authority.ca_file),
        client_cert_path=str(false[0]),
        client_key_path=str(false[1]),
    )
    link = careful.link(shown)
    with pytest.raises(BrokerUnavailable):
        link.call("PING", read=replies.PONG)
    right = authority.files("daemon", name="right")
    false[0].write_bytes(right[0].read_bytes())
    false[1].write_bytes(right[1].read_bytes())

    assert link.call("PING", read=replies.PONG) == b"PONG"
    link.close()


def test_tls_mismatch_is_reported(tls: TlsServer, redis_server: RedisServer) -> None:
    link = link_of(Settings(redis=RedisSettings(port=tls.server.port, response_timeout_ms=1000)))
    with pytest.raises(BrokerUnavailable):
        link.call("PING", read=replies.PONG)
    plain = RedisSettings(port=redis_server.port, response_timeout_ms=1000)
    link = link_of(Settings(redis=plain, master_tls=TlsSettings(enabled=True)))
    with pytest.raises(BrokerUnavailable, match="does not speak TLS"):
        link.call("PING", read=replies.PONG)


@pytest.mark.parametrize("field", ["ca_path", "client_cert_path"])
@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_files_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path, field: str, content: str | None) -> None:
    path = tmp_path / "odd.pem"
    if content is not None:
        path.write_text(content)
    settings = Settings(master_tls=TlsSettings(enabled=True, **{field: str(path)}))

    with pytest.raises(SettingsError) as caught:
        link_of(settings)
    (fault,) = caught.value.faults
    assert fault.startswith("database.redis.master_tls")
    assert str(path) not in fault


def test_key_with_a_password_is_refused_without_a_prompt(tmp_path: Path, authority: Authority) -> None:
    client = authority.files("daemon", name="locked")
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(client[1].read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    client[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    tls = TlsSettings(enabled=True, client_cert_path=str(client[0]), client_key_path=str(client[1]))

    with pytest.raises(SettingsError, match="password"):
        link_of(Settings(master_tls=tls))


def test_a_cluster_over_tls(authority: Authority, cleanup: ExitStack) -> None:
    identity = authority.files("127.0.0.1", name="node")
    with RedisCluster(KIND, replicas=False, password="p w#d", tls=ServerTls(authority, identity)) as cluster:
        group = RedisClusterSettings(
            nodes=tuple(Secret(f"rediss://127.0.0.1:{node.port}") for node in cluster.nodes),
            password=Secret("p w#d"),
            request_timeout_ms=2000,
        )
        trusting = TlsSettings(ca_path=str(authority.ca_file))
        link = link_of(Settings(driver="redis-cluster", redis_cluster=group, master_tls=trusting))
        for key in ("a", "b", "c", "d", "e"):
            assert link.call("RPUSH", key, "x", read=replies.count) == 1
        link.close()

        doubtful = link_of(Settings(driver="redis-cluster", redis_cluster=group))
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            doubtful.call("RPUSH", "a", "x", read=replies.count)


def test_sentinels_over_tls(authority: Authority) -> None:
    identity = authority.files("127.0.0.1", name="sentinel")
    sentinels = RedisSentinels(
        KIND,
        password="the master's",
        sentinel_password="the sentinels'",
        tls=ServerTls(authority, identity),
    )
    with sentinels:
        trusting = TlsSettings(enabled=True, ca_path=str(authority.ca_file))
        settings = sentinels.settings(2.0, master_tls=trusting)
        nodes = settings.sentinel.nodes
        group = SentinelSettings(
            nodes=nodes, name=settings.sentinel.name, password=Secret("the sentinels'"), tls=trusting
        )
        link = link_of(settings.model_copy(update={"sentinel": group}))

        assert link.call("RPUSH", "a", "x", read=replies.count) == 1
        link.close()


def test_bytes_before_a_command_are_not_taken_for_its_reply_over_tls(tls: TlsServer, cleanup: ExitStack) -> None:
    driver = RedisLists(tls.server, cleanup).over(tls.link())
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    (connection,) = driver._link._idle
    # Another reply to this connection, as of a server that is out of step.
    tls_socket = parser_of(connection)._tls
    assert tls_socket is not None
    tls_socket.sendall(b"*1\r\n$4\r\nPING\r\n")
    eventually(lambda: not parser_of(connection).is_quiet)

    with pytest.raises(OutOfStep):
        driver.ping()

    driver.ping()


def test_tickets_that_wait_on_a_connection_are_no_reply(tls: TlsServer, cleanup: ExitStack) -> None:
    driver = RedisLists(tls.server, cleanup).over(tls.link())
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    (connection,) = driver._link._idle
    for _ in range(5):
        driver.ping()
    assert list(driver._link._idle) == [connection]


def test_end_of_the_stream_over_tls_costs_nothing(tls: TlsServer, cleanup: ExitStack) -> None:
    lists = RedisLists(tls.server, cleanup)
    driver = lists.over(tls.link())
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    (connection,) = driver._link._idle
    lists.client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: not parser_of(connection).is_quiet)
    driver.ping()
