"""One suite for every app store, on real databases: what is found, what is not, and the errors."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Final

import pytest
from pymysql.constants.COMMAND import COM_QUERY

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores import sql
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.apps.stores.postgres import PostgresStore
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.config import PostgresSettings, RetrySettings
from sockudo_queue.core.ceilings import Ceilings
from sockudo_queue.core.secret import Secret
from sockudo_queue.errors import AppStoreUnavailable, SettingsError
from tests.app_stores.conftest import MakeStore, MakeTable
from tests.app_stores.tables import RELEASES, SECRET, DynamodbTable, MariadbTable, PostgresTable
from tests.helpers.configs import app, webhook
from tests.helpers.databases import PASSWORD, USER, Dynamodb, Mariadb, Postgres
from tests.helpers.receiver import Answer, Receiver

DEFAULTS: Final = Defaults(RetrySettings(), 10_000, Ceilings(app_bytes=50_000))

# If a server disconnects before the login, pg8000 and PyMySQL leave a socket to the garbage collector.
LEFT_SOCKETS: Final = "ignore:unclosed:ResourceWarning"
COLLECTED: Final = "left_sockets_collected"  # here, where that is expected, and not in whichever test comes later
# Ids that would change a query if they were inserted into it, or would match another id.
ODD_IDS: Final = (
    "' OR 1=1 -- ",
    "'; DROP TABLE applications; --",
    "\\'; DROP TABLE applications; --",
    '" OR ""="',
    "`",
    "\\",
    "\\\\'",
    "%s",
    "%(id)s",
    ":id0",
    "$1",
    "{}",
    "a,b",
    "(SELECT id FROM applications)",
    "shop ",
    " shop",
    "SHOP",
    "shöp",
    "\u0001\n\t",
    "😀",
    "0",
    "null",
)


def table_on(request: pytest.FixtureRequest, kind: str) -> PostgresTable | MariadbTable:
    """Return a new table on an SQL database."""
    if kind == "postgres":
        return PostgresTable(request.getfixturevalue("postgres"), "5.0").create()
    return MariadbTable(request.getfixturevalue("mariadb"), "5.0").create()


def found(rows: list[Row]) -> list[str]:
    return sorted(row.id for row in rows)


@pytest.mark.parametrize("release", RELEASES)
def test_fetch_returns_the_rows_of_existing_ids(make_table: MakeTable, store_of: MakeStore, release: str) -> None:
    table = make_table(release)
    table.put(app(webhook("https://a.test/1"), app_id="shop"))
    table.put(app(webhook("https://a.test/2"), app_id="other"))
    table.put(app(app_id="bare"))
    store = store_of(table)

    assert found(store.fetch(["shop", "nobody", "bare"])) == ["bare", "shop"]
    (row,) = store.fetch(["shop"])
    texts = f"{row.policy!r} {row.webhooks!r}"
    assert "https://a.test/1" in texts
    assert (row.policy is None) == (release == "2.9")
    assert SECRET not in texts
    assert store.fetch(["nobody"]) == []


def test_id_is_never_interpreted_as_sql_or_a_pattern(make_table: MakeTable, store_of: MakeStore) -> None:
    table = make_table()
    table.put(app(app_id="shop"))
    store = store_of(table)
    assert [row.id for row in store.fetch(ODD_IDS) if row.id in ODD_IDS] == []
    for app_id in ODD_IDS:
        assert [row.id for row in store.fetch([app_id]) if row.id == app_id] == []
    assert found(store.fetch(["shop", *ODD_IDS])) == ["shop"]

    # And they are found where they exist; `shop` is left to what a collation takes as equal to it.
    odd = [app_id for app_id in ODD_IDS if app_id.strip().lower() not in ("shop", "shöp")]
    for app_id in odd:
        table.put(app(webhook("https://a.test/1"), app_id=app_id))
    assert found(store.fetch(odd)) == sorted(odd)


def test_a_hundred_apps_are_one_query(make_table: MakeTable, store_of: MakeStore) -> None:
    table = make_table()
    ids = [f"app{number:03}" for number in range(100)]
    for app_id in ids[::10]:
        table.put(app(app_id=app_id))
    assert found(store_of(table).fetch(ids)) == ids[::10]


def test_a_sample_of_the_ids(make_table: MakeTable, store_of: MakeStore) -> None:
    table = make_table()
    for app_id in ("a", "b", "c"):
        table.put(app(app_id=app_id))
    store = store_of(table)
    assert sorted(store.sample(10)) == ["a", "b", "c"]
    assert len(store.sample(2)) == 2


def test_nothing_secret_is_in_a_name_or_a_reason(make_table: MakeTable, store_of: MakeStore) -> None:
    store = store_of(make_table())
    assert PASSWORD not in store.name


@pytest.mark.parametrize("quoting", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"])
def test_unusual_ids_in_every_quoting_mode_of_mysql(mariadb: Mariadb, store_of: MakeStore, quoting: str) -> None:
    table = MariadbTable(mariadb, "5.0").create()
    table.put(app(app_id="shop"))
    before = mariadb.run("SELECT @@GLOBAL.sql_mode")[0][0]
    mariadb.run("SET GLOBAL sql_mode = %s", [quoting])
    try:
        store = store_of(table)
        assert [row.id for row in store.fetch(ODD_IDS) if row.id in ODD_IDS] == []
        assert found(store.fetch(["shop"])) == ["shop"]
    finally:
        mariadb.run("SET GLOBAL sql_mode = %s", [before])


@pytest.mark.parametrize("missing", ["webhooks", "policy"])
def test_a_column_that_is_missing_is_empty(
    postgres: Postgres, mariadb: Mariadb, store_of: MakeStore, missing: str
) -> None:
    for table in (PostgresTable(postgres, "5.0").create(), MariadbTable(mariadb, "5.0").create()):
        table.put(app(webhook("https://a.test/1"), app_id="shop"))
        table.server.run(f"ALTER TABLE {table.name} DROP COLUMN {missing}")
        (row,) = store_of(table).fetch(["shop"])
        assert getattr(row, missing) is None
        assert "https://a.test/1" in str(row.policy or row.webhooks)


def test_a_user_with_no_right_to_the_secrets_is_enough(postgres: Postgres, store_of: MakeStore) -> None:
    table = PostgresTable(postgres, "5.0").create()
    table.put(app(webhook("https://a.test/1"), app_id="shop"))
    postgres.run("DROP ROLE IF EXISTS reader")
    postgres.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
    postgres.run(f"GRANT SELECT (id, policy, webhooks) ON {table.name} TO reader")
    store = store_of(table, DATABASE_POSTGRES_USERNAME="reader")
    assert found(store.fetch(["shop"])) == ["shop"]
    postgres.run(f"REVOKE SELECT (policy) ON {table.name} FROM reader")
    with pytest.raises(AppStoreUnavailable, match="permission denied"):
        store.fetch(["shop"])
    postgres.run("DROP OWNED BY reader")
    postgres.run("DROP ROLE reader")


def test_a_table_in_another_schema(postgres: Postgres) -> None:
    postgres.run("CREATE SCHEMA IF NOT EXISTS Hooks")
    PostgresTable(postgres, "5.0", "hooks.Apps").create().put(app(app_id="shop"))
    settings = PostgresSettings(
        host="127.0.0.1",
        port=postgres.port,
        username=USER,
        password=Secret(PASSWORD),
        database="postgres",
        table_name="Hooks.apps",
    )
    store = PostgresStore(settings)
    assert found(store.fetch(["shop"])) == ["shop"]
    store.close()


@pytest.mark.usefixtures(COLLECTED)
@pytest.mark.filterwarnings(LEFT_SOCKETS)
@pytest.mark.parametrize(
    ("kind", "variable", "value", "reason"),
    [
        ("postgres", "PASSWORD", "wrong-CANARY", "password authentication failed"),
        ("postgres", "USERNAME", "nobody", "password authentication failed"),
        ("postgres", "DATABASE", "nothing", 'database "nothing" does not exist'),
        ("postgres", "PORT", "1", "Connection refused"),
        ("postgres", "HOST", "no-such-host.invalid", ""),
        ("mysql", "PASSWORD", "wrong-CANARY", "Access denied"),
        ("mysql", "DATABASE", "nothing", "Access denied"),
        ("mysql", "TABLE_NAME", "nothing", "there is no table nothing"),
        ("mysql", "PORT", "1", "Connection refused"),
        ("mysql", "HOST", "no-such-host.invalid", ""),
    ],
)
def test_a_store_that_cannot_be_used_says_why(
    request: pytest.FixtureRequest, store_of: MakeStore, kind: str, variable: str, value: str, reason: str
) -> None:
    table = table_on(request, kind)
    store = store_of(table, **{f"DATABASE_{kind.upper()}_{variable}": value})
    with pytest.raises(AppStoreUnavailable) as caught:
        store.fetch(["shop"])
    message = str(caught.value)
    assert reason in message
    assert message
    assert "\n" not in message
    assert "CANARY" not in message
    assert caught.value.__cause__ is None


def test_a_table_that_is_not_there(postgres: Postgres, store_of: MakeStore) -> None:
    table = PostgresTable(postgres, "5.0").create()
    postgres.run(f"DROP TABLE {table.name}")
    with pytest.raises(AppStoreUnavailable, match="there is no table applications with a column id"):
        store_of(table).fetch(["shop"])


def test_a_dynamodb_table_that_is_not_there(dynamodb: Dynamodb, store_of: MakeStore) -> None:
    table = DynamodbTable(dynamodb, "5.0")
    with pytest.raises(AppStoreUnavailable, match="there is no table nothing in us-east-1"):
        store_of(table, DATABASE_DYNAMODB_TABLE_NAME="nothing").fetch(["shop"])


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_tls(request: pytest.FixtureRequest, store_of: MakeStore, kind: str, tmp_path: Path) -> None:
    server: Postgres | Mariadb = request.getfixturevalue("postgres" if kind == "postgres" else "mariadb")
    table = (
        PostgresTable(server, "5.0").create() if isinstance(server, Postgres) else MariadbTable(server, "5.0").create()
    )
    table.put(app(app_id="shop"))

    def fetched(mode: str, **more: str) -> list[str]:
        variables = {f"DATABASE_{kind.upper()}_SSL_{name}": value for name, value in {"MODE": mode, **more}.items()}
        return found(store_of(table, **variables).fetch(["shop"]))

    for mode in ("prefer", "disable", "require"):
        assert fetched(mode) == ["shop"]
    assert fetched("verify-full", CA=str(server.authority)) == ["shop"]
    with pytest.raises(AppStoreUnavailable, match="certificate cannot be verified"):
        fetched("verify-full")
    for content in (None, "no certificate"):
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        with pytest.raises(SettingsError, match=r"database\.\w+\.ssl_ca: "):
            fetched("verify-full", CA=str(file))
    server.kill()
    server.tls = False
    server.start()
    try:
        for mode in ("prefer", "disable"):
            assert fetched(mode) == ["shop"]
        for mode in ("require", "verify-full"):
            with pytest.raises(AppStoreUnavailable, match=r"(?i)ssl"):
                fetched(mode)
    finally:
        server.kill()
        server.tls = True
        server.start()


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_lost_connection_is_reopened_without_an_error(
    request: pytest.FixtureRequest, store_of: MakeStore, kind: str
) -> None:
    table = table_on(request, kind)
    table.put(app(app_id="shop"))
    store = store_of(table)
    assert found(store.fetch(["shop"])) == ["shop"]
    table.server.kill()
    with pytest.raises(AppStoreUnavailable, match="refused"):
        store.fetch(["shop"])
    table.server.start()
    assert found(store.fetch(["shop"])) == ["shop"]
    table.server.kill()
    table.server.start()
    assert found(store.fetch(["shop"])) == ["shop"]


def test_a_server_that_hangs_is_given_up_in_time(
    mariadb: Mariadb, store_of: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "ANSWER_SECONDS", 0.5)
    table = MariadbTable(mariadb, "5.0").create()
    table.put(app(app_id="shop"))
    kept, new = store_of(table), store_of(table)
    kept.fetch(["shop"])
    mariadb.pause()
    try:
        for store in (kept, new):
            began = time.monotonic()
            with pytest.raises(AppStoreUnavailable, match=r"no answer within 0\.5 s"):
                store.fetch(["shop"])
            assert time.monotonic() - began < 2.5
    finally:
        mariadb.resume()
    assert found(kept.fetch(["shop"])) == ["shop"]


@pytest.mark.usefixtures(COLLECTED)
@pytest.mark.filterwarnings(LEFT_SOCKETS)
@pytest.mark.parametrize("kind", ["pgsql", "mysql", "dynamodb"])
def test_server_that_is_not_a_database_is_reported(
    receiver: Receiver, store_of: MakeStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sql, "ANSWER_SECONDS", 0.5)
    receiver.answer(lambda request, nth: Answer(body=b"CANARY"))
    places = {
        "pgsql": {"DATABASE_POSTGRES_HOST": "127.0.0.1", "DATABASE_POSTGRES_PORT": str(receiver.port)},
        "mysql": {"DATABASE_MYSQL_HOST": "127.0.0.1", "DATABASE_MYSQL_PORT": str(receiver.port)},
        "dynamodb": {
            "DATABASE_DYNAMODB_ENDPOINT_URL": receiver.url(),
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
        },
    }
    store = store_of(None, APP_MANAGER_DRIVER=kind, **places[kind])
    with pytest.raises(AppStoreUnavailable, match=r"no answer within|does not speak") as caught:
        store.fetch(["shop"])
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("column", ["policy", "webhooks"])
def test_column_above_the_ceiling_stays_in_the_database(
    make_table: MakeTable, store_of: MakeStore, column: str
) -> None:
    table = make_table()
    text = json.dumps({"webhooks": ["x" * 90_000]} if column == "policy" else ["x" * 90_000])
    table.put_raw("large", **{column: text})
    table.put(app(webhook("https://a.test/"), app_id="shop"))
    settings = {"QUEUE_LIMITS_APP_BYTES": "50000"}
    large, shop = sorted(store_of(table, **settings).fetch(["large", "shop"]), key=lambda row: row.id)
    assert len(read_row(shop, DEFAULTS).webhooks) == 1
    if not isinstance(table, DynamodbTable):  # which has no way to ask for the size, and 400 KB for a whole item
        assert (large.policy, large.webhooks) == (None, None)
        assert large.size > 90_000
    read = read_row(large, DEFAULTS)
    assert (read.webhooks, read.is_over_ceiling) == ((), True)
    (row,) = store_of(table).fetch(["large"])  # with the default it is below the ceiling
    assert row.size == 0
    assert len(str(row.policy or row.webhooks)) > 90_000


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_answer_of_another_query_is_not_taken(kind: str, request: pytest.FixtureRequest, store_of: MakeStore) -> None:
    table = table_on(request, kind)
    for app_id in ("a", "b"):
        table.put(app(app_id=app_id))
    store = store_of(table)
    assert isinstance(store, sql.SqlStore)
    assert found(store.fetch(["a"])) == ["a"]
    query = f"SELECT id, 0 FROM {table.name} WHERE id = 'a'"
    if kind == "mariadb":
        store._connection._execute_command(COM_QUERY, query)
    else:
        store._connection._sock.write(b"Q" + struct.pack("!i", len(query) + 5) + query.encode() + b"\0")
        store._connection._sock.flush()
    assert found(store.fetch(["b"])) == ["b"]
    assert found(store.fetch(["a"])) == ["a"]


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
@pytest.mark.parametrize("error", [TypeError("odd"), AssertionError("odd"), AttributeError("odd")])
def test_library_that_fails_at_an_answer_loses_its_connection(
    kind: str, error: Exception, request: pytest.FixtureRequest, store_of: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(table_on(request, kind))
    assert isinstance(store, sql.SqlStore)
    store.fetch(["a"])

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as context:
        context.setattr(store, "_select", fail)
        with pytest.raises(AppStoreUnavailable, match="does not belong to the query"):
            store.fetch(["a"])
    assert store._connection is None
    assert store.fetch(["a"]) == []
