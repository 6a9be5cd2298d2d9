"""`check` reports each fault, provoked on real servers, with what to do about it."""

from __future__ import annotations

import datetime
import hmac
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from sockudo_queue.commands import endpoints
from sockudo_queue.drivers.redis.source import own_key
from tests.faults.queue import SERVER_LIST
from tests.helpers.certificates import Authority
from tests.helpers.commands import Commands, Ran
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import APP_ID, APP_SECRET, job
from tests.helpers.ports import free_port
from tests.helpers.queue_v2 import Producer
from tests.helpers.receiver import Receiver
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer, is_busy
from tests.helpers.waiting import eventually

NOW: Final = datetime.datetime.now(datetime.UTC)


def checked(directory: Path, url: str, *webhooks: dict[str, Any], arguments: tuple[str, ...] = (), **more: str) -> Ran:
    """Run `check` on a queue and with one app."""
    return Commands(directory, config(app(*webhooks)), {"REDIS_URL": url} | more)("check", *arguments)


def lines(ran: Ran, subject: str) -> list[tuple[str, str]]:
    """Return level and text of the lines about a subject."""
    found = []
    for line in ran.out.splitlines():
        level, _, rest = line.partition(" ")
        name, _, text = rest.strip().partition(": ")
        if name == subject:
            found.append((level, text))
    return found


def only(ran: Ran, subject: str) -> tuple[str, str]:
    [line] = lines(ran, subject)
    return line


@pytest.fixture
def hook(receiver: Receiver) -> dict[str, Any]:
    return webhook(receiver.url("/?token=CANARY"), name="orders")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server for one test, which may misconfigure it."""
    with RedisServer(appendonly=True) as started:
        yield started


def test_healthy_setup_gives_only_ok_lines(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    ran = checked(tmp_path, server.url, hook)
    *shown, summary = ran.out.splitlines()
    assert (ran.code, ran.err, summary) == (0, "", "0 errors, 0 warnings")
    assert all(line.startswith("ok ") for line in shown), ran.out
    assert {"settings", "broker", "version", "persistence", "eviction", "rights", "clock", "workers"} <= {
        line.split()[1].rstrip(":") for line in shown
    }
    assert "CANARY" not in ran.out
    assert not server.client().keys("*")


@pytest.mark.parametrize("driver", ["memory", "none"])
def test_queue_without_a_server_is_reported_too(tmp_path: Path, hook: dict[str, Any], driver: str) -> None:
    ran = Commands(tmp_path, config(app(hook)), {"QUEUE_DRIVER": driver})("check")
    states = "0 ready, 0 in flight, 0 delayed, 0 held, 0 dead letters"
    assert only(ran, "broker") == ("ok", f"{driver}: reachable; {states}")


def test_the_variables_that_go_before_the_file_are_named(
    tmp_path: Path, redis_server: RedisServer, hook: dict[str, Any]
) -> None:
    ran = checked(tmp_path, redis_server.url, hook, QUEUE_WORKERS="3")
    _, text = only(ran, "settings")
    assert re.match(r"from defaults, \S+\.json, environment \(.*\bQUEUE_WORKERS, REDIS_URL\); 1 app", text), text


def test_a_wrong_password(tmp_path: Path, hook: dict[str, Any]) -> None:
    with RedisServer(password="right") as server:
        ran = checked(tmp_path, f"redis://:CANARY@127.0.0.1:{server.port}/0", hook)
    level, text = only(ran, "broker")
    assert (ran.code, level) == (1, "error")
    assert not lines(ran, "server") + lines(ran, "rights")  # nothing else can be known, and one line is enough
    assert text.startswith(f"redis at 127.0.0.1:{server.port}, database 0: authentication failed: ")
    assert "; correct the user and password" in text
    assert ".;" not in text
    assert "CANARY" not in ran.out + ran.err


def test_a_database_that_the_server_does_not_have(
    tmp_path: Path, redis_server: RedisServer, hook: dict[str, Any]
) -> None:
    ran = checked(tmp_path, redis_server.url.replace("/0", "/99"), hook)
    level, text = only(ran, "broker")
    assert (ran.code, level) == (1, "error")
    assert "database.redis.db" in text
    assert not lines(ran, "server") + lines(ran, "rights")


def test_a_server_that_is_away(tmp_path: Path, hook: dict[str, Any]) -> None:
    ran = checked(tmp_path, f"redis://127.0.0.1:{free_port()}/0", hook)
    level, text = only(ran, "broker")
    assert (ran.code, level) == (1, "error")
    assert "QUEUE_DRIVER=memory" in text


@pytest.mark.parametrize(
    ("policy", "limit", "level", "words"),
    [
        ("allkeys-lru", "200mb", "error", "drops jobs when the server is full; set maxmemory-policy noeviction"),
        ("allkeys-random", "0", "warning", "would drop jobs if maxmemory were set"),
        ("volatile-lru", "200mb", "ok", "they have no expiry"),
        ("noeviction", "200mb", "ok", "noeviction"),
    ],
)
def test_an_evicting_policy(
    tmp_path: Path, server: RedisServer, hook: dict[str, Any], policy: str, limit: str, level: str, words: str
) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", limit)
    ran = checked(tmp_path, server.url, hook)
    found, text = only(ran, "eviction")
    assert (found, ran.code) == (level, 1 if level == "error" else 0)
    assert words in text


def test_a_server_that_is_almost_full_or_full(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 1)
    ran = checked(tmp_path, server.url, hook)
    assert only(ran, "eviction")[0] == "warning"
    assert {level for level, _ in lines(ran, "rights")} == {"ok"}  # it can still be drained
    with server.client() as client:
        assert not client.keys("*")


def test_no_persistence(tmp_path: Path, redis_server: RedisServer, hook: dict[str, Any]) -> None:
    ran = checked(tmp_path, redis_server.url, hook)
    level, text = only(ran, "persistence")
    assert (level, ran.code) == ("warning", 0)
    assert "set appendonly yes" in text


def test_a_disk_that_cannot_be_written(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    with server.client() as client:
        (server.directory / "dump.rdb").mkdir()  # a snapshot cannot take its place
        client.set("x", "1")
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10)
    level, text = only(checked(tmp_path, server.url, hook), "persistence")
    assert level == "error"
    assert "could not be written" in text


def test_too_few_replicas_are_reported_once_and_not_as_missing_rights(
    tmp_path: Path, server: RedisServer, hook: dict[str, Any]
) -> None:
    with server.client() as client:
        client.rpush(SERVER_LIST, job(1))
        client.config_set("min-replicas-to-write", 1)
    ran = checked(tmp_path, server.url, hook)
    assert ran.code == 1
    [(_, text)] = [line for line in lines(ran, "broker") if line[0] == "error"]
    assert text.endswith(
        "NOREPLICAS Not enough good replicas to write; no webhook is delivered until it accepts writes again"
    )
    assert ran.out.count("NOREPLICAS") == 1
    assert not lines(ran, "rights")


def test_server_busy_with_a_script_is_reported_once(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    with server.client() as client, server.client(socket_timeout=60.0) as other, ThreadPoolExecutor(1) as threads:
        client.config_set("lua-time-limit", 10)
        endless = threads.submit(other.eval, "while true do end", 0)
        try:
            eventually(lambda: is_busy(client))
            ran = checked(tmp_path, server.url, hook)
        finally:
            client.script_kill()
            assert endless.exception(60) is not None
    assert ran.code == 1
    [(level, text)] = lines(ran, "broker")
    assert (level, "BUSY" in text, ran.out.count("BUSY")) == ("error", True, 1)


def test_a_read_only_replica(tmp_path: Path, redis_server: RedisServer, hook: dict[str, Any]) -> None:
    with RedisServer(extra=("--replicaof", "127.0.0.1", str(redis_server.port))) as replica:
        ran = checked(tmp_path, replica.url, hook)
    level, text = only(ran, "role")
    assert (ran.code, level) == (1, "error")
    assert "read-only replica" in text
    assert f"(127.0.0.1:{redis_server.port})" in text


def test_rights_that_are_missing_are_named(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    with server.client() as client:
        client.rpush(SERVER_LIST, job())  # the list is in use, so it matters
        client.execute_command("ACL", "SETUSER", "hooks", "on", ">pw", "~*", "+@all", "-zadd", "-blmove", "-info")
        ran = checked(tmp_path, f"redis://hooks:pw@127.0.0.1:{server.port}/0", hook)
        assert client.keys("*") == [SERVER_LIST.encode()]
    rights = lines(ran, "rights")
    assert ran.code == 1
    assert any(level == "error" and SERVER_LIST in text and "ZADD" in text for level, text in rights), ran.out
    assert any(level == "warning" and "+blmove" in text for level, text in rights)
    assert only(ran, "server")[0] == "warning"


def test_keys_that_are_out_of_reach_are_named(tmp_path: Path, server: RedisServer, hook: dict[str, Any]) -> None:
    with server.client() as client:
        client.rpush(SERVER_LIST, job())
        client.execute_command("ACL", "SETUSER", "hooks", "on", ">pw", "~sockudo_queue*", "+@all")
        ran = checked(tmp_path, f"redis://hooks:pw@127.0.0.1:{server.port}/0", hook)
    assert any(level == "error" and "permissions to access" in text for level, text in lines(ran, "rights")), ran.out
    assert "+blmove" not in ran.out, "the command is allowed"


def test_the_login_of_sockudos_own_queue_is_not_taken_for_ours(
    tmp_path: Path, server: RedisServer, hook: dict[str, Any]
) -> None:
    """Without REDIS_URL beside a Sockudo 5, the login is that of the server's file, which may only enqueue."""
    file = config(app(hook), queue={"redis": {"url_override": f"redis://sockudo-producer:pw@127.0.0.1:{server.port}"}})
    commands = Commands(tmp_path, file, {})
    with server.client() as client:
        client.execute_command(*commands("check", "--acl").out.replace("PASSWORD", "pw").split())
    ran = commands("check")
    rights = dict.fromkeys(lines(ran, "rights"))
    assert ran.code == 1
    assert not any("not in use" in text for _, text in rights), ran.out
    assert any(level == "error" and "cannot be served by the user sockudo-producer: " in text for level, text in rights)
    assert any(level == "warning" and "unknown whether it is in use; jobs of" in text for level, text in rights)
    assert ran.out.count("permissions to access one of the keys used as arguments; this user") == 0


def documented_rule() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
    start = page.index("ACL SETUSER hooks")
    return page[start : page.index("```", start)].replace("PASSWORD", "pw").split()


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        (SERVER_LIST, "list"),
        (own_key(SERVER_LIST, "records"), "hash"),
        ("sockudo_queue:v2:{webhooks}:jobs", "hash"),
        ("sockudo_queue:v2:{webhooks}:events", "stream"),
    ],
)
def test_key_of_another_type_is_an_error(
    tmp_path: Path, server: RedisServer, hook: dict[str, Any], key: str, kept: str
) -> None:
    server.client().set(key, "theirs")
    ran = checked(tmp_path, server.url, hook)
    [text] = [text for level, text in lines(ran, "source") if level == "error"]
    assert ran.code == 1
    assert f"the key {key} is a string, and must be a {kept}" in text
    assert server.client().get(key) == b"theirs"


@pytest.mark.parametrize("kind", [ServerKind.REDIS_7_0, ServerKind.VALKEY])
def test_the_documented_rule_is_enough(tmp_path: Path, hook: dict[str, Any], kind: ServerKind) -> None:
    with RedisServer(kind, appendonly=True) as server, server.client() as client:
        client.rpush(SERVER_LIST, job())
        client.execute_command(*documented_rule())
        ran = checked(tmp_path, f"redis://hooks:pw@127.0.0.1:{server.port}/0", hook)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "0 errors, 0 warnings"), ran.out


def test_a_host_that_does_not_resolve(tmp_path: Path, redis_server: RedisServer) -> None:
    ran = checked(tmp_path, redis_server.url, webhook("http://nowhere.invalid/?t=CANARY"))
    level, text = only(ran, "http://nowhere.invalid:80")
    assert (ran.code, level) == (1, "error")
    assert "does not resolve" in text
    assert "CANARY" not in ran.out


def test_endpoint_that_refuses_connections_is_a_warning(tmp_path: Path, redis_server: RedisServer) -> None:
    port = free_port()
    level, text = only(
        checked(tmp_path, redis_server.url, webhook(f"http://127.0.0.1:{port}/")), f"http://127.0.0.1:{port}"
    )
    assert level == "warning"
    assert "Connection refused" in text


def test_an_endpoint_that_the_guard_refuses(tmp_path: Path, redis_server: RedisServer) -> None:
    ran = checked(tmp_path, redis_server.url, webhook(f"http:\\\\0x7f.1:0{redis_server.port}\\"))
    level, text = only(ran, f"http://127.0.0.1:{redis_server.port}")
    assert (ran.code, level) == (1, "error")
    assert "the queue's own server" in text


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(-2, "error", "its certificate expired on"), (5, "warning", "expires in 4 days"), (90, "ok", "is valid until")],
)
def test_expiry_of_a_certificate_is_checked(
    tmp_path: Path, redis_server: RedisServer, days: int, level: str, words: str
) -> None:
    authority = Authority(tmp_path)
    expires = NOW + datetime.timedelta(days=days)
    with Receiver(tls=authority.server(expires=expires)) as receiver:
        ran = checked(
            tmp_path, redis_server.url, webhook(receiver.url()), QUEUE_DELIVERY_CA_FILE=str(authority.ca_file)
        )
        found, text = only(ran, f"https://127.0.0.1:{receiver.port}")
        assert receiver.count == 0
    assert found == level
    assert words in text
    assert level == "ok" or text.endswith("; renew it")


def test_untrusted_certificate_is_an_error(tmp_path: Path, redis_server: RedisServer) -> None:
    with Receiver(tls=Authority(tmp_path).server()) as receiver:
        level, text = only(
            checked(tmp_path, redis_server.url, webhook(receiver.url())), f"https://127.0.0.1:{receiver.port}"
        )
        assert level == "error"
        assert "is not trusted" in text
        unchecked = checked(tmp_path, redis_server.url, webhook(receiver.url(), verify_tls=False))
        assert (
            only(unchecked, f"https://127.0.0.1:{receiver.port}")[0],
            only(unchecked, f"https://127.0.0.1:{receiver.port}")[1][-20:-1],
        ) == ("warning", "verify_tls is false")


def test_https_where_something_else_is_spoken(
    tmp_path: Path, redis_server: RedisServer, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "CONNECT_SECONDS", 0.5)  # a Redis waits for the end of the line
    url = f"https://127.0.0.1:{server.port}/"
    level, text = only(checked(tmp_path, redis_server.url, webhook(url)), url.rstrip("/"))
    assert level == "error"
    assert "does that port serve HTTPS?" in text


@pytest.mark.parametrize(
    ("rules", "events", "words"),
    [
        ({"channel_namespaces": []}, ["client_event"], "the list is empty"),
        ({"channel_namespace": "a:b"}, ["client_event"], "never empty and contains no ':'"),
        ({"channel_prefix": "shop-", "channel_pattern": "^presence-"}, ["client_event"], "no channel matches both"),
        ({"channel_prefix": "private-"}, ["member_added"], "occur only on channels that begin with presence-"),
        ({"channel_prefix": "presence-"}, ["subscription_count"], "never occur there"),
    ],
)
def test_a_filter_that_can_never_match(
    tmp_path: Path, redis_server: RedisServer, rules: dict[str, Any], events: list[str], words: str, receiver: Receiver
) -> None:
    ran = checked(tmp_path, redis_server.url, webhook(receiver.url(), event_types=events, filter=rules))
    assert any(line.startswith("warning") and words in line for line in ran.out.splitlines()), ran.out


def test_invalid_webhook_is_an_error_and_everything_else_is_still_checked(
    tmp_path: Path, redis_server: RedisServer, receiver: Receiver
) -> None:
    hooks = [
        webhook(receiver.url(), name="sound"),
        webhook("ftp://CANARY@h/", name="orders"),
        webhook(receiver.url(), name="chat", filter={"channel_pattern": "(?!CANARY)"}),
    ]
    ran = checked(tmp_path, redis_server.url, *hooks)
    assert (ran.code, ran.err) == (1, "")
    level, text = only(ran, f"app '{APP_ID}', webhook orders")
    assert (level, text.partition(": ")[0]) == ("error", "is invalid, so its events become dead letters")
    assert "url must begin with http:// or https://" in text
    assert "webhook 2 (orders)" in text
    assert "filter.channel_pattern: look-around" in only(ran, f"app '{APP_ID}', webhook chat")[1]
    assert "1 webhook, 2 invalid" in only(ran, f"app '{APP_ID}'")[1]
    assert only(ran, f"http://127.0.0.1:{receiver.port}") == ("ok", "resolves and listens")
    assert only(ran, "broker")[0] == "ok"
    assert ran.out.splitlines()[-1].startswith("2 errors, ")
    assert "CANARY" not in ran.out


def test_unknown_event_type_is_a_warning(tmp_path: Path, redis_server: RedisServer, receiver: Receiver) -> None:
    ran = checked(tmp_path, redis_server.url, webhook(receiver.url(), event_types=["chanel_occupied"]))
    assert any(
        line.startswith("warning") and "did you mean channel_occupied?" in line for line in ran.out.splitlines()
    ), ran.out


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"REDIS_URL": "redis://:CANARY@127.0.0.1:PORT/3"}, "redis at 127.0.0.1:PORT, database 3: "),
        ({"REDIS_URL": "redis://[::1]:PORT"}, "redis at [::1]:PORT, database 0: "),
        ({"DATABASE_REDIS_PORT": "PORT", "DATABASE_REDIS_DB": "2"}, "redis at 127.0.0.1:PORT, database 2: "),
        (
            {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": "redis://:CANARY@127.0.0.1:PORT,[::1]:PORT"},
            "redis-cluster at 127.0.0.1:PORT, [::1]:PORT: ",
        ),
    ],
)
def test_the_line_of_the_broker_says_where_it_was_looked_for(
    tmp_path: Path, environment: dict[str, str], place: str
) -> None:
    port = str(free_port())
    ran = Commands(tmp_path, config(app()), {name: value.replace("PORT", port) for name, value in environment.items()})(
        "check"
    )
    level, text = only(ran, "broker")
    assert level == "error"
    assert text.startswith(place.replace("PORT", port)), text
    assert "CANARY" not in ran.out + ran.err


def test_an_announced_address_of_a_cluster_is_named_and_not_the_start_nodes(tmp_path: Path) -> None:
    closed = free_port()
    extra = ("--cluster-announce-port", str(closed))
    with RedisCluster(masters=1, replicas=False, extra=extra) as cluster:
        environment = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": cluster.addresses}
        level, text = only(Commands(tmp_path, config(app()), environment)("check"), "broker")
    assert level == "error"
    assert f"the cluster announces the node 127.0.0.1:{closed}, which cannot be reached" in text
    assert text.endswith(f"set QUEUE_REDIS_CLUSTER_ADDRESS_MAP=127.0.0.1:{closed}=HOST:PORT"), text


def test_sentinels_are_named_with_the_master_that_they_were_asked_for(tmp_path: Path) -> None:
    sentinels = [{"host": "127.0.0.1", "port": free_port()}]
    document = config(app(), database={"redis": {"sentinels": sentinels, "name": "hooks", "db": 4}})
    level, text = only(Commands(tmp_path, document, {})("check"), "broker")
    assert level == "error"
    where = f"the Sentinels 127.0.0.1:{sentinels[0]['port']}, database 4: "
    assert text.startswith(f"redis, master hooks of {where}"), text


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (401, "warning"), (503, "error")])
def test_a_probe_is_one_signed_post_without_events(
    tmp_path: Path, redis_server: RedisServer, receiver: Receiver, hook: dict[str, Any], status: int, level: str
) -> None:
    receiver.always(status)
    ran = checked(tmp_path, redis_server.url, hook, arguments=("--probe",))
    [request] = receiver.requests
    assert json.loads(request.body)["events"] == []
    expected = hmac.new(APP_SECRET.encode(), request.body, "sha256").hexdigest()
    assert request.headers["x-pusher-signature"] == expected
    found, text = only(ran, f"app {APP_ID!r}, webhook orders")
    assert found == level
    assert str(status) in text
    assert APP_SECRET not in ran.out


def test_without_a_probe_nothing_is_sent(
    tmp_path: Path, redis_server: RedisServer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    checked(tmp_path, redis_server.url, hook)
    assert receiver.count == 0


def test_json_output_has_the_same_lines(tmp_path: Path, redis_server: RedisServer, hook: dict[str, Any]) -> None:
    report = checked(tmp_path, redis_server.url, hook, arguments=("--json",)).json
    assert (report["errors"], report["warnings"]) == (0, 1)
    assert {"level": "ok", "subject": "version"}.items() <= next(
        line for line in report["lines"] if line["subject"] == "version"
    ).items()
    faulty = checked(tmp_path, redis_server.url, hook, arguments=("--json",), QUEUE_WORKERS="none")
    assert faulty.code == 2
    assert faulty.json["lines"][0]["level"] == "error"
    assert "QUEUE_WORKERS" in faulty.json["lines"][0]["text"]


def test_a_concurrency_of_zero_is_a_warning_and_an_error_where_queue_v2_is_in_use(
    tmp_path: Path, server: RedisServer, hook: dict[str, Any]
) -> None:
    ran = checked(tmp_path, server.url, hook, QUEUE_REDIS_CONCURRENCY="0")
    assert ran.code == 0
    [(_, text)] = [line for line in lines(ran, "settings") if line[0] == "warning"]
    assert text.startswith("QUEUE_REDIS_CONCURRENCY: 0 is correct only for a Sockudo server up to 4.7")

    with server.client() as client:
        Producer(client).enqueue(job())
    ran = checked(tmp_path, server.url, hook, QUEUE_REDIS_CONCURRENCY="0")
    assert ran.code == 1
    assert any(level == "error" and "sends no webhooks" in text for level, text in lines(ran, "workers"))
    assert all(level == "ok" for level, _ in lines(checked(tmp_path, server.url, hook), "workers"))


@pytest.mark.parametrize(
    ("more", "environment", "named"),
    [
        ({"description": "x"}, {}, "description"),
        ({"channel_prefix": "shop-"}, {}, "channel_prefix"),
        ({}, {"QUEUE_IGNORED": "1"}, "QUEUE_IGNORED"),
    ],
)
def test_an_unknown_name_is_a_warning_and_all_else_is_checked(
    tmp_path: Path,
    server: RedisServer,
    receiver: Receiver,
    more: dict[str, Any],
    environment: dict[str, str],
    named: str,
) -> None:
    hook = webhook(receiver.url(), **more)
    ran = checked(tmp_path, server.url, hook, arguments=(), **environment)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "0 errors, 1 warning")
    assert any(level == "warning" and named in text for level, text in lines(ran, "settings"))
    assert_all_was_checked(ran, receiver)

    strict = checked(tmp_path, server.url, hook, arguments=("--strict",), **environment)
    assert (strict.code, strict.out.splitlines()[-1]) == (2, "1 error, 0 warnings")
    assert any(level == "error" and named in text for level, text in lines(strict, "settings"))
    assert_all_was_checked(strict, receiver)


def assert_all_was_checked(ran: Ran, receiver: Receiver) -> None:
    assert {"ok"} == {level for level, _ in lines(ran, "broker") + lines(ran, "rights")}
    assert only(ran, f"http://127.0.0.1:{receiver.port}")[0] == "ok"


@pytest.mark.parametrize(
    "variable", ["QUEUE_WORKERS", "QUEUE_LEASE_DURATION_MS", "QUEUE_LOG_LEVEL", "QUEUE_METRICS_PROT"]
)
def test_a_fault_elsewhere_does_not_keep_the_queue_from_being_checked(
    tmp_path: Path, server: RedisServer, receiver: Receiver, variable: str
) -> None:
    ran = checked(tmp_path, server.url, webhook(receiver.url()), arguments=(), **{variable: "CANARY"})
    [(_, text)] = [line for line in lines(ran, "settings") if line[0] == "error"]
    assert text.startswith(f"{variable}: ")
    assert (ran.code, ran.out.splitlines()[-1]) == (2, "1 error, 0 warnings")
    assert_all_was_checked(ran, receiver)
    assert "CANARY" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("environment", "passed_over"),
    [
        ({"REDIS_URL": "CANARY"}, {"broker", "endpoints"}),
        ({"REDIS_URL_FILE": "/absent"}, {"broker", "endpoints"}),
        ({"QUEUE_DRIVER": "CANARY"}, {"broker", "endpoints"}),
        ({"DATABASE_REDIS_PORT": "CANARY"}, {"broker", "endpoints"}),
        ({"QUEUE_DELIVERY_DENIED_NETWORKS": "CANARY"}, {"endpoints"}),
        ({"DATABASE_POSTGRES_PORT": "CANARY"}, {"apps"}),
    ],
)
def test_invalid_setting_is_not_replaced_by_its_default_for_checks(
    tmp_path: Path, receiver: Receiver, environment: dict[str, str], passed_over: set[str]
) -> None:
    commands = Commands(tmp_path, config(app(webhook(receiver.url()))), {"QUEUE_DRIVER": "none"} | environment)
    ran = commands("check")
    assert ran.code == 2
    assert {
        subject
        for subject in ("apps", "broker", "endpoints")
        if any("skipped" in text for _, text in lines(ran, subject))
    } == passed_over
    assert ("endpoints" in passed_over) == (not lines(ran, f"http://127.0.0.1:{receiver.port}"))
    assert "CANARY" not in ran.out + ran.err


def test_a_file_that_cannot_be_read_is_one_error_and_nothing_is_guessed(tmp_path: Path) -> None:
    commands = Commands(tmp_path, config(app()), {})
    commands.config_path.write_text("{")
    ran = commands("check")
    assert (ran.code, ran.err) == (2, "")
    assert [level for level, _ in lines(ran, "settings")] == ["error", "ok"]
    assert {only(ran, subject)[0] for subject in ("apps", "broker", "endpoints")} == {"warning"}


def test_certificates_that_cannot_be_used_leave_the_endpoints_to_be_checked(tmp_path: Path, receiver: Receiver) -> None:
    environment = {"REDIS_URL": "rediss://127.0.0.1:1", "DATABASE_REDIS_MASTER_TLS_CA_PATH": "/absent"}
    ran = Commands(tmp_path, config(app(webhook(receiver.url()))), environment)("check")
    assert ran.code == 2
    assert any(
        "database.redis.master_tls.ca_path" in text for level, text in lines(ran, "settings") if level == "error"
    )
    assert only(ran, f"http://127.0.0.1:{receiver.port}")[0] == "ok"
