"""Settings of the app store and of the databases that can hold it."""

from typing import Annotated, Literal

from pydantic import Field

from sockudo_queue.config.models.group import SettingInfo, SettingsGroup
from sockudo_queue.config.values import (
    AppsDriver,
    Boolean,
    Host,
    HttpUrl,
    Lower,
    MysqlTable,
    Name,
    PostgresTable,
    SecretText,
    Whole,
)


class AppsSettings(SettingsGroup):
    """The store of Sockudo's apps, and how long they are cached."""

    driver: Annotated[
        Literal["memory", "mysql", "pgsql", "dynamodb", "scylladb", "surrealdb"],
        AppsDriver,
        SettingInfo(
            "app_manager.driver",
            "APP_MANAGER_DRIVER",
            "Where Sockudo stores apps besides the file: memory (nowhere), mysql (also for MariaDB), pgsql or "
            "dynamodb.",
            example="pgsql",
        ),
    ] = "memory"
    cache_enabled: Annotated[
        Boolean,
        SettingInfo(
            "app_manager.cache.enabled",
            None,
            "Cache apps for `app_manager.cache.ttl`. If false, they are cached for one second.",
        ),
    ] = True
    cache_ttl: Annotated[
        Whole,
        SettingInfo(
            "app_manager.cache.ttl",
            "CACHE_TTL_SECONDS",
            "Time after which an app is read again, and so the maximum delay until a change of its webhooks takes "
            "effect. 0 means 1.",
        ),
    ] = Field(300, ge=0, le=86_400)
    cache_capacity: Annotated[
        Whole,
        SettingInfo(
            "queue.apps.cache_capacity",
            "QUEUE_APPS_CACHE_CAPACITY",
            "Maximum number of cached apps. Above it, the least recently used ones are dropped, and read again when "
            "needed.",
        ),
    ] = Field(20_000, ge=100, le=1_000_000)


class DatabaseSettings(SettingsGroup):
    """A database with a table of apps. Sockudo has one structure, and so one set of defaults, for both kinds."""

    host: Annotated[Host, SettingInfo(".host", "_HOST", "Host of the {peer} server.")] = "localhost"
    port: Annotated[Whole, SettingInfo(".port", "_PORT", "Port of the server.")] = Field(3_306, ge=1, le=65_535)
    username: Annotated[Name, SettingInfo(".username", "_USERNAME", "User name; read access is enough.")] = "root"
    password: Annotated[
        SecretText | None, SettingInfo(".password", "_PASSWORD", "Password.", example="s3cret", secret=True)
    ] = None
    database: Annotated[Name, SettingInfo(".database", "_DATABASE", "Name of the database.")] = "sockudo"
    table_name: str = "applications"
    ssl_mode: Annotated[
        Literal["prefer", "disable", "require", "verify-full"],
        Lower,
        SettingInfo(
            ".ssl_mode",
            "_SSL_MODE",
            "TLS mode: prefer (if the server supports it), disable, require (the certificate is not verified) or "
            "verify-full.",
        ),
    ] = "prefer"
    ssl_ca: Annotated[
        Name | None,
        SettingInfo(
            ".ssl_ca",
            "_SSL_CA",
            "Certificate authority to trust with verify-full instead of the system's.",
            example="/etc/tls/ca.pem",
        ),
    ] = None
    allow_cleartext_password: Annotated[
        Boolean,
        SettingInfo(
            ".allow_cleartext_password",
            "_ALLOW_CLEARTEXT_PASSWORD",
            "Send the password in clear text to a server that asks for it, even if ssl_mode is not verify-full.",
        ),
    ] = False


class MysqlSettings(DatabaseSettings):
    """MySQL or MariaDB."""

    table_name: Annotated[MysqlTable, SettingInfo(".table_name", "_TABLE_NAME", "Name of the table of apps.")] = (
        "applications"
    )


class PostgresSettings(DatabaseSettings):
    """PostgreSQL."""

    table_name: Annotated[PostgresTable, SettingInfo(".table_name", None, "Name of the table of apps.")] = (
        "applications"
    )


class DynamodbSettings(SettingsGroup):
    """Amazon DynamoDB. Without keys here, the usual AWS credential sources are used."""

    region: Annotated[Name, SettingInfo("database.dynamodb.region", "DATABASE_DYNAMODB_REGION", "AWS region.")] = (
        "us-east-1"
    )
    table_name: Annotated[
        Name, SettingInfo("database.dynamodb.table_name", "DATABASE_DYNAMODB_TABLE_NAME", "Name of the table of apps.")
    ] = "sockudo-applications"
    endpoint_url: Annotated[
        HttpUrl | None,
        SettingInfo(
            "database.dynamodb.endpoint_url",
            "DATABASE_DYNAMODB_ENDPOINT_URL",
            "URL of another service with the DynamoDB API.",
            example="http://localhost:8000",
        ),
    ] = None
    aws_access_key_id: Annotated[
        SecretText | None,
        SettingInfo(
            "database.dynamodb.aws_access_key_id",
            "AWS_ACCESS_KEY_ID",
            "Access key. If unset, the usual AWS credential sources are used.",
            example="AKIAEXAMPLE",
            secret=True,
        ),
    ] = None
    aws_secret_access_key: Annotated[
        SecretText | None,
        SettingInfo(
            "database.dynamodb.aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "Secret of the access key.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    aws_session_token: Annotated[
        SecretText | None,
        SettingInfo(
            "database.dynamodb.aws_session_token",
            "AWS_SESSION_TOKEN",
            "Session token of a temporary key.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    aws_profile_name: Annotated[
        Name | None,
        SettingInfo(
            "database.dynamodb.aws_profile_name",
            None,
            "Profile in the AWS configuration files, if no key is set.",
            example="production",
        ),
    ] = None
