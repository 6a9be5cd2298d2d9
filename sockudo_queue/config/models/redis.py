"""Settings of Redis: one server, its Sentinels, a cluster."""

from typing import Annotated, Literal

from pydantic import Field

from sockudo_queue.config.models.group import DAY_MS, MAX_WORKERS, GroupInfo, SettingInfo, SettingsGroup
from sockudo_queue.config.values import (
    AddressMapping,
    Boolean,
    Host,
    Lower,
    Name,
    Node,
    Prefix,
    RedisUrl,
    SecretText,
    Texts,
    Whole,
)
from sockudo_queue.core.ports import REDIS_PORT
from sockudo_queue.core.secret import Secret


class TlsSettings(SettingsGroup):
    """TLS to a Redis server."""

    enabled: Annotated[Boolean, SettingInfo(".enabled", "_ENABLED", "Use TLS for connections to the {peer}.")] = False
    accept_invalid_certs: Annotated[
        Boolean,
        SettingInfo(
            ".accept_invalid_certs",
            "_ACCEPT_INVALID_CERTS",
            "Accept any certificate. For tests only: an attacker on the network path can read and change every job.",
            aliases=(".acceptInvalidCerts",),
        ),
    ] = False
    ca_path: Annotated[
        Name | None,
        SettingInfo(
            ".ca_path", "_CA_PATH", "Certificate authority to trust instead of the system's.", example="/etc/tls/ca.pem"
        ),
    ] = None
    client_cert_path: Annotated[
        Name | None,
        SettingInfo(
            ".client_cert_path", "_CLIENT_CERT_PATH", "Client certificate.", example="/etc/tls/client_cert.pem"
        ),
    ] = None
    client_key_path: Annotated[
        Name | None,
        SettingInfo(
            ".client_key_path", "_CLIENT_KEY_PATH", "Key of the client certificate.", example="/etc/tls/client_key.pem"
        ),
    ] = None


class SentinelNode(SettingsGroup):
    """One Sentinel."""

    host: Host
    port: Whole = Field(26_379, ge=1, le=65_535)


class SentinelSettings(SettingsGroup):
    """The Sentinels that know the Redis master; none means no Sentinel."""

    nodes: Annotated[
        tuple[SentinelNode, ...],
        SettingInfo(
            "database.redis.sentinels", None, "List of Sentinels.", example='[{"host": "sentinel-1", "port": 26379}]'
        ),
    ] = ()
    name: Annotated[Name, SettingInfo("database.redis.name", None, "Name of the master at the Sentinels.")] = "mymaster"
    username: Annotated[
        Name | None,
        SettingInfo(
            "database.redis.sentinel_username",
            "DATABASE_REDIS_SENTINEL_USERNAME",
            "User name for the Sentinels.",
            example="sockudo",
        ),
    ] = None
    password: Annotated[
        SecretText | None,
        SettingInfo(
            "database.redis.sentinel_password",
            "DATABASE_REDIS_SENTINEL_PASSWORD",
            "Password for the Sentinels.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    tls: Annotated[
        TlsSettings, GroupInfo("database.redis.sentinel_tls", "DATABASE_REDIS_SENTINEL_TLS", "Sentinels")
    ] = TlsSettings()


class RedisSettings(SettingsGroup):
    """One Redis server and the lists on it."""

    host: Annotated[
        Host,
        SettingInfo(
            "database.redis.host", "DATABASE_REDIS_HOST", "Host of the Redis server.", example="redis.example.com"
        ),
    ] = "127.0.0.1"
    port: Annotated[Whole, SettingInfo("database.redis.port", "DATABASE_REDIS_PORT", "Port of the Redis server.")] = (
        Field(REDIS_PORT, ge=1, le=65_535)
    )
    db: Annotated[Whole, SettingInfo("database.redis.db", "DATABASE_REDIS_DB", "Database number.")] = Field(
        0, ge=0, le=1_000_000
    )
    username: Annotated[
        Name | None, SettingInfo("database.redis.username", "DATABASE_REDIS_USERNAME", "User name.", example="sockudo")
    ] = None
    password: Annotated[
        SecretText | None,
        SettingInfo("database.redis.password", "DATABASE_REDIS_PASSWORD", "Password.", example="s3cret", secret=True),
    ] = None
    url: Annotated[
        RedisUrl | None,
        SettingInfo(
            "queue.redis.url_override",
            "REDIS_URL",
            "URL of the Redis server. Takes precedence over host, port, database, user, password and Sentinel.",
            example="redis://redis.example.com:6379/0",
            secret=True,
        ),
    ] = None
    prefix: Annotated[
        Prefix,
        SettingInfo(
            "queue.redis.prefix",
            "QUEUE_REDIS_PREFIX",
            "Prefix of the queue's keys. Sockudo appends another colon, so the default results in two.",
        ),
    ] = "sockudo_queue:"
    queue_name: Annotated[
        Name,
        SettingInfo(
            "queue.redis.queue_name",
            "QUEUE_REDIS_QUEUE_NAME",
            "Queue name at the end of the keys. Sockudo always uses `webhooks`.",
        ),
    ] = "webhooks"
    concurrency: Annotated[
        Whole | None,
        SettingInfo(
            "queue.redis.concurrency",
            "QUEUE_REDIS_CONCURRENCY",
            "Sockudo's number of workers. 0 means the default here. Set 0 only for a server up to 4.7: a server from "
            "5.0 on sends no webhooks with 0.",
            example="5",
        ),
    ] = Field(None, ge=0, le=MAX_WORKERS)
    delivery: Annotated[
        Literal["at-least-once", "at-most-once"],
        Lower,
        SettingInfo(
            "queue.redis.delivery",
            "QUEUE_REDIS_DELIVERY",
            "at-least-once, or at-most-once: plain BLPOP, where a crash loses the jobs that were popped.",
        ),
    ] = "at-least-once"
    response_timeout_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.redis.response_timeout_ms",
            "QUEUE_REDIS_RESPONSE_TIMEOUT_MS",
            "Timeout for a reply of the server.",
            zero_means_default=True,
        ),
    ] = Field(5_000, ge=10, le=DAY_MS)
    tls_check_hostname: Annotated[
        Boolean,
        SettingInfo(
            "queue.redis.tls_check_hostname",
            "QUEUE_REDIS_TLS_CHECK_HOSTNAME",
            "Verify that the certificate of a server, node or Sentinel matches its host name. If false, only the "
            "certificate authority is verified.",
        ),
    ] = True


class RedisClusterSettings(SettingsGroup):
    """A Redis Cluster; user and password are for nodes whose URL contains none."""

    nodes: Annotated[
        tuple[Node, ...],
        Texts,
        SettingInfo(
            "queue.redis_cluster.nodes",
            ("REDIS_CLUSTER_NODES", "DATABASE_REDIS_CLUSTER_NODES"),
            "Some nodes of the cluster; the others are discovered. If unset or empty, `database.redis.cluster.nodes` "
            "or `database.redis.cluster_nodes` is used.",
            example="redis://10.0.0.1:6379,redis://10.0.0.2:6379",
            secret=True,
        ),
    ] = (Secret("redis://127.0.0.1:6379"),)
    username: Annotated[
        Name | None,
        SettingInfo(
            "database.redis.cluster.username",
            "DATABASE_REDIS_CLUSTER_USERNAME",
            "User name for nodes whose URL contains no login. If unset, `database.redis.username` is used.",
            example="sockudo",
        ),
    ] = None
    password: Annotated[
        SecretText | None,
        SettingInfo(
            "database.redis.cluster.password",
            "DATABASE_REDIS_CLUSTER_PASSWORD",
            "Password for nodes whose URL contains no login. If unset, `database.redis.password` is used.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    use_tls: Annotated[
        Boolean,
        SettingInfo(
            "database.redis.cluster.use_tls",
            "DATABASE_REDIS_CLUSTER_USE_TLS",
            "Use TLS for nodes whose URL does not ask for it.",
            aliases=("database.redis.cluster.useTLS",),
        ),
    ] = False
    address_map: Annotated[
        tuple[AddressMapping, ...],
        Texts,
        SettingInfo(
            "queue.redis_cluster.address_map",
            "QUEUE_REDIS_CLUSTER_ADDRESS_MAP",
            "Reachable addresses of nodes whose announced addresses are not reachable, for example behind a proxy or "
            "NAT.",
            example="10.0.0.1:6379=redis.example.com:7001",
        ),
    ] = ()
    prefix: Annotated[
        Prefix, SettingInfo("queue.redis_cluster.prefix", "REDIS_CLUSTER_QUEUE_PREFIX", "As for one Redis server.")
    ] = "sockudo_queue:"
    concurrency: Annotated[
        Whole | None,
        SettingInfo(
            "queue.redis_cluster.concurrency",
            "REDIS_CLUSTER_QUEUE_CONCURRENCY",
            "As for one Redis server.",
            example="5",
        ),
    ] = Field(None, ge=0, le=MAX_WORKERS)
    request_timeout_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.redis_cluster.request_timeout_ms",
            "REDIS_CLUSTER_QUEUE_REQUEST_TIMEOUT_MS",
            "Timeout for a reply of a node.",
            zero_means_default=True,
        ),
    ] = Field(5_000, ge=10, le=DAY_MS)
