"""The commands `pause`, `resume` and `try-now` on a real queue."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest

from sockudo_queue.commands import acted
from tests.faults.queue import own_key
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import APP_ID
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer

KEY = own_key("sockudo_queue:", "controls")
NAMES = ("pause", "resume", "try-now")


def commands_on(directory: Path, **environment: str) -> Commands:
    hooks = [webhook("http://127.0.0.1:9/a?token=CANARY", name="orders"), webhook("http://127.0.0.1:9/", name="mail")]
    return Commands(directory, config(app(*hooks)), environment)


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Commands:
    return commands_on(tmp_path, REDIS_URL=redis_server.url)


def test_webhook_is_paused_and_resumed(run: Commands, redis_server: RedisServer) -> None:
    by = f"{acted.system_user()}"
    assert by.endswith(f"@{socket.gethostname()}")

    paused = run("pause", APP_ID, "orders")

    assert (paused.code, paused.err) == (0, "")
    assert paused.out.splitlines() == [
        f"paused webhook orders of app {APP_ID}; all daemons apply this within 2 s",
        f"operator.acted action=pause app={APP_ID} webhook=orders by={by} count=1",
    ]
    again = run("pause", APP_ID, "orders")
    assert again.code == 0
    assert "is already paused since" in again.out
    assert f"by {by}" in again.out
    with redis_server.client() as client:
        assert client.hlen(KEY) == 2
    resumed = run("resume", APP_ID, "orders")
    assert (resumed.code, resumed.err) == (0, "")
    assert "resumed webhook orders" in resumed.out
    assert "0 held deliveries" in resumed.out
    not_paused = run("resume", APP_ID, "orders")
    assert (not_paused.code, "is not paused" in not_paused.out) == (0, True)


def test_breaker_is_to_be_closed(run: Commands, redis_server: RedisServer) -> None:
    ran = run("try-now", APP_ID, "orders")
    assert (ran.code, ran.err) == (0, "")
    assert "within 2 s" in ran.out
    with redis_server.client() as client:
        assert f'try:["{APP_ID}","orders"]'.encode() in client.hkeys(KEY)


@pytest.mark.parametrize("command", NAMES)
def test_json_output_is_one_object(run: Commands, command: str) -> None:
    line = run(command, APP_ID, "orders", "--json").json
    assert line["event"] == "operator.acted"
    assert (line["action"], line["app"], line["webhook"]) == (command, APP_ID, "orders")
    assert line["by"].startswith(f"{getpass.getuser()}@")


@pytest.mark.parametrize("command", NAMES)
def test_what_does_not_exist_is_named_in_one_line(run: Commands, redis_server: RedisServer, command: str) -> None:
    ran = run(command, APP_ID, "nothing\x1b[2J")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"sockudo-queue: {command}: app {APP_ID} has no webhook nothing\\x1b[2J; it has: orders, mail"
    ]
    ran = run(command, "nobody", "orders")
    assert (ran.code, ran.err) == (1, f"sockudo-queue: {command}: there is no app nobody\n")
    with redis_server.client() as client:
        assert not client.exists(KEY)


def test_webhook_that_is_gone_can_be_resumed(run: Commands, redis_server: RedisServer) -> None:
    run("pause", APP_ID, "orders")
    with redis_server.client() as client:
        [field] = [field for field in client.hkeys(KEY) if field.startswith(b"pause:")]
        client.hset(KEY, field.replace(b"orders", b"gone"), client.hget(KEY, field))
    assert run("resume", APP_ID, "gone").code == 0
    assert run("resume", APP_ID, "gone").code == 1


INSTEAD = {
    "pause": 'to pause a webhook, set "paused": true for it in the app file',
    "resume": 'a webhook is paused only by "paused": true in the app file; remove it there',
    "try-now": 'use "Try now" on the status page of each daemon',
}


@pytest.mark.parametrize("driver", ["memory", "sqs", "none"])
@pytest.mark.parametrize("command", NAMES)
def test_driver_that_shares_nothing_says_what_to_do(tmp_path: Path, driver: str, command: str) -> None:
    ran = commands_on(tmp_path, QUEUE_DRIVER=driver)(command, APP_ID, "orders")
    hint = (
        'queue.driver is "none", so nothing is delivered'
        if driver == "none"
        else f"with the driver {driver}, commands cannot reach the daemons; {INSTEAD[command]}"
    )
    assert (ran.code, ran.out, ran.err) == (1, "", f"sockudo-queue: {command}: {hint}\n")


def test_server_that_is_away_or_refuses_is_one_line(redis_server: RedisServer, tmp_path: Path) -> None:
    ran = commands_on(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}")("pause", APP_ID, "orders")
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)
    with redis_server.client() as client:
        client.execute_command(
            "ACL",
            "SETUSER",
            "hooks",
            "reset",
            "on",
            ">word",
            "~sockudo-queue:{sockudo_queue::*",
            "+@all",
        )
        try:
            url = f"redis://hooks:word@127.0.0.1:{redis_server.port}"
            ran = commands_on(tmp_path, REDIS_URL=url)("pause", APP_ID, "orders")
        finally:
            client.execute_command("ACL", "DELUSER", "hooks")
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)
    assert "word" not in ran.err
