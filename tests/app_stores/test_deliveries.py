"""The same forty apps in a file and in every database, as three releases write them, give the same deliveries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.app_stores.conftest import MakeTable
from tests.app_stores.tables import RELEASES
from tests.faults.queue import push, waiting
from tests.helpers.configs import config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.receiver import Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

APPS: Final = 40
DELIVERIES: Final = 52

Delivery = tuple[str, bytes, str | None, str, str]


def hooks_of(number: int, receiver: Receiver) -> list[dict[str, Any]] | None:
    """Return the webhooks of one of the apps: each form, filter and shape that Sockudo knows comes several times."""

    def hook(path: str, **keys: Any) -> dict[str, Any]:
        return webhook(receiver.url(f"/{number}/{path}"), **keys)

    match number % 10:
        case 0:
            return None
        case 1:
            return []
        case 2:
            return [hook("all")]
        case 3:
            return [hook("flat", headers={"X-Tenant": f"tenant-{number}"})]
        case 4:
            return [hook("nested", headers={"headers": {"X-Tenant": f"tenant-{number}"}})]
        case 5:
            return [hook("some", event_types=["member_added"]), hook("all")]
        case 6:
            return [
                hook("prefix", filter={"channel_prefix": "presence-"}),
                hook("suffix", filter={"channel_suffix": "-1"}),
            ]
        case 7:
            return [
                hook("pattern", filter={"channel_pattern": r"^room-\d+$"}),
                hook("space", filter={"channel_namespace": "chat"}),
            ]
        case 8:
            return [
                hook(
                    "named",
                    name="a-name",
                    retry={"max_attempts": 3, "initial_backoff_ms": None},
                    request_timeout_ms=2_000,
                )
            ]
    return [hook("same"), {**hook("same"), "event_types": ["channel_vacated"]}, hook("ünïcode")]


def apps(receiver: Receiver) -> list[dict[str, Any]]:
    return [
        {"id": f"app-{n}", "key": f"key-{n}", "secret": f"secret-{n}", "webhooks": hooks_of(n, receiver)}
        for n in range(APPS)
    ]


def bodies() -> list[bytes]:
    """Return a job for each app, with events of several kinds and channels."""
    events = [
        event("channel_occupied", "room-1"),
        event("channel_vacated", "presence-chat:2"),
        event("member_added", "presence-lobby-1", user_id="u"),
        event("client_event", "private-chat:3", event="client-x", data={"n": 1.0}),
    ]
    return [
        job(events=events, app_id=f"app-{n}", key=f"key-{n}", secret=f"secret-{n}", time_ms=1_751_100_000_000 + n)
        for n in range(APPS)
    ]


def delivery(request: Request) -> Delivery:
    headers: Mapping[str, str] = request.headers
    return (
        request.path,
        request.body,
        headers.get("x-tenant"),
        headers["x-pusher-signature"],
        headers["x-sockudo-webhook"],
    )


def deliveries(daemon: DaemonProcess, redis_server: RedisServer, receiver: Receiver) -> list[Delivery]:
    """Let a daemon work on a job of each app, and return what it has delivered."""
    receiver.clear()
    with daemon, redis_server.client() as client:
        daemon.wait_ready()
        push(client, bodies())
        receiver.wait_for(DELIVERIES, 20)
        eventually(lambda: waiting(client) == 0, 20, daemon.output)
        assert daemon.events("job.dead_lettered") == []
    return sorted(map(delivery, receiver.requests), key=repr)


@pytest.fixture
def from_file(redis_server: RedisServer, receiver: Receiver) -> list[Delivery]:
    daemon = DaemonProcess(config(*apps(receiver)), redis_url=redis_server.url)
    return deliveries(daemon, redis_server, receiver)


def test_the_same_apps_give_the_same_deliveries(
    make_table: MakeTable, redis_server: RedisServer, receiver: Receiver, from_file: list[Delivery]
) -> None:
    assert len(from_file) == DELIVERIES
    for release in RELEASES:
        table = make_table(release)
        for app in apps(receiver):
            table.put(app)
        # A broken row, and another app of the same name to a careless comparison, are beside them.
        table.put_raw("broken", **{"webhooks" if release == "2.9" else "policy": '{"webhooks": {}}'})
        daemon = DaemonProcess(environment=table.environment(), redis_url=redis_server.url)
        assert deliveries(daemon, redis_server, receiver) == from_file, release


@pytest.mark.parametrize("make_table", ["mysql", "dynamodb"], indirect=True)
def test_editing_the_flat_column_beside_a_policy_changes_nothing(
    make_table: MakeTable, redis_server: RedisServer, receiver: Receiver
) -> None:
    table = make_table()
    table.put_raw(
        "shop",
        policy=json.dumps({"webhooks": [webhook(receiver.url("/policy"))]}),
        webhooks=json.dumps([webhook(receiver.url("/flat"))]),
    )
    table.put_raw("empty", policy=json.dumps({"webhooks": None}), webhooks=json.dumps([webhook(receiver.url("/flat"))]))
    table.put_raw("null", policy="null", webhooks=json.dumps([webhook(receiver.url("/null"))]))
    table.put_raw("none", policy=None, webhooks=json.dumps([webhook(receiver.url("/none"))]))
    with DaemonProcess(environment=table.environment(), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        with redis_server.client() as client:
            push(client, [job(app_id=app_id) for app_id in ("shop", "empty", "null", "none")])
            receiver.wait_for(3, 10)
            eventually(lambda: waiting(client) == 0, 10, daemon.output)
    assert sorted(request.path for request in receiver.requests) == ["/none", "/null", "/policy"]


@pytest.mark.parametrize("make_table", ["pgsql"], indirect=True)
def test_an_invalid_webhook_of_a_row_costs_that_webhook_alone(
    make_table: MakeTable, redis_server: RedisServer, receiver: Receiver
) -> None:
    table = make_table()
    table.put(
        {
            "id": "app-0",
            "webhooks": [
                webhook(receiver.url("/sound"), name="sound"),
                webhook(receiver.url("/pattern"), name="pattern", filter={"channel_pattern": "(?=CANARY)"}),
                webhook(receiver.url("/same"), name="sound"),
                webhook("ftp://CANARY/", name="scheme", event_types=["cache_miss"]),
            ],
        }
    )
    table.put({"id": "app-1", "webhooks": [webhook(receiver.url("/other"))]})
    daemon = DaemonProcess(config(), table.environment(), redis_url=redis_server.url)
    with daemon, redis_server.client() as client:
        daemon.wait_ready()
        push(client, bodies()[:2])
        receiver.wait_for(2, 20)
        eventually(lambda: len(daemon.events("job.dead_lettered")) == 2, 10, daemon.output)
        dead = daemon.events("job.dead_lettered")
        invalid = {line["webhook"]: line["text"] for line in daemon.events("webhook.invalid")}
        assert daemon.metric("sockudo_webhook_invalid", app="app-0") == 3
        assert "CANARY" not in daemon.output()
    assert sorted(request.path for request in receiver.requests) == ["/other", "/sound"]
    assert sorted((line["webhook"], line["reason"]) for line in dead) == [
        ("pattern", "webhook-invalid"),
        ("sound-2", "webhook-invalid"),
    ]
    assert invalid.keys() == {"pattern", "sound-2", "scheme"}
    assert "url must begin with http:// or https://" in invalid["scheme"]


def test_the_apps_of_the_file_win(make_table: MakeTable, redis_server: RedisServer, receiver: Receiver) -> None:
    table = make_table()
    for app_id in ("shop", "other"):
        table.put({"id": app_id, "policy": {"webhooks": [webhook(receiver.url("/database"))]}})
    own = {"id": "shop", "key": "k", "secret": "s", "policy": {"webhooks": [webhook(receiver.url("/file"))]}}
    daemon = DaemonProcess(config(own), table.environment(), redis_url=redis_server.url)
    with daemon:
        daemon.wait_ready()
        with redis_server.client() as client:
            push(client, [job(app_id="shop"), job(app_id="other")])
        receiver.wait_for(2)
    assert sorted(request.path for request in receiver.requests) == ["/database", "/file"]
