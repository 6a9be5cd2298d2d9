"""Tables of apps as releases of Sockudo make them, and apps as those write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.helpers.databases import Dynamodb, Mariadb, Postgres

RELEASES: Final = ("2.9", "4.7", "5.0")
# Columns that stand in every release, besides the id; what is in them is of no interest to the daemon.
_LIMITS: Final = (
    "max_backend_events_per_second",
    "max_read_requests_per_second",
    "max_presence_members_per_channel",
    "max_presence_member_size_in_kb",
    "max_channel_name_length",
    "max_event_channels_at_once",
    "max_event_name_length",
    "max_event_payload_in_kb",
    "max_event_batch_size",
)
_LATER: Final = ("channel_delta_compression", "idempotency", "connection_recovery", "policy")


class Table(Protocol):
    """One table that Sockudo of one release keeps."""

    def put(self, app: Mapping[str, Any]) -> None:
        """Write an app, given in the form of the file, as that release does, over what is there."""

    def environment(self) -> dict[str, str]: ...


def nested(headers: Mapping[str, str] | None) -> Mapping[str, Any] | None:
    """Return headers as releases 3.0.0 to 4.4.0 stored them."""
    return None if headers is None else {"headers": headers}


def webhooks_of(app: Mapping[str, Any]) -> list[Any] | None:
    policy: Mapping[str, Any] = app.get("policy") or app
    webhooks: list[Any] | None = policy.get("webhooks") or None
    return webhooks


@dataclass(frozen=True)
class PostgresTable:
    """`release` None makes a table of before webhooks, without their column."""

    server: Postgres
    release: str
    name: str = "applications"

    def create(self) -> PostgresTable:
        columns = [
            "id VARCHAR(255) PRIMARY KEY",
            "key VARCHAR(255) UNIQUE NOT NULL",
            "secret VARCHAR(255) NOT NULL",
            "enabled BOOLEAN NOT NULL DEFAULT TRUE",
            "max_connections INTEGER NOT NULL DEFAULT 0",
            *(f"{name} INTEGER" for name in _LIMITS),
            "webhooks JSONB",
            "allowed_origins JSONB",
            *(f"{name} JSONB" for name in _LATER if self.release != "2.9"),
            "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        ]
        self.server.run(f"DROP TABLE IF EXISTS {self.name}")
        self.server.run(f"CREATE TABLE {self.name} ({', '.join(columns)})")
        return self

    def put(self, app: Mapping[str, Any]) -> None:
        values = {"id": app["id"], "key": app["key"], "secret": app["secret"], **_json_columns(app, self.release)}
        places = [f"CAST(:{name} AS jsonb)" if name in ("webhooks", "policy") else f":{name}" for name in values]
        self.server.run(f"DELETE FROM {self.name} WHERE id = :id", id=app["id"])
        self.server.run(f"INSERT INTO {self.name} ({', '.join(values)}) VALUES ({', '.join(places)})", **values)

    def environment(self) -> dict[str, str]:
        return self.server.environment(self.name)


@dataclass(frozen=True)
class MariadbTable:
    server: Mariadb
    release: str
    name: str = "applications"

    def create(self) -> MariadbTable:
        columns = [
            "id VARCHAR(255) PRIMARY KEY",
            "`key` VARCHAR(255) UNIQUE NOT NULL",
            "secret VARCHAR(255) NOT NULL",
            "enabled BOOLEAN NOT NULL DEFAULT TRUE",
            "max_connections INT UNSIGNED NOT NULL DEFAULT 0",
            *(f"{name} INT UNSIGNED NULL" for name in _LIMITS),
            "webhooks JSON NULL",
            "allowed_origins JSON NULL",
            *(f"{name} JSON NULL" for name in _LATER if self.release != "2.9"),
            "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        ]
        self.server.run(f"DROP TABLE IF EXISTS `{self.name}`")
        kind = "ENGINE=InnoDB CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
        self.server.run(f"CREATE TABLE `{self.name}` ({', '.join(columns)}) {kind}")
        return self

    def put(self, app: Mapping[str, Any]) -> None:
        values = {"id": app["id"], "key": app["key"], "secret": app["secret"], **_json_columns(app, self.release)}
        names = ", ".join(f"`{name}`" for name in values)
        places = ", ".join(["%s"] * len(values))
        self.server.run(f"REPLACE INTO `{self.name}` ({names}) VALUES ({places})", list(values.values()))

    def environment(self) -> dict[str, str]:
        return self.server.environment(self.name)


@dataclass(frozen=True)
class DynamodbTable:
    server: Dynamodb
    release: str
    name: str = "sockudo-applications"

    def create(self) -> DynamodbTable:
        client = self.server.client()
        if self.name in client.list_tables()["TableNames"]:
            client.delete_table(TableName=self.name)
        client.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return self

    def put(self, app: Mapping[str, Any]) -> None:
        item: dict[str, Any] = {name: {"S": app[name]} for name in ("id", "key", "secret")}
        item["enabled"] = {"BOOL": True}
        columns = _json_columns(app, self.release)
        if self.release == "2.9":
            item["max_connections"] = {"N": "100"}
            if webhooks_of(app) is not None:
                item["webhooks"] = {"S": columns["webhooks"]}
        else:
            item["policy"] = {"S": columns["policy"]}
        self.server.client().put_item(TableName=self.name, Item=item)

    def environment(self) -> dict[str, str]:
        return self.server.environment(self.name)


def put_all(table: Table, apps: Iterable[Mapping[str, Any]]) -> None:
    for app in apps:
        table.put(app)


def _json_columns(app: Mapping[str, Any], release: str) -> dict[str, str]:
    """Return the texts of the columns: before 4.0 the flat one, since then both, and null for "no webhooks"."""
    webhooks = webhooks_of(app)
    if release == "2.9":
        return {"webhooks": json.dumps(webhooks)}
    policy = {"limits": {"max_connections": 100}, "features": {}, "channels": {}, "webhooks": webhooks}
    return {"webhooks": json.dumps(webhooks), "policy": json.dumps(policy)}
