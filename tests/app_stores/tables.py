"""Tables of apps as releases of Sockudo make them, and apps as those write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.helpers.databases import Dynamodb, Mariadb, Postgres

RELEASES: Final = ("2.9", "4.7", "5.0")
SECRET: Final = "CANARY-app-secret"
# Columns of every release besides the id; the daemon does not use them.
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

    def put_raw(self, app_id: str, **texts: str | None) -> None:
        """Write a row with these texts in `webhooks` and `policy`, whatever they are."""

    def remove(self, app_id: str) -> None:
        """Delete an app."""

    def environment(self) -> dict[str, str]:
        """Return the variables that let a daemon read this table."""


def webhooks_of(app: Mapping[str, Any]) -> list[Any] | None:
    policy: Mapping[str, Any] = app.get("policy") or app
    webhooks: list[Any] | None = policy.get("webhooks") or None
    return webhooks


@dataclass(frozen=True)
class PostgresTable:
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
        self.put_raw(app["id"], **_json_columns(app, self.release))

    def put_raw(self, app_id: str, **texts: str | None) -> None:
        values = {"id": app_id, "key": f"key of {app_id}", "secret": SECRET, **texts}
        places = [f"CAST(:{name} AS jsonb)" if name in texts else f":{name}" for name in values]
        self.remove(app_id)
        self.server.run(f"INSERT INTO {self.name} ({', '.join(values)}) VALUES ({', '.join(places)})", **values)

    def remove(self, app_id: str) -> None:
        self.server.run(f"DELETE FROM {self.name} WHERE id = :id", id=app_id)

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
        self.put_raw(app["id"], **_json_columns(app, self.release))

    def put_raw(self, app_id: str, **texts: str | None) -> None:
        values = {"id": app_id, "key": f"key of {app_id}", "secret": SECRET, **texts}
        names = ", ".join(f"`{name}`" for name in values)
        places = ", ".join(["%s"] * len(values))
        self.server.run(f"REPLACE INTO `{self.name}` ({names}) VALUES ({places})", list(values.values()))

    def remove(self, app_id: str) -> None:
        self.server.run(f"DELETE FROM `{self.name}` WHERE id = %s", [app_id])

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
        columns = _json_columns(app, self.release)
        if self.release == "2.9":
            texts = {"webhooks": columns["webhooks"]} if webhooks_of(app) else {}
        else:
            texts = {"policy": columns["policy"]}
        self.put_raw(app["id"], **texts)

    def put_raw(self, app_id: str, **texts: str | None) -> None:
        item: dict[str, Any] = {"id": {"S": app_id}, "key": {"S": f"key of {app_id}"}, "secret": {"S": SECRET}}
        item |= {"enabled": {"BOOL": True}, "max_connections": {"N": "100"}}
        item |= {name: {"NULL": True} if text is None else {"S": text} for name, text in texts.items()}
        self.server.client().put_item(TableName=self.name, Item=item)

    def remove(self, app_id: str) -> None:
        self.server.client().delete_item(TableName=self.name, Key={"id": {"S": app_id}})

    def environment(self) -> dict[str, str]:
        return self.server.environment(self.name)


def _json_columns(app: Mapping[str, Any], release: str) -> dict[str, str]:
    """Return the texts of the columns: before 4.0 the flat one, since then both, and null for "no webhooks"."""
    webhooks = webhooks_of(app)
    if release == "2.9":
        return {"webhooks": json.dumps(webhooks)}
    policy = {"limits": {"max_connections": 100}, "features": {}, "channels": {}, "webhooks": webhooks}
    return {"webhooks": json.dumps(webhooks), "policy": json.dumps(policy)}
