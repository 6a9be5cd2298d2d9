"""Texts that a column, a database or a client's encoding cannot represent concern one app, and are no outage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pg8000.native
import pytest

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores import dynamodb as dynamodb_store
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.apps.stores.sql import NO_TEXT
from sockudo_queue.config import RetrySettings
from sockudo_queue.errors import AppUnreadable
from tests.app_stores.conftest import MakeStore
from tests.app_stores.tables import DynamodbTable, MariadbTable, PostgresTable, Table
from tests.faults.queue import log_tail, push, records, waiting
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.databases import PASSWORD, USER, Dynamodb, Mariadb, Postgres
from tests.helpers.jobs import job
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

ODD: Final = "sh\U0001f600p"
NARROW: Final = ("mysql latin1", "mysql utf8mb3", "pgsql LATIN1")


@dataclass(frozen=True)
class DatabaseIn:
    """A database of a server, with an encoding of its own."""

    server: Postgres
    name: str
    owner: Any

    def run(self, sql: str, **values: Any) -> list[Any]:
        return self.owner.run(sql, **values) or []

    def environment(self, table: str) -> dict[str, str]:
        return self.server.environment(table) | {"DATABASE_POSTGRES_DATABASE": self.name}


@contextmanager
def database_in(server: Postgres, encoding: str) -> Iterator[DatabaseIn]:
    name = f"in_{encoding.lower()}"
    server.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    server.run(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    owner = pg8000.native.Connection(
        USER, host="127.0.0.1", port=server.port, database=name, password=PASSWORD, ssl_context=False
    )
    owner.run("SET client_encoding TO 'UTF8'")
    try:
        yield DatabaseIn(server, name, owner)
    finally:
        owner.close()


@contextmanager
def table_in(request: pytest.FixtureRequest, where: str) -> Iterator[Table]:
    kind, encoding = where.split()
    if kind == "mysql":
        server: Mariadb = request.getfixturevalue("mariadb")
        table = MariadbTable(server, "5.0").create()
        server.run(f"ALTER TABLE {table.name} MODIFY id VARCHAR(255) CHARACTER SET {encoding}")
        yield table
        return
    with database_in(request.getfixturevalue("postgres"), encoding) as database:
        yield PostgresTable(database, "5.0").create()  # type: ignore[arg-type]  # it runs statements as the server does


@pytest.mark.parametrize("where", NARROW)
def test_an_id_that_the_column_cannot_hold_is_unknown(
    request: pytest.FixtureRequest, store_of: MakeStore, where: str
) -> None:
    with table_in(request, where) as table:
        for app_id in ("shop", "caf\u00e9", "second"):
            table.put(app(webhook("https://a.test/1"), app_id=app_id))
        store = store_of(table)
        ids = ["shop", ODD, "caf\u00e9", f"{ODD}2", "second", "\u4e2d"]
        assert sorted(row.id for row in store.fetch(ids)) == ["caf\u00e9", "second", "shop"]
        assert store.fetch([ODD]) == []
        assert store.fetch([f"{ODD}{number}" for number in range(100)]) == []


@pytest.mark.parametrize("where", NARROW)
def test_a_job_with_such_an_id_disturbs_no_other(
    request: pytest.FixtureRequest, redis_server: RedisServer, receiver: Receiver, where: str
) -> None:
    settings = {"WEBHOOK_RETRY_MAX_ELAPSED_TIME_MS": "100", "QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "100"}
    with table_in(request, where) as table, redis_server.client() as client:
        table.put(app(webhook(receiver.url()), app_id="second"))
        with DaemonProcess(config(), table.environment() | settings, redis_url=redis_server.url) as daemon:
            daemon.wait_ready()
            push(client, [job(1, app_id=ODD), job(2, app_id="second")])
            receiver.wait_for(1, 3)
            eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
            assert daemon.get("/readyz") == 200
            assert daemon.events("apps.store_lost") == []
            [dead] = records(client, "dead")
    assert dead.state["reason"] == "unknown-app"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "UTF8"])
def test_the_encoding_of_the_connection_is_ours(postgres: Postgres, store_of: MakeStore, encoding: str) -> None:
    with database_in(postgres, encoding) as database:
        postgres.run(f"ALTER DATABASE {database.name} SET client_encoding TO 'SQL_ASCII'")
        table = PostgresTable(database, "5.0").create()  # type: ignore[arg-type]
        url = "https://a.test/caf\u00e9"
        table.put_raw("cafe", webhooks=json.dumps([{"url": url}], ensure_ascii=False))
        table.put(app(webhook("https://a.test/"), app_id="caf\u00e9"))
        rows = {row.id: row for row in store_of(table).fetch(["cafe", "second", "caf\u00e9"])}
    assert rows.keys() == {"cafe", "caf\u00e9"}
    assert url in str(rows["cafe"].webhooks)


def test_a_row_that_is_no_text_concerns_its_app_alone(postgres: Postgres, store_of: MakeStore) -> None:
    with database_in(postgres, "SQL_ASCII") as database:
        database.run("CREATE TABLE applications (id VARCHAR(255) PRIMARY KEY, webhooks TEXT)")
        database.run("INSERT INTO applications VALUES ('shop', '[]'), ('second', '[]')")
        database.run(r"INSERT INTO applications VALUES ('cafe', convert_from('\xe9', 'SQL_ASCII'))")
        store = store_of(PostgresTable(database, "2.9"))  # type: ignore[arg-type]
        rows = {row.id: row for row in store.fetch(["shop", "cafe", "nobody", "second"])}
    assert rows == {"shop": Row("shop", None, "[]"), "second": Row("second", None, "[]"), "cafe": Row("cafe", NO_TEXT)}
    with pytest.raises(AppUnreadable):
        read_row(rows["cafe"], Defaults(RetrySettings(), 10_000))


@pytest.mark.parametrize("kind", ["INT", "DATETIME", "VARBINARY(255)"])
def test_a_column_of_another_type_concerns_its_app_alone(mariadb: Mariadb, store_of: MakeStore, kind: str) -> None:
    value = {"INT": "5", "DATETIME": "2025-01-02 03:04:05"}.get(kind, "[]")
    mariadb.run("DROP TABLE IF EXISTS applications")
    mariadb.run(f"CREATE TABLE applications (id VARBINARY(255) PRIMARY KEY, policy {kind}, webhooks {kind})")
    mariadb.run("INSERT INTO applications VALUES ('shop', %s, NULL), ('second', NULL, NULL)", [value])
    rows = {row.id: row for row in store_of(MariadbTable(mariadb, "5.0")).fetch(["shop", "second"])}
    assert rows["second"] == Row("second")
    with pytest.raises(AppUnreadable):
        read_row(rows["shop"], Defaults(RetrySettings(), 10_000))


def test_ids_that_cannot_be_keys_are_unknown_and_disturb_no_other(receiver: Receiver, store_of: MakeStore) -> None:
    """A receiver stands for Amazon, which refuses a whole query for one such key; its emulators do not."""

    def answer(request: Request, nth: int) -> Answer:
        [asked] = json.loads(request.body)["RequestItems"].values()
        keys = [key["id"]["S"] for key in asked["Keys"]]
        if not all(0 < len(key.encode()) <= 2048 for key in keys):
            return Answer(400, body=b'{"__type": "com.amazon.coral.validate#ValidationException"}')
        found = [{"id": {"S": key}} for key in keys if key == "shop"]
        return Answer(body=json.dumps({"Responses": {"applications": found}}).encode())

    receiver.answer(answer)
    amazon = {"DATABASE_DYNAMODB_ENDPOINT_URL": receiver.url("").rstrip("/"), "APP_MANAGER_DRIVER": "dynamodb"}
    credentials = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    store = store_of(None, **amazon, **credentials)
    odd = ["", "x" * 2049, "\u00e9" * 1025]
    assert [row.id for row in store.fetch(["shop", *odd])] == ["shop"]
    assert store.fetch(odd) == []


def test_items_of_odd_types_concern_their_apps_alone(dynamodb: Dynamodb, store_of: MakeStore) -> None:
    table = DynamodbTable(dynamodb, "5.0").create()
    odd: list[dict[str, Any]] = [{"N": "5"}, {"BOOL": True}, {"M": {"S": {"S": "x"}}}, {"L": []}, {"B": b"\xff"}]
    for number, value in enumerate(odd):
        item = {"id": {"S": f"odd{number}"}, "policy": value, "webhooks": value}
        dynamodb.client().put_item(TableName=table.name, Item=item)
    table.put(app(webhook("https://a.test/1"), app_id="shop"))
    rows = {row.id: row for row in store_of(table).fetch(["shop", *(f"odd{number}" for number in range(len(odd)))])}
    assert "a.test" in str(rows.pop("shop").policy)
    assert list(rows.values()) == [Row(app_id) for app_id in rows]


@pytest.mark.parametrize(
    "item", [None, 5, [], {}, {"id": None}, {"id": "shop"}, {"id": {}}, {"id": {"S": 5}}, {"id": {"S": ""}}]
)
def test_an_item_without_an_id_is_left_out(item: object) -> None:
    assert dynamodb_store._row(item) is None


@pytest.mark.parametrize("value", [None, 5, "text", [], {"S": 5}, {"S": None}])
def test_an_attribute_that_is_no_text_is_none(value: object) -> None:
    assert dynamodb_store._row({"id": {"S": "shop"}, "policy": value, "webhooks": {"S": "[]"}}) == Row(
        "shop", None, "[]"
    )
