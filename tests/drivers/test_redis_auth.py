"""Users and passwords of Redis: with any characters, and changed while the daemon runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from sockudo_queue.config import RedisClusterSettings, RedisSettings, Settings, load
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import LoginRefused
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.errors import BrokerError
from tests.drivers.redis_lists import link_to
from tests.helpers.redis_binaries import KINDS, ServerKind
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

ODD: Final = ["p@ss:w/rd#?%25&=+", "with space", "ünïcode-密码", "'\"`${HOME}\\", "%%", "{hash}tag", "x" * 200]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A node of a cluster that serves every slot alone, which a lone server's driver can speak with too."""
    with RedisServer(extra=("--cluster-enabled", "yes")) as started:
        with started.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        yield started


def allow(server: RedisServer, user: str, password: str) -> None:
    """Create a user with only this password."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", user, "reset", "on", ">" + password, "~*", "&*", "+@all")


def reach(settings: Settings) -> None:
    """Log in and run a command; raise any error."""
    link = link_of(settings)
    try:
        assert link.call("LLEN", "list", read=replies.count) == 0
    finally:
        link.close()


@pytest.mark.parametrize("password", ODD)
@pytest.mark.parametrize("user", ["hooks", "us:er@x", "ü"])
def test_odd_characters_reach_the_server_as_they_are(server: RedisServer, user: str, password: str) -> None:
    allow(server, user, password)
    secret = Secret(password)
    url = Secret(f"redis://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{server.port}")

    reach(Settings(redis=RedisSettings(port=server.port, username=user, password=secret)))
    reach(Settings(redis=RedisSettings(url=url)))
    plain = (Secret(f"127.0.0.1:{server.port}"),)
    for group in (
        RedisClusterSettings(nodes=plain, username=user, password=secret),
        RedisClusterSettings(nodes=(url,)),
        RedisClusterSettings(nodes=(*plain, url)),
    ):
        reach(Settings(driver="redis-cluster", redis_cluster=group))


def test_a_url_holds_a_password_without_a_user(server: RedisServer) -> None:
    allow(server, "default", "secret")
    try:
        reach(Settings(redis=RedisSettings(url=Secret(f"redis://:secret@127.0.0.1:{server.port}/0"))))
    finally:
        with server.client(password="secret") as client:
            client.execute_command("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")


def test_url_parameters_of_other_libraries_are_ignored(server: RedisServer) -> None:
    allow(server, "hooks", "pw")
    address = f"redis://hooks:pw@127.0.0.1:{server.port}/0"
    for query in ("?protocol=resp3", "?retry_on_timeout=true&socket_timeout=0.001", "?unknown=1"):
        reach(Settings(redis=RedisSettings(url=Secret(address + query))))


@pytest.mark.parametrize("variable", ["DATABASE_REDIS_PASSWORD", "REDIS_URL"])
def test_a_password_that_changes_in_its_file_is_used_for_the_next_connection(
    server: RedisServer, tmp_path: Path, variable: str
) -> None:
    def write(password: str) -> None:
        is_url = variable == "REDIS_URL"
        file.write_text(f"redis://hooks:{password}@127.0.0.1:{server.port}" if is_url else password + "\n")

    file = tmp_path / "secret"
    write("old-CANARY")
    allow(server, "hooks", "old-CANARY")
    environment = {
        f"{variable}_FILE": str(file),
        "DATABASE_REDIS_PORT": str(server.port),
        "DATABASE_REDIS_USERNAME": "hooks",
    }
    link = link_of(load(None, environment, tmp_path, strict=False).settings)
    assert link.call("LLEN", "list", read=replies.count) == 0

    allow(server, "hooks", "new-CANARY")
    with server.client() as client:
        client.client_kill_filter(skipme=True)
    eventually(lambda: refusal(link) is not None)
    assert "authentication failed" in str(refusal(link))
    assert "CANARY" not in str(refusal(link))
    write("new-CANARY")
    assert link.call("LLEN", "list", read=replies.count) == 0

    file.unlink()  # for as long as a file is replaced, what was read last is used
    link.close()
    assert link.call("LLEN", "list", read=replies.count) == 0
    link.close()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_login_is_reported_for_commands_of_any_size(kind: ServerKind) -> None:
    """Before a login, Redis accepts ten words of 16 KB, and reports more as a protocol error."""
    with RedisServer(kind, password="right") as server:
        link = link_to(server.port)
        for command in (("LLEN", "list"), ("LRANGE", *["list"] * 20), ("LLEN", "x" * 20_000)):
            with pytest.raises(LoginRefused, match=r"authentication failed: Authentication required\.$"):
                link.call(*command, read=replies.text)
        link.close()


def refusal(link: Link) -> BrokerError | None:
    """Ask, and return what was raised."""
    try:
        link.call("LLEN", "list", read=replies.count)
    except BrokerError as error:
        return error
    return None
