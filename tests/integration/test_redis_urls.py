"""Every form of REDIS_URL that a server of Sockudo reads leads to the same queue: other schemes, and a Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sockudo_queue.config import RedisSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import LoginRefused
from sockudo_queue.drivers.redis.factory import link_of
from tests.faults.queue import daemon_on, log_tail, push
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer

PASSWORD = "p&w=d %CANARY"


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis") / "a socket"


@pytest.fixture(scope="module")
def server(socket_path: Path) -> Iterator[RedisServer]:
    with RedisServer(extra=("--unixsocket", str(socket_path)), password=PASSWORD) as started:
        yield started


def socket_url(path: Path, database: int = 0, *, scheme: str = "unix", password: str = PASSWORD) -> str:
    return f"{scheme}://{quote(str(path))}?db={database}&pass={quote(password, safe='')}"


@pytest.mark.parametrize("scheme", ["unix", "redis+unix", "UNIX"])
def test_a_socket_leads_to_its_database(server: RedisServer, socket_path: Path, scheme: str) -> None:
    with server.client(db=3) as client:
        client.rpush("list", "x")
        url = Secret(socket_url(socket_path, 3, scheme=scheme))
        link = link_of(Settings(redis=RedisSettings(url=url)))
        assert link.call("LLEN", "list", read=replies.count) == 1
        link.close()
        client.flushdb()


def test_a_wrong_login_at_a_socket_is_refused(server: RedisServer, socket_path: Path) -> None:
    link = link_of(Settings(redis=RedisSettings(url=Secret(socket_url(socket_path, password="wrong")))))
    with pytest.raises(LoginRefused):
        link.call("PING", read=replies.PONG)


@pytest.mark.parametrize("form", ["socket", "valkey"])
def test_the_daemon_delivers(server: RedisServer, socket_path: Path, receiver: Receiver, form: str) -> None:
    login = quote(PASSWORD, safe="")
    url = socket_url(socket_path) if form == "socket" else f"valkey://:{login}@127.0.0.1:{server.port}"
    with server.client() as client, daemon_on(url, receiver.url()) as daemon:
        daemon.wait_ready()
        push(client, jobs(3))
        receiver.wait_for(3)
        assert "CANARY" not in daemon.output(), log_tail(daemon)()


def test_check_names_the_socket_and_no_password(tmp_path: Path, server: RedisServer, socket_path: Path) -> None:
    there = Commands(tmp_path, config(app()), {"REDIS_URL": socket_url(socket_path, 2)})("check")
    assert f"redis at the socket {socket_path}, database 2: reachable" in there.out
    gone = Commands(tmp_path, config(app()), {"REDIS_URL": socket_url(Path(f"{socket_path}-gone"))})("check")
    assert f"redis at the socket {socket_path}-gone, database 0: " in gone.out
    assert "CANARY" not in there.out + there.err + gone.out + gone.err
    assert server.running
