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
    yield Option(f"{attribute}.enabled", f"{key}.enabled", (f"{variable}_ENABLED",), f"TLS to the {peer}.")
    yield Option(
        f"{attribute}.accept_invalid_certs",
        f"{key}.accept_invalid_certs",
        (f"{variable}_ACCEPT_INVALID_CERTS",),
        "Take any certificate. For tests only: whoever sits between can read and change every job.",
        aliases=(f"{key}.acceptInvalidCerts",),
    )
    for name, meaning in (
        ("ca_path", "Certificate authority to trust instead of the system's."),
        ("client_cert_path", "Certificate to show."),
        ("client_key_path", "Key of that certificate."),
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
        "Jobs worked on at once, on every driver. Wins over Sockudo's `concurrency` of the driver.",
    ),
    Option(
        "one_core",
        "queue.one_core",
        ("QUEUE_ONE_CORE",),
        "Keep the threads on one core while they are busy and it has room, which saves a third of the CPU.",
    ),
)

REDIS: Final = (
    Option("redis.host", "database.redis.host", ("DATABASE_REDIS_HOST",), "Redis server.", "redis.example.com"),
    Option("redis.port", "database.redis.port", ("DATABASE_REDIS_PORT",), "Its port."),
    Option("redis.db", "database.redis.db", ("DATABASE_REDIS_DB",), "Its database."),
    Option("redis.username", "database.redis.username", ("DATABASE_REDIS_USERNAME",), "User.", "sockudo"),
    Option(
        "redis.password", "database.redis.password", ("DATABASE_REDIS_PASSWORD",), "Password.", "s3cret", secret=True
    ),
    Option(
        "redis.url",
        "queue.redis.url_override",
        ("REDIS_URL",),
        "URL of the Redis server; wins over host, port, database, user, password and Sentinel.",
        "redis://redis.example.com:6379/0",
        secret=True,
    ),
    Option(
        "redis.prefix",
        "queue.redis.prefix",
        ("QUEUE_REDIS_PREFIX",),
        "Beginning of the queue's keys. Sockudo adds a colon of its own, so the default gives two.",
    ),
    Option(
        "redis.queue_name",
        "queue.redis.queue_name",
        ("QUEUE_REDIS_QUEUE_NAME",),
        "End of the queue's keys; Sockudo has no other than `webhooks`.",
    ),
    Option(
        "redis.concurrency",
        "queue.redis.concurrency",
        ("QUEUE_REDIS_CONCURRENCY",),
        "Sockudo's number of workers; 0 means the default here. Only for a server up to 4.7: with 0 one from 5.0 on "
        "sends no webhooks.",
        "5",
    ),
    Option(
        "redis.delivery",
        "queue.redis.delivery",
        ("QUEUE_REDIS_DELIVERY",),
        "at-least-once, or at-most-once: plain BLPOP, where a crash loses what was popped.",
    ),
    Option(
        "redis.response_timeout_ms",
        "queue.redis.response_timeout_ms",
        ("QUEUE_REDIS_RESPONSE_TIMEOUT_MS",),
        "Longest wait for an answer of the server.",
        zero_means_default=True,
    ),
    Option(
        "redis.tls_check_hostname",
        "queue.redis.tls_check_hostname",
        ("QUEUE_REDIS_TLS_CHECK_HOSTNAME",),
        "The certificate of a server, node or Sentinel must be for its host; without, only its authority is checked.",
    ),
    *_tls("master_tls", "database.redis.master_tls", "DATABASE_REDIS_MASTER_TLS", "Redis server"),
)

SENTINEL: Final = (
    Option("sentinel.nodes", "database.redis.sentinels", (), "Sentinels.", '[{"host": "sentinel-1", "port": 26379}]'),
    Option("sentinel.name", "database.redis.name", (), "Name of the master."),
    Option(
        "sentinel.username",
        "database.redis.sentinel_username",
        ("DATABASE_REDIS_SENTINEL_USERNAME",),
        "User at the Sentinels.",
        "sockudo",
    ),
    Option(
        "sentinel.password",
        "database.redis.sentinel_password",
        ("DATABASE_REDIS_SENTINEL_PASSWORD",),
        "Password at the Sentinels.",
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
        "Some nodes of the cluster; the others are found. Where this is not set or empty, the nodes of "
        "`database.redis.cluster.nodes` or `database.redis.cluster_nodes` are used.",
        "redis://10.0.0.1:6379,redis://10.0.0.2:6379",
        secret=True,
    ),
    Option(
        "redis_cluster.username",
        "database.redis.cluster.username",
        ("DATABASE_REDIS_CLUSTER_USERNAME",),
        "User, for nodes whose URL holds no login; where this is not set, that of `database.redis.username`.",
        "sockudo",
    ),
    Option(
        "redis_cluster.password",
        "database.redis.cluster.password",
        ("DATABASE_REDIS_CLUSTER_PASSWORD",),
        "Password, for nodes whose URL holds no login; where this is not set, that of `database.redis.password`.",
        "s3cret",
        secret=True,
    ),
    Option(
        "redis_cluster.use_tls",
        "database.redis.cluster.use_tls",
        ("DATABASE_REDIS_CLUSTER_USE_TLS",),
        "TLS to nodes whose URL does not ask for it.",
        aliases=("database.redis.cluster.useTLS",),
    ),
    Option(
        "redis_cluster.address_map",
        "queue.redis_cluster.address_map",
        ("QUEUE_REDIS_CLUSTER_ADDRESS_MAP",),
        "Where nodes can be reached whose announced addresses cannot, as behind a proxy or NAT.",
        "10.0.0.1:6379=redis.example.com:7001",
    ),
    Option(
        "redis_cluster.prefix",
        "queue.redis_cluster.prefix",
        ("REDIS_CLUSTER_QUEUE_PREFIX",),
        "As for one server.",
    ),
    Option(
        "redis_cluster.concurrency",
        "queue.redis_cluster.concurrency",
        ("REDIS_CLUSTER_QUEUE_CONCURRENCY",),
        "As for one server.",
        "5",
    ),
    Option(
        "redis_cluster.request_timeout_ms",
        "queue.redis_cluster.request_timeout_ms",
        ("REDIS_CLUSTER_QUEUE_REQUEST_TIMEOUT_MS",),
        "Longest wait for an answer of a node.",
        zero_means_default=True,
    ),
)

SQS: Final = (
    Option("sqs.region", "queue.sqs.region", ("QUEUE_SQS_REGION",), "AWS region."),
    Option(
        "sqs.queue_url_prefix",
        "queue.sqs.queue_url_prefix",
        (),
        "Beginning of the queue's URL, put before its name without a look-up; must end in a slash.",
        "https://sqs.us-east-1.amazonaws.com/123456789012/",
    ),
    Option(
        "sqs.endpoint_url",
        "queue.sqs.endpoint_url",
        ("QUEUE_SQS_ENDPOINT_URL",),
        "Another service with the interface of SQS.",
        "http://localhost:4566",
    ),
    Option(
        "sqs.visibility_timeout",
        "queue.sqs.visibility_timeout",
        ("QUEUE_SQS_VISIBILITY_TIMEOUT",),
        "Seconds for which a received message is hidden from others; renewed every third of them while it is held.",
    ),
    Option("sqs.max_messages", "queue.sqs.max_messages", ("QUEUE_SQS_MAX_MESSAGES",), "Most messages of one receive."),
    Option(
        "sqs.wait_time_seconds",
        "queue.sqs.wait_time_seconds",
        ("QUEUE_SQS_WAIT_TIME_SECONDS",),
        "Seconds for which a receive waits for a message.",
    ),
    Option("sqs.concurrency", "queue.sqs.concurrency", ("QUEUE_SQS_CONCURRENCY",), "As for one Redis server.", "5"),
    Option("sqs.fifo", "queue.sqs.fifo", ("QUEUE_SQS_FIFO",), "The queue is FIFO and its name ends in `.fifo`."),
    Option(
        "sqs.message_group_id", "queue.sqs.message_group_id", (), "Group of the messages that are put on a FIFO queue."
    ),
)

MEMORY: Final = (
    Option(
        "memory.max_bytes",
        "queue.memory.max_bytes",
        ("QUEUE_MEMORY_MAX_BYTES",),
        "Bytes of jobs that the memory driver holds; beyond it the oldest ready job is dropped and counted.",
    ),
    Option(
        "memory.ingress_host",
        "queue.memory.ingress_host",
        ("QUEUE_MEMORY_INGRESS_HOST",),
        "Address on which `POST /jobs` is served for this driver; whoever reaches it can put jobs.",
    ),
    Option(
        "memory.ingress_port",
        "queue.memory.ingress_port",
        ("QUEUE_MEMORY_INGRESS_PORT",),
        "Its port; 0 takes a free one.",
    ),
)

APPS: Final = (
    Option(
        "apps.driver",
        "app_manager.driver",
        ("APP_MANAGER_DRIVER",),
        "Where Sockudo keeps its apps besides the file: memory (nowhere), mysql (also for MariaDB), pgsql or dynamodb.",
        "pgsql",
    ),
    Option(
        "apps.cache_enabled",
        "app_manager.cache.enabled",
        (),
        "Keep what was read for `app_manager.cache.ttl`; without it, for one second.",
    ),
    Option(
        "apps.cache_ttl",
        "app_manager.cache.ttl",
        ("CACHE_TTL_SECONDS",),
        "Seconds after which an app is read again, and so the longest until a change of its webhooks counts; 0 is 1.",
    ),
    Option(
        "apps.cache_capacity",
        "queue.apps.cache_capacity",
        ("QUEUE_APPS_CACHE_CAPACITY",),
        "Apps kept in memory; beyond it those that were not used for longest are dropped, and read again when needed.",
    ),
)


def _database(attribute: str, key: str, variable: str, kind: str, table_variables: tuple[str, ...]) -> Iterator[Option]:
    yield Option(f"{attribute}.host", f"{key}.host", (f"{variable}_HOST",), f"{kind} server.")
    yield Option(f"{attribute}.port", f"{key}.port", (f"{variable}_PORT",), "Its port.")
    yield Option(f"{attribute}.username", f"{key}.username", (f"{variable}_USERNAME",), "User; may only read.")
    yield Option(
        f"{attribute}.password", f"{key}.password", (f"{variable}_PASSWORD",), "Password.", "s3cret", secret=True
    )
    yield Option(f"{attribute}.database", f"{key}.database", (f"{variable}_DATABASE",), "Its database.")
    yield Option(f"{attribute}.table_name", f"{key}.table_name", table_variables, "Table of apps.")
    yield Option(
        f"{attribute}.ssl_mode",
        f"{key}.ssl_mode",
        (f"{variable}_SSL_MODE",),
        "TLS: prefer (where the server has it), disable, require (without looking at the certificate), verify-full.",
    )
    yield Option(
        f"{attribute}.ssl_ca",
        f"{key}.ssl_ca",
        (f"{variable}_SSL_CA",),
        "Certificate authority to trust instead of the system's, with verify-full.",
        "/etc/tls/ca.pem",
    )
    yield Option(
        f"{attribute}.allow_cleartext_password",
        f"{key}.allow_cleartext_password",
        (f"{variable}_ALLOW_CLEARTEXT_PASSWORD",),
        "Send the password itself to a server that asks for it, also where ssl_mode is not verify-full.",
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
        "Table of apps.",
    ),
    Option(
        "dynamodb.endpoint_url",
        "database.dynamodb.endpoint_url",
        ("DATABASE_DYNAMODB_ENDPOINT_URL",),
        "Another service with the interface of DynamoDB.",
        "http://localhost:8000",
    ),
    Option(
        "dynamodb.aws_access_key_id",
        "database.dynamodb.aws_access_key_id",
        ("AWS_ACCESS_KEY_ID",),
        "Access key; without one, credentials are looked for where every AWS client does.",
        "AKIAEXAMPLE",
        secret=True,
    ),
    Option(
        "dynamodb.aws_secret_access_key",
        "database.dynamodb.aws_secret_access_key",
        ("AWS_SECRET_ACCESS_KEY",),
        "Secret of that key.",
        "s3cret",
        secret=True,
    ),
    Option(
        "dynamodb.aws_session_token",
        "database.dynamodb.aws_session_token",
        ("AWS_SESSION_TOKEN",),
        "Token that belongs to a key for a limited time.",
        "s3cret",
        secret=True,
    ),
    Option(
        "dynamodb.aws_profile_name",
        "database.dynamodb.aws_profile_name",
        (),
        "Profile of the AWS configuration files, where no key is given.",
        "production",
    ),
)

RELIABILITY: Final = (
    Option(
        "reliability.max_attempts",
        "queue.reliability.max_attempts",
        ("QUEUE_MAX_ATTEMPTS",),
        "Claims of one job that may end with a lost worker; then it is a dead letter. Not the tries at an endpoint.",
    ),
    Option(
        "reliability.lease_duration_ms",
        "queue.reliability.lease_duration_ms",
        ("QUEUE_LEASE_DURATION_MS",),
        "Time after which a claim that nobody renews goes to another worker.",
    ),
    Option(
        "reliability.lease_renew_interval_ms",
        "queue.reliability.lease_renew_interval_ms",
        ("QUEUE_LEASE_RENEW_INTERVAL_MS",),
        "Time between renewals; shorter than the lease.",
    ),
    Option(
        "reliability.failed_retention",
        "queue.reliability.failed_retention",
        ("QUEUE_FAILED_RETENTION",),
        "Dead letters kept; beyond it the oldest is dropped and counted.",
    ),
    Option(
        "reliability.completed_retention",
        "queue.reliability.completed_retention",
        ("QUEUE_COMPLETED_RETENTION",),
        "Delivered jobs that Queue V2 keeps, so that a producer that repeats itself is recognised.",
    ),
    Option(
        "reliability.event_retention",
        "queue.reliability.event_retention",
        ("QUEUE_EVENT_RETENTION",),
        "Entries that Queue V2 keeps in its stream of events, where Sockudo keeps one.",
    ),
    Option(
        "reliability.failed_max_age_ms",
        "queue.reliability.failed_max_age_ms",
        ("QUEUE_FAILED_MAX_AGE_MS",),
        "Age at which a dead letter is dropped and counted; 0 keeps it for as long as there is room.",
        "2592000000",
    ),
    Option(
        "reliability.shutdown_timeout_ms",
        "queue.reliability.shutdown_timeout_ms",
        ("QUEUE_SHUTDOWN_TIMEOUT_MS",),
        "Time that work in flight gets after SIGTERM; then it is put back. The grace period must be 5 s longer.",
    ),
    Option(
        "reliability.memory_capacity",
        "queue.reliability.memory_capacity",
        ("QUEUE_MEMORY_CAPACITY",),
        "Jobs that the memory driver holds, in every state; beyond it the oldest ready one is dropped and counted.",
    ),
)

RETRY: Final = (
    Option("retry.enabled", "webhooks.retry.enabled", ("QUEUE_DELIVERY_RETRY_ENABLED",), "Try again after a failure."),
    Option(
        "retry.max_attempts",
        "webhooks.retry.max_attempts",
        ("QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS",),
        "Most tries of one webhook, the first included; without it only the time counts.",
        "6",
    ),
    Option(
        "retry.max_elapsed_time_ms",
        "webhooks.retry.max_elapsed_time_ms",
        ("QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS",),
        "Time after the first try within which the last one begins.",
    ),
    Option(
        "retry.initial_backoff_ms",
        "webhooks.retry.initial_backoff_ms",
        ("QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS",),
        "Delay before the second try; it doubles from there.",
    ),
    Option(
        "retry.max_backoff_ms",
        "webhooks.retry.max_backoff_ms",
        ("QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS",),
        "Longest delay between two tries.",
    ),
    Option(
        "retry.jitter",
        "queue.reliability.retry_jitter",
        ("QUEUE_RETRY_JITTER",),
        "Share by which a delay is lengthened or shortened by chance, from 0 to 1.",
    ),
)

DELIVERY: Final = (
    Option(
        "delivery.request_timeout_ms",
        "webhooks.request_timeout_ms",
        ("QUEUE_DELIVERY_REQUEST_TIMEOUT_MS",),
        "Time for one try, from the look-up of the host to the last byte of the answer.",
    ),
    Option(
        "delivery.slow_ms",
        "queue.delivery.slow_ms",
        ("QUEUE_DELIVERY_SLOW_MS",),
        "Time after which a try gives its worker's slot back and goes on beside it.",
    ),
    Option(
        "delivery.max_slow",
        "queue.delivery.max_slow",
        ("QUEUE_DELIVERY_MAX_SLOW",),
        "Most tries that go on in this way, and so the threads beyond the workers.",
    ),
    Option(
        "delivery.max_response_bytes",
        "queue.delivery.max_response_bytes",
        ("QUEUE_DELIVERY_MAX_RESPONSE_BYTES",),
        "Most of an answer that is read.",
    ),
    Option(
        "delivery.retry_every_status",
        "queue.delivery.retry_every_status",
        ("QUEUE_DELIVERY_RETRY_EVERY_STATUS",),
        "Try again after every status that is not 2xx, as Pusher does.",
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
        "How long at first; it doubles while the webhook goes on failing.",
    ),
    Option(
        "delivery.breaker_max_open_ms",
        "queue.delivery.breaker_max_open_ms",
        ("QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS",),
        "How long at most.",
    ),
    Option(
        "delivery.use_environment_proxy",
        "queue.delivery.use_environment_proxy",
        ("QUEUE_DELIVERY_USE_ENVIRONMENT_PROXY",),
        "Obey HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
    ),
    Option(
        "delivery.trace_baggage",
        "queue.delivery.trace_baggage",
        ("QUEUE_DELIVERY_TRACE_BAGGAGE",),
        "Send the `baggage` of a job's trace context with its webhooks. It may hold what receivers should not see.",
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
        "Certificate to show to an endpoint that asks for one.",
        "/etc/tls/client.pem",
    ),
    Option(
        "delivery.client_key_file",
        "queue.delivery.client_key_file",
        ("QUEUE_DELIVERY_CLIENT_KEY_FILE",),
        "Key of that certificate, where it is not in the same file.",
        "/etc/tls/client-key.pem",
    ),
    Option(
        "delivery.guard",
        "queue.delivery.guard",
        ("QUEUE_DELIVERY_GUARD",),
        "Refuse connections to link-local addresses, metadata services of clouds, the queue's server and this daemon's "
        "own, and what the settings below say.",
    ),
    Option(
        "delivery.private",
        "queue.delivery.private",
        ("QUEUE_DELIVERY_PRIVATE",),
        "deny refuses every address that is not on the public Internet. For webhooks that tenants choose.",
        "deny",
    ),
    Option(
        "delivery.allowed_networks",
        "queue.delivery.allowed_networks",
        ("QUEUE_DELIVERY_ALLOWED_NETWORKS",),
        "Networks that may be called whatever the guard says of others.",
        "10.1.0.0/16",
    ),
    Option(
        "delivery.denied_networks",
        "queue.delivery.denied_networks",
        ("QUEUE_DELIVERY_DENIED_NETWORKS",),
        "Networks that may not be called.",
        "10.0.0.0/8,fd00::/8",
    ),
    Option(
        "delivery.allowed_ports",
        "queue.delivery.allowed_ports",
        ("QUEUE_DELIVERY_ALLOWED_PORTS",),
        "Ports that may be called; none means any.",
        "80,443",
    ),
    Option(
        "delivery.denied_ports",
        "queue.delivery.denied_ports",
        ("QUEUE_DELIVERY_DENIED_PORTS",),
        "Ports that may not be called.",
        "25,22",
    ),
    Option(
        "delivery.allowed_functions",
        "queue.delivery.allowed_functions",
        ("QUEUE_DELIVERY_ALLOWED_FUNCTIONS",),
        "Lambda functions that may be invoked, by the name or ARN that the webhook has; `*` stands for any text. None "
        "means any, and with `QUEUE_DELIVERY_PRIVATE=deny` none: they are invoked with the daemon's own credentials.",
        "on-webhook,arn:aws:lambda:eu-west-1:123456789012:function:hooks-*",
    ),
)

LIMITS: Final = tuple(
    Option(f"limits.{name}", f"queue.limits.{name}", (f"QUEUE_LIMITS_{name.upper()}",), meaning)
    for name, meaning in (
        ("job_bytes", "Bytes of a job. Over it: dead letter `unreadable`."),
        ("job_events", "Events of a job. Over it: dead letter `unreadable`."),
        ("channel_bytes", "Bytes of the name of a job's channel. Over it: dead letter `unreadable`."),
        (
            "in_flight_bytes",
            "Bytes of jobs above 256 KB that are worked on at once; in memory they take four times as much. One such "
            "job always may. An app above its fair share leaves a quarter to other apps. Over it: a job waits, "
            "which is no attempt.",
        ),
        (
            "webhooks_per_app",
            "Webhooks of an app. Over it: those after it in the list are invalid; over twice as many, the app is over "
            "its ceiling as a whole.",
        ),
        (
            "app_bytes",
            "Bytes of an app's `policy` or `webhooks` in a database. Over it: the app is over its ceiling as a whole.",
        ),
        (
            "app_cache_bytes",
            "Bytes of the rows of all apps that are kept of a database; in memory they take about five times as much. "
            "Over it: those that were not used for longest are dropped, and read again when needed.",
        ),
        (
            "pattern_kib",
            "Compiled size of a `channel_pattern`, estimated from its text: 1 KiB for a character, 4 for `.`, 16 for "
            "`\\d`, 64 for `\\w`, times its repetitions. Over it: the webhook is invalid.",
        ),
        (
            "app_patterns_kib",
            "The same for all different patterns of an app. Over it: webhooks with further patterns are invalid.",
        ),
        (
            "pattern_cache_kib",
            "The same for all patterns that are kept compiled. Over it: the oldest is compiled again when it is used.",
        ),
        ("header_bytes", "Bytes of the names and values of a webhook's headers. Over it: the webhook is invalid."),
        (
            "request_timeout_ms",
            "A webhook's own `request_timeout_ms`; the daemon's own is allowed even if it is longer. Over it: the "
            "webhook is invalid.",
        ),
        (
            "retry_elapsed_time_ms",
            "A webhook's own `retry.max_elapsed_time_ms`; the daemon's own is allowed even if it is longer. Over it: "
            "the webhook is invalid.",
        ),
        (
            "retry_backoff_ms",
            "Least `retry.initial_backoff_ms` and `retry.max_backoff_ms` of a webhook; the daemon's own is allowed "
            "even if it is shorter. Less is raised to it.",
        ),
    )
)

HISTORY: Final = (
    Option(
        "history.mode",
        "queue.history.mode",
        ("QUEUE_HISTORY",),
        "Which attempts the history keeps: off, failures (and the delivery that follows them), or all.",
    ),
    Option(
        "history.length",
        "queue.history.length",
        ("QUEUE_HISTORY_LENGTH",),
        "Entries to keep for each form of the queue; each takes 300 bytes at most, on average.",
    ),
    Option(
        "history.channels",
        "queue.history.channels",
        ("QUEUE_HISTORY_CHANNELS",),
        "Keep the names of channels, which can be personal data.",
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
        "Serve the status page there too, at / and as JSON at /status.json; it shows names and figures, no secret.",
    ),
    Option(
        "metrics.host", "queue.metrics.host", ("QUEUE_METRICS_HOST",), "Address to listen on; `::` is every IPv6 one."
    ),
    Option("metrics.port", "queue.metrics.port", ("QUEUE_METRICS_PORT",), "Port to listen on; 0 takes a free one."),
    Option(
        "metrics.username",
        "queue.metrics.username",
        ("QUEUE_METRICS_USERNAME",),
        "User of the login (HTTP basic authentication) for /metrics and the status page.",
    ),
    Option(
        "metrics.password",
        "queue.metrics.password",
        ("QUEUE_METRICS_PASSWORD",),
        "Password of that user; without it and without a token there is no login.",
        "s3cret",
        secret=True,
    ),
    Option(
        "metrics.token",
        "queue.metrics.token",
        ("QUEUE_METRICS_TOKEN",),
        "Bearer token for /metrics and the status page, instead of a password or beside it.",
        "s3cret",
        secret=True,
    ),
    Option(
        "metrics.login_for_metrics",
        "queue.metrics.login_for_metrics",
        ("QUEUE_METRICS_LOGIN_FOR_METRICS",),
        "Require the login for /metrics too, where one is set. /livez and /readyz never require it.",
    ),
    Option(
        "metrics.tls_cert_file",
        "queue.metrics.tls_cert_file",
        ("QUEUE_METRICS_TLS_CERT_FILE",),
        "Certificate, with its chain, for HTTPS instead of HTTP; read again within 10 s when the file changes.",
        "/etc/tls/metrics.pem",
    ),
    Option(
        "metrics.tls_key_file",
        "queue.metrics.tls_key_file",
        ("QUEUE_METRICS_TLS_KEY_FILE",),
        "Key of that certificate, without a password; unset means that it is in the certificate's file.",
        "/etc/tls/metrics-key.pem",
    ),
    Option(
        "logging.level",
        "queue.logging.level",
        ("QUEUE_LOG_LEVEL",),
        "Least level that is written: debug, info, warning or error.",
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
    *OBSERVATION,
)
BY_ATTRIBUTE: Final = {option.attribute: option for option in OPTIONS}
