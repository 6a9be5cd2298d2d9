"""The one table of settings: what each is called in a file and in the environment, and what it means.

Types, defaults and bounds belong to the models; this table adds the names. The settings page and
`config.example.json` are checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. Paths are dotted; of several variables a later one wins, as in Sockudo."""

    attribute: str
    key: str
    variables: tuple[str, ...]
    meaning: str
    example: str = ""  # shown in an error; the default where this is empty
    secret: bool = False
    zero_means_default: bool = False  # Sockudo's 0 for "no deadline"; every wait is bounded here
    aliases: tuple[str, ...] = ()  # other spellings of the key that Sockudo takes

    @property
    def keys(self) -> tuple[str, ...]:
        """Return every spelling of the key."""
        return (self.key, *self.aliases)


def _tls(attribute: str, key: str, variable: str, peer: str) -> Iterator[Option]:
    yield Option(
        f"{attribute}.enabled", f"{key}.enabled", (f"{variable}_ENABLED",), f"Use TLS for connections to the {peer}."
    )
    yield Option(
        f"{attribute}.accept_invalid_certs",
        f"{key}.accept_invalid_certs",
        (f"{variable}_ACCEPT_INVALID_CERTS",),
        "Accept any certificate. For tests only: an attacker on the network path can read and change every job.",
        aliases=(f"{key}.acceptInvalidCerts",),
    )
    for name, meaning in (
        ("ca_path", "Certificate authority to trust instead of the system's."),
        ("client_cert_path", "Client certificate."),
        ("client_key_path", "Key of the client certificate."),
    ):
        yield Option(
            f"{attribute}.{name}",
            f"{key}.{name}",
            (f"{variable}_{name.upper()}",),
            meaning,
            f"/etc/tls/{name[:-5]}.pem",
        )


QUEUE: Final = (
    Option("driver", "queue.driver", ("QUEUE_DRIVER",), "Kind of queue: redis, redis-cluster, sqs, memory or none."),
    Option(
        "workers",
        "queue.workers",
        ("QUEUE_WORKERS",),
        "Number of jobs processed in parallel, with any driver. Takes precedence over Sockudo's `concurrency` of "
        "the driver.",
    ),
    Option(
        "one_core",
        "queue.one_core",
        ("QUEUE_ONE_CORE",),
        "Keep the threads on one core while they are busy and that core has capacity. This saves a third of the CPU "
        "time.",
    ),
)

REDIS: Final = (
    Option(
        "redis.host", "database.redis.host", ("DATABASE_REDIS_HOST",), "Host of the Redis server.", "redis.example.com"
    ),
    Option("redis.port", "database.redis.port", ("DATABASE_REDIS_PORT",), "Port of the Redis server."),
    Option("redis.db", "database.redis.db", ("DATABASE_REDIS_DB",), "Database number."),
    Option("redis.username", "database.redis.username", ("DATABASE_REDIS_USERNAME",), "User name.", "sockudo"),
    Option(
        "redis.password", "database.redis.password", ("DATABASE_REDIS_PASSWORD",), "Password.", "s3cret", secret=True
    ),
    Option(
        "redis.url",
        "queue.redis.url_override",
        ("REDIS_URL",),
        "URL of the Redis server. Takes precedence over host, port, database, user, password and Sentinel.",
        "redis://redis.example.com:6379/0",
        secret=True,
    ),
    Option(
        "redis.prefix",
        "queue.redis.prefix",
        ("QUEUE_REDIS_PREFIX",),
        "Prefix of the queue's keys. Sockudo appends another colon, so the default results in two.",
    ),
    Option(
        "redis.queue_name",
        "queue.redis.queue_name",
        ("QUEUE_REDIS_QUEUE_NAME",),
        "Queue name at the end of the keys. Sockudo always uses `webhooks`.",
    ),
    Option(
        "redis.concurrency",
        "queue.redis.concurrency",
        ("QUEUE_REDIS_CONCURRENCY",),
        "Sockudo's number of workers. 0 means the default here. Set 0 only for a server up to 4.7: a server from "
        "5.0 on sends no webhooks with 0.",
        "5",
    ),
    Option(
        "redis.delivery",
        "queue.redis.delivery",
        ("QUEUE_REDIS_DELIVERY",),
        "at-least-once, or at-most-once: plain BLPOP, where a crash loses the jobs that were popped.",
    ),
    Option(
        "redis.response_timeout_ms",
        "queue.redis.response_timeout_ms",
        ("QUEUE_REDIS_RESPONSE_TIMEOUT_MS",),
        "Timeout for a reply of the server.",
        zero_means_default=True,
    ),
    Option(
        "redis.tls_check_hostname",
        "queue.redis.tls_check_hostname",
        ("QUEUE_REDIS_TLS_CHECK_HOSTNAME",),
        "Verify that the certificate of a server, node or Sentinel matches its host name. If false, only the "
        "certificate authority is verified.",
    ),
    *_tls("master_tls", "database.redis.master_tls", "DATABASE_REDIS_MASTER_TLS", "Redis server"),
)

SENTINEL: Final = (
    Option(
        "sentinel.nodes",
        "database.redis.sentinels",
        (),
        "List of Sentinels.",
        '[{"host": "sentinel-1", "port": 26379}]',
    ),
    Option("sentinel.name", "database.redis.name", (), "Name of the master at the Sentinels."),
    Option(
        "sentinel.username",
        "database.redis.sentinel_username",
        ("DATABASE_REDIS_SENTINEL_USERNAME",),
        "User name for the Sentinels.",
        "sockudo",
    ),
    Option(
        "sentinel.password",
        "database.redis.sentinel_password",
        ("DATABASE_REDIS_SENTINEL_PASSWORD",),
        "Password for the Sentinels.",
        "s3cret",
        secret=True,
    ),
    *_tls("sentinel.tls", "database.redis.sentinel_tls", "DATABASE_REDIS_SENTINEL_TLS", "Sentinels"),
)

CLUSTER: Final = (
    Option(
        "redis_cluster.nodes",
        "queue.redis_cluster.nodes",
        ("REDIS_CLUSTER_NODES", "DATABASE_REDIS_CLUSTER_NODES"),
        "Some nodes of the cluster; the others are discovered. If unset or empty, `database.redis.cluster.nodes` or "
        "`database.redis.cluster_nodes` is used.",
        "redis://10.0.0.1:6379,redis://10.0.0.2:6379",
        secret=True,
    ),
    Option(
        "redis_cluster.username",
        "database.redis.cluster.username",
        ("DATABASE_REDIS_CLUSTER_USERNAME",),
        "User name for nodes whose URL contains no login. If unset, `database.redis.username` is used.",
        "sockudo",
    ),
    Option(
        "redis_cluster.password",
        "database.redis.cluster.password",
        ("DATABASE_REDIS_CLUSTER_PASSWORD",),
        "Password for nodes whose URL contains no login. If unset, `database.redis.password` is used.",
        "s3cret",
        secret=True,
    ),
    Option(
        "redis_cluster.use_tls",
        "database.redis.cluster.use_tls",
        ("DATABASE_REDIS_CLUSTER_USE_TLS",),
        "Use TLS for nodes whose URL does not ask for it.",
        aliases=("database.redis.cluster.useTLS",),
    ),
    Option(
        "redis_cluster.address_map",
        "queue.redis_cluster.address_map",
        ("QUEUE_REDIS_CLUSTER_ADDRESS_MAP",),
        "Reachable addresses of nodes whose announced addresses are not reachable, for example behind a proxy or NAT.",
        "10.0.0.1:6379=redis.example.com:7001",
    ),
    Option(
        "redis_cluster.prefix",
        "queue.redis_cluster.prefix",
        ("REDIS_CLUSTER_QUEUE_PREFIX",),
        "As for one Redis server.",
    ),
    Option(
        "redis_cluster.concurrency",
        "queue.redis_cluster.concurrency",
        ("REDIS_CLUSTER_QUEUE_CONCURRENCY",),
        "As for one Redis server.",
        "5",
    ),
    Option(
        "redis_cluster.request_timeout_ms",
        "queue.redis_cluster.request_timeout_ms",
        ("REDIS_CLUSTER_QUEUE_REQUEST_TIMEOUT_MS",),
        "Timeout for a reply of a node.",
        zero_means_default=True,
    ),
)

SQS: Final = (
    Option("sqs.region", "queue.sqs.region", ("QUEUE_SQS_REGION",), "AWS region."),
    Option(
        "sqs.queue_url_prefix",
        "queue.sqs.queue_url_prefix",
        (),
        "Prefix of the queue's URL, ending in a slash. The queue's name is appended, and no look-up is made.",
        "https://sqs.us-east-1.amazonaws.com/123456789012/",
    ),
    Option(
        "sqs.endpoint_url",
        "queue.sqs.endpoint_url",
        ("QUEUE_SQS_ENDPOINT_URL",),
        "URL of another service with the SQS API.",
        "http://localhost:4566",
    ),
    Option(
        "sqs.visibility_timeout",
        "queue.sqs.visibility_timeout",
        ("QUEUE_SQS_VISIBILITY_TIMEOUT",),
        "Time for which a received message is hidden from other consumers. Renewed every third of this time while "
        "the message is held.",
    ),
    Option(
        "sqs.max_messages",
        "queue.sqs.max_messages",
        ("QUEUE_SQS_MAX_MESSAGES",),
        "Maximum number of messages per receive call.",
    ),
    Option(
        "sqs.wait_time_seconds",
        "queue.sqs.wait_time_seconds",
        ("QUEUE_SQS_WAIT_TIME_SECONDS",),
        "Time for which a receive call waits for messages.",
    ),
    Option("sqs.concurrency", "queue.sqs.concurrency", ("QUEUE_SQS_CONCURRENCY",), "As for one Redis server.", "5"),
    Option(
        "sqs.fifo", "queue.sqs.fifo", ("QUEUE_SQS_FIFO",), "The queue is a FIFO queue, and its name ends in `.fifo`."
    ),
    Option(
        "sqs.message_group_id",
        "queue.sqs.message_group_id",
        (),
        "Message group of messages that are sent to a FIFO queue.",
    ),
)

MEMORY: Final = (
    Option(
        "memory.max_bytes",
        "queue.memory.max_bytes",
        ("QUEUE_MEMORY_MAX_BYTES",),
        "Maximum size of all jobs in the memory driver. Above it, the oldest ready job is dropped and counted.",
    ),
    Option(
        "memory.ingress_host",
        "queue.memory.ingress_host",
        ("QUEUE_MEMORY_INGRESS_HOST",),
        "Address on which this driver serves `POST /jobs`. Any client that can reach it can add jobs.",
    ),
    Option(
        "memory.ingress_port",
        "queue.memory.ingress_port",
        ("QUEUE_MEMORY_INGRESS_PORT",),
        "Port for `POST /jobs`; 0 selects a free one.",
    ),
)

APPS: Final = (
    Option(
        "apps.driver",
        "app_manager.driver",
        ("APP_MANAGER_DRIVER",),
        "Where Sockudo stores apps besides the file: memory (nowhere), mysql (also for MariaDB), pgsql or dynamodb.",
        "pgsql",
    ),
    Option(
        "apps.cache_enabled",
        "app_manager.cache.enabled",
        (),
        "Cache apps for `app_manager.cache.ttl`. If false, they are cached for one second.",
    ),
    Option(
        "apps.cache_ttl",
        "app_manager.cache.ttl",
        ("CACHE_TTL_SECONDS",),
        "Time after which an app is read again, and so the maximum delay until a change of its webhooks takes "
        "effect. 0 means 1.",
    ),
    Option(
        "apps.cache_capacity",
        "queue.apps.cache_capacity",
        ("QUEUE_APPS_CACHE_CAPACITY",),
        "Maximum number of cached apps. Above it, the least recently used ones are dropped, and read again when "
        "needed.",
    ),
)


def _database(attribute: str, key: str, variable: str, kind: str, table_variables: tuple[str, ...]) -> Iterator[Option]:
    yield Option(f"{attribute}.host", f"{key}.host", (f"{variable}_HOST",), f"Host of the {kind} server.")
    yield Option(f"{attribute}.port", f"{key}.port", (f"{variable}_PORT",), "Port of the server.")
    yield Option(
        f"{attribute}.username", f"{key}.username", (f"{variable}_USERNAME",), "User name; read access is enough."
    )
    yield Option(
        f"{attribute}.password", f"{key}.password", (f"{variable}_PASSWORD",), "Password.", "s3cret", secret=True
    )
    yield Option(f"{attribute}.database", f"{key}.database", (f"{variable}_DATABASE",), "Name of the database.")
    yield Option(f"{attribute}.table_name", f"{key}.table_name", table_variables, "Name of the table of apps.")
    yield Option(
        f"{attribute}.ssl_mode",
        f"{key}.ssl_mode",
        (f"{variable}_SSL_MODE",),
        "TLS mode: prefer (if the server supports it), disable, require (the certificate is not verified) or "
        "verify-full.",
    )
    yield Option(
        f"{attribute}.ssl_ca",
        f"{key}.ssl_ca",
        (f"{variable}_SSL_CA",),
        "Certificate authority to trust with verify-full instead of the system's.",
        "/etc/tls/ca.pem",
    )
    yield Option(
        f"{attribute}.allow_cleartext_password",
        f"{key}.allow_cleartext_password",
        (f"{variable}_ALLOW_CLEARTEXT_PASSWORD",),
        "Send the password in clear text to a server that asks for it, even if ssl_mode is not verify-full.",
    )


# Sockudo's default port and user are MySQL's here too.
POSTGRES: Final = (*_database("postgres", "database.postgres", "DATABASE_POSTGRES", "PostgreSQL", ()),)
MYSQL: Final = (
    *_database("mysql", "database.mysql", "DATABASE_MYSQL", "MySQL or MariaDB", ("DATABASE_MYSQL_TABLE_NAME",)),
)
DYNAMODB: Final = (
    Option("dynamodb.region", "database.dynamodb.region", ("DATABASE_DYNAMODB_REGION",), "AWS region."),
    Option(
        "dynamodb.table_name",
        "database.dynamodb.table_name",
        ("DATABASE_DYNAMODB_TABLE_NAME",),
        "Name of the table of apps.",
    ),
    Option(
        "dynamodb.endpoint_url",
        "database.dynamodb.endpoint_url",
        ("DATABASE_DYNAMODB_ENDPOINT_URL",),
        "URL of another service with the DynamoDB API.",
        "http://localhost:8000",
    ),
    Option(
        "dynamodb.aws_access_key_id",
        "database.dynamodb.aws_access_key_id",
        ("AWS_ACCESS_KEY_ID",),
        "Access key. If unset, the usual AWS credential sources are used.",
        "AKIAEXAMPLE",
        secret=True,
    ),
    Option(
        "dynamodb.aws_secret_access_key",
        "database.dynamodb.aws_secret_access_key",
        ("AWS_SECRET_ACCESS_KEY",),
        "Secret of the access key.",
        "s3cret",
        secret=True,
    ),
    Option(
        "dynamodb.aws_session_token",
        "database.dynamodb.aws_session_token",
        ("AWS_SESSION_TOKEN",),
        "Session token of a temporary key.",
        "s3cret",
        secret=True,
    ),
    Option(
        "dynamodb.aws_profile_name",
        "database.dynamodb.aws_profile_name",
        (),
        "Profile in the AWS configuration files, if no key is set.",
        "production",
    ),
)

RELIABILITY: Final = (
    Option(
        "reliability.max_attempts",
        "queue.reliability.max_attempts",
        ("QUEUE_MAX_ATTEMPTS",),
        "Number of claims of a job that may end with a lost worker before the job becomes a dead letter. Attempts "
        "at an endpoint are not counted here.",
    ),
    Option(
        "reliability.lease_duration_ms",
        "queue.reliability.lease_duration_ms",
        ("QUEUE_LEASE_DURATION_MS",),
        "Time after which a claim that is not renewed goes to another worker.",
    ),
    Option(
        "reliability.lease_renew_interval_ms",
        "queue.reliability.lease_renew_interval_ms",
        ("QUEUE_LEASE_RENEW_INTERVAL_MS",),
        "Interval between renewals; must be shorter than the lease.",
    ),
    Option(
        "reliability.failed_retention",
        "queue.reliability.failed_retention",
        ("QUEUE_FAILED_RETENTION",),
        "Maximum number of dead letters. Above it, the oldest is dropped and counted.",
    ),
    Option(
        "reliability.completed_retention",
        "queue.reliability.completed_retention",
        ("QUEUE_COMPLETED_RETENTION",),
        "Number of delivered jobs that Queue V2 keeps to recognise a job that a producer enqueues twice.",
    ),
    Option(
        "reliability.event_retention",
        "queue.reliability.event_retention",
        ("QUEUE_EVENT_RETENTION",),
        "Number of entries that Queue V2 keeps in its event stream, if Sockudo keeps one.",
    ),
    Option(
        "reliability.failed_max_age_ms",
        "queue.reliability.failed_max_age_ms",
        ("QUEUE_FAILED_MAX_AGE_MS",),
        "Age at which a dead letter is dropped and counted. 0 means no age limit.",
        "2592000000",
    ),
    Option(
        "reliability.shutdown_timeout_ms",
        "queue.reliability.shutdown_timeout_ms",
        ("QUEUE_SHUTDOWN_TIMEOUT_MS",),
        "Time for deliveries in flight to finish after SIGTERM. Unfinished ones go back to the queue. Set the "
        "supervisor's grace period 5 s longer.",
    ),
    Option(
        "reliability.memory_capacity",
        "queue.reliability.memory_capacity",
        ("QUEUE_MEMORY_CAPACITY",),
        "Maximum number of jobs in the memory driver, in all states. Above it, the oldest ready job is dropped and "
        "counted.",
    ),
)

RETRY: Final = (
    Option("retry.enabled", "webhooks.retry.enabled", ("QUEUE_DELIVERY_RETRY_ENABLED",), "Retry failed attempts."),
    Option(
        "retry.max_attempts",
        "webhooks.retry.max_attempts",
        ("QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS",),
        "Maximum number of attempts per webhook, including the first. If unset, only the time is limited.",
        "6",
    ),
    Option(
        "retry.max_elapsed_time_ms",
        "webhooks.retry.max_elapsed_time_ms",
        ("QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS",),
        "Time after the first attempt within which the last one must start.",
    ),
    Option(
        "retry.initial_backoff_ms",
        "webhooks.retry.initial_backoff_ms",
        ("QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS",),
        "Delay before the second attempt. It doubles with each further attempt.",
    ),
    Option(
        "retry.max_backoff_ms",
        "webhooks.retry.max_backoff_ms",
        ("QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS",),
        "Maximum delay between two attempts.",
    ),
    Option(
        "retry.jitter",
        "queue.reliability.retry_jitter",
        ("QUEUE_RETRY_JITTER",),
        "Random variation of each delay, as a fraction from 0 to 1.",
    ),
)

DELIVERY: Final = (
    Option(
        "delivery.request_timeout_ms",
        "webhooks.request_timeout_ms",
        ("QUEUE_DELIVERY_REQUEST_TIMEOUT_MS",),
        "Time limit of one attempt, from the DNS look-up to the last byte of the answer.",
    ),
    Option(
        "delivery.slow_ms",
        "queue.delivery.slow_ms",
        ("QUEUE_DELIVERY_SLOW_MS",),
        "Time after which a slow attempt releases its worker's slot and continues outside it.",
    ),
    Option(
        "delivery.max_slow",
        "queue.delivery.max_slow",
        ("QUEUE_DELIVERY_MAX_SLOW",),
        "Maximum number of such attempts, and so of threads in addition to the workers.",
    ),
    Option(
        "delivery.max_response_bytes",
        "queue.delivery.max_response_bytes",
        ("QUEUE_DELIVERY_MAX_RESPONSE_BYTES",),
        "Maximum number of bytes of an answer that are read.",
    ),
    Option(
        "delivery.retry_every_status",
        "queue.delivery.retry_every_status",
        ("QUEUE_DELIVERY_RETRY_EVERY_STATUS",),
        "Retry every status other than 2xx, as Pusher does.",
    ),
    Option(
        "delivery.breaker_failures",
        "queue.delivery.breaker_failures",
        ("QUEUE_DELIVERY_BREAKER_FAILURES",),
        "Consecutive failures that open the circuit breaker of a webhook.",
    ),
    Option(
        "delivery.breaker_open_ms",
        "queue.delivery.breaker_open_ms",
        ("QUEUE_DELIVERY_BREAKER_OPEN_MS",),
        "Time for which the breaker stays open at first. It doubles while the webhook keeps failing.",
    ),
    Option(
        "delivery.breaker_max_open_ms",
        "queue.delivery.breaker_max_open_ms",
        ("QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS",),
        "Maximum time for which the breaker stays open.",
    ),
    Option(
        "delivery.use_environment_proxy",
        "queue.delivery.use_environment_proxy",
        ("QUEUE_DELIVERY_USE_ENVIRONMENT_PROXY",),
        "Use the proxies in HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
    ),
    Option(
        "delivery.trace_baggage",
        "queue.delivery.trace_baggage",
        ("QUEUE_DELIVERY_TRACE_BAGGAGE",),
        "Send the `baggage` of a job's trace context to receivers. It may contain data that they should not see.",
    ),
    Option(
        "delivery.ca_file",
        "queue.delivery.ca_file",
        ("QUEUE_DELIVERY_CA_FILE",),
        "Certificate authorities to trust instead of the built-in ones.",
        "/etc/ssl/certs/ca-certificates.crt",
    ),
    Option(
        "delivery.client_cert_file",
        "queue.delivery.client_cert_file",
        ("QUEUE_DELIVERY_CLIENT_CERT_FILE",),
        "Client certificate for endpoints that require one.",
        "/etc/tls/client.pem",
    ),
    Option(
        "delivery.client_key_file",
        "queue.delivery.client_key_file",
        ("QUEUE_DELIVERY_CLIENT_KEY_FILE",),
        "Key of the client certificate, if it is in another file.",
        "/etc/tls/client-key.pem",
    ),
    Option(
        "delivery.guard",
        "queue.delivery.guard",
        ("QUEUE_DELIVERY_GUARD",),
        "Network guard: refuse connections to link-local addresses, cloud metadata services, the queue's server, "
        "this daemon's own ports, and the addresses denied by the settings below.",
    ),
    Option(
        "delivery.private",
        "queue.delivery.private",
        ("QUEUE_DELIVERY_PRIVATE",),
        "allow, or deny: refuse every address that is not on the public Internet. Use deny if tenants choose "
        "webhook URLs.",
        "deny",
    ),
    Option(
        "delivery.allowed_networks",
        "queue.delivery.allowed_networks",
        ("QUEUE_DELIVERY_ALLOWED_NETWORKS",),
        "Networks that webhooks may reach, even if the guard would refuse them.",
        "10.1.0.0/16",
    ),
    Option(
        "delivery.denied_networks",
        "queue.delivery.denied_networks",
        ("QUEUE_DELIVERY_DENIED_NETWORKS",),
        "Networks that webhooks must not reach.",
        "10.0.0.0/8,fd00::/8",
    ),
    Option(
        "delivery.allowed_ports",
        "queue.delivery.allowed_ports",
        ("QUEUE_DELIVERY_ALLOWED_PORTS",),
        "Ports that webhooks may use. Empty means any.",
        "80,443",
    ),
    Option(
        "delivery.denied_ports",
        "queue.delivery.denied_ports",
        ("QUEUE_DELIVERY_DENIED_PORTS",),
        "Ports that webhooks must not use.",
        "25,22",
    ),
    Option(
        "delivery.allowed_functions",
        "queue.delivery.allowed_functions",
        ("QUEUE_DELIVERY_ALLOWED_FUNCTIONS",),
        "Lambda functions that webhooks may invoke, by the name or ARN in the webhook; `*` matches any text. "
        "Functions are invoked with the daemon's own credentials. If unset, any function is allowed, and with "
        "`QUEUE_DELIVERY_PRIVATE=deny` no function.",
        "on-webhook,arn:aws:lambda:eu-west-1:123456789012:function:hooks-*",
    ),
)

LIMITS: Final = tuple(
    Option(f"limits.{name}", f"queue.limits.{name}", (f"QUEUE_LIMITS_{name.upper()}",), meaning)
    for name, meaning in (
        ("job_bytes", "Size of a job. Above it: dead letter `unreadable`."),
        ("job_events", "Number of events of a job. Above it: dead letter `unreadable`."),
        ("channel_bytes", "Length of a channel name in a job. Above it: dead letter `unreadable`."),
        (
            "in_flight_bytes",
            "Total size of large jobs (above 256 KB) in flight; they need four times as much memory. One large job "
            "is always allowed. An app above its fair share leaves a quarter to other apps. Above it: the job "
            "waits, which does not count as an attempt.",
        ),
        (
            "webhooks_per_app",
            "Number of webhooks of an app. Above it: further webhooks in the list are invalid. Above twice the "
            "number: the whole app exceeds its limit.",
        ),
        (
            "app_bytes",
            "Size of an app's `policy` or `webhooks` in a database. Above it: the whole app exceeds its limit.",
        ),
        (
            "app_cache_bytes",
            "Total size of cached database rows of apps; they need about five times as much memory. Above it: the "
            "least recently used ones are dropped, and read again when needed.",
        ),
        (
            "pattern_kib",
            "Compiled size of a `channel_pattern`, estimated from its text: 1 KiB per character, 4 per `.`, 16 per "
            "`\\d`, 64 per `\\w`, times its repetitions. Above it: the webhook is invalid.",
        ),
        (
            "app_patterns_kib",
            "The same, for all distinct patterns of an app together. Above it: webhooks with further patterns are "
            "invalid.",
        ),
        (
            "pattern_cache_kib",
            "The same, for all patterns in the cache of compiled patterns. Above it: the oldest is removed, and "
            "compiled again when it is used.",
        ),
        (
            "header_bytes",
            "Total size of the names and values of a webhook's headers. Above it: the webhook is invalid.",
        ),
        (
            "request_timeout_ms",
            "Maximum `request_timeout_ms` of a webhook. The daemon's own value is allowed even if it is larger. "
            "Above it: the webhook is invalid.",
        ),
        (
            "retry_elapsed_time_ms",
            "Maximum `retry.max_elapsed_time_ms` of a webhook. The daemon's own value is allowed even if it is "
            "larger. Above it: the webhook is invalid.",
        ),
        (
            "retry_backoff_ms",
            "Minimum `retry.initial_backoff_ms` and `retry.max_backoff_ms` of a webhook. The daemon's own value is "
            "allowed even if it is smaller. Smaller values of a webhook are raised to it.",
        ),
    )
)

HISTORY: Final = (
    Option(
        "history.mode",
        "queue.history.mode",
        ("QUEUE_HISTORY",),
        "Attempts that the history records: off, failures (and the delivery that follows them) or all.",
    ),
    Option(
        "history.length",
        "queue.history.length",
        ("QUEUE_HISTORY_LENGTH",),
        "Maximum number of entries per form of the queue. On average an entry takes at most 300 bytes.",
    ),
    Option(
        "history.channels",
        "queue.history.channels",
        ("QUEUE_HISTORY_CHANNELS",),
        "Record the names of channels, which can be personal data.",
    ),
)

ALERTS: Final = (
    Option(
        "alerts.url",
        "queue.alerts.url",
        ("QUEUE_ALERT_URL",),
        "Your own URL that gets a signed POST when a breaker opens or closes, dead letters begin, or something is "
        "lost; see alerts.md.",
        "https://alerts.example.com/sockudo",
        secret=True,
    ),
    Option(
        "alerts.secret",
        "queue.alerts.secret",
        ("QUEUE_ALERT_SECRET",),
        "Secret that signs these requests (Standard Webhooks): `whsec_` and the base64 form of 24 to 64 random bytes.",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        secret=True,
    ),
    Option(
        "alerts.reminder_ms",
        "queue.alerts.reminder_ms",
        ("QUEUE_ALERT_REMINDER_MS",),
        "Shortest time between two alerts about dead letters of one webhook, or about one kind of loss.",
    ),
)

OBSERVATION: Final = (
    Option(
        "metrics.enabled",
        "queue.metrics.enabled",
        ("QUEUE_METRICS_ENABLED",),
        "Serve /metrics, /livez and /readyz.",
    ),
    Option(
        "metrics.status_page",
        "queue.metrics.status_page",
        ("QUEUE_METRICS_STATUS_PAGE",),
        "Also serve the status page, at / and as JSON at /status.json. It shows names and figures, but no secrets.",
    ),
    Option(
        "metrics.host",
        "queue.metrics.host",
        ("QUEUE_METRICS_HOST",),
        "Address to listen on; `::` means all IPv6 addresses.",
    ),
    Option("metrics.port", "queue.metrics.port", ("QUEUE_METRICS_PORT",), "Port to listen on; 0 selects a free one."),
    Option(
        "metrics.username",
        "queue.metrics.username",
        ("QUEUE_METRICS_USERNAME",),
        "User name for /metrics and the status page (HTTP basic authentication).",
    ),
    Option(
        "metrics.password",
        "queue.metrics.password",
        ("QUEUE_METRICS_PASSWORD",),
        "Password of that user. Without a password and a token, no login is required.",
        "s3cret",
        secret=True,
    ),
    Option(
        "metrics.token",
        "queue.metrics.token",
        ("QUEUE_METRICS_TOKEN",),
        "Bearer token for /metrics and the status page. Can be used instead of a password or together with one.",
        "s3cret",
        secret=True,
    ),
    Option(
        "metrics.login_for_metrics",
        "queue.metrics.login_for_metrics",
        ("QUEUE_METRICS_LOGIN_FOR_METRICS",),
        "If a login is set, require it for /metrics too. /livez and /readyz never require it.",
    ),
    Option(
        "metrics.tls_cert_file",
        "queue.metrics.tls_cert_file",
        ("QUEUE_METRICS_TLS_CERT_FILE",),
        "Certificate chain for HTTPS; unset means HTTP. A changed file is read again within 10 s.",
        "/etc/tls/metrics.pem",
    ),
    Option(
        "metrics.tls_key_file",
        "queue.metrics.tls_key_file",
        ("QUEUE_METRICS_TLS_KEY_FILE",),
        "Key of the certificate, without a password. If unset, the key is read from the certificate's file.",
        "/etc/tls/metrics-key.pem",
    ),
    Option(
        "logging.level",
        "queue.logging.level",
        ("QUEUE_LOG_LEVEL",),
        "Minimum level of log lines: debug, info, warning or error.",
    ),
    Option(
        "logging.format",
        "queue.logging.format",
        ("QUEUE_LOG_FORMAT",),
        "json, pretty, or auto: pretty on a terminal, JSON elsewhere.",
    ),
)

OPTIONS: Final = (
    *QUEUE,
    *REDIS,
    *SENTINEL,
    *CLUSTER,
    *SQS,
    *MEMORY,
    *APPS,
    *POSTGRES,
    *MYSQL,
    *DYNAMODB,
    *RELIABILITY,
    *RETRY,
    *DELIVERY,
    *LIMITS,
    *HISTORY,
    *ALERTS,
    *OBSERVATION,
)
BY_ATTRIBUTE: Final = {option.attribute: option for option in OPTIONS}
