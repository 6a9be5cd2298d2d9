"""Settings of metrics, logs, alerts and the attempt history."""

from typing import Annotated, Literal

from pydantic import Field

from sockudo_queue.config.models.group import DAY_MS, SettingInfo, SettingsGroup
from sockudo_queue.config.values import (
    AlertUrl,
    Boolean,
    Host,
    HostAndPort,
    Lower,
    Name,
    SecretText,
    SigningSecret,
    Texts,
    Whole,
)
from sockudo_queue.core.ports import METRICS_PORT


class HistorySettings(SettingsGroup):
    """The attempt history; `length` is the maximum number of entries per form of the queue."""

    mode: Annotated[
        Literal["off", "failures", "all"],
        Lower,
        SettingInfo(
            "queue.history.mode",
            "QUEUE_HISTORY",
            "Attempts that the history records: off, failures (and the delivery that follows them) or all.",
        ),
    ] = "failures"
    length: Annotated[
        Whole,
        SettingInfo(
            "queue.history.length",
            "QUEUE_HISTORY_LENGTH",
            "Maximum number of entries per form of the queue. On average an entry takes at most 300 bytes.",
        ),
    ] = Field(100_000, ge=100, le=10_000_000)
    channels: Annotated[
        Boolean,
        SettingInfo(
            "queue.history.channels",
            "QUEUE_HISTORY_CHANNELS",
            "Record the names of channels, which can be personal data.",
        ),
    ] = True


class AlertSettings(SettingsGroup):
    """Where alerts about breakers, dead letters and losses are sent."""

    url: Annotated[
        AlertUrl | None,
        SettingInfo(
            "queue.alerts.url",
            "QUEUE_ALERT_URL",
            "Your own URL that gets a signed POST when a breaker opens or closes, dead letters begin, the queue "
            "server does not answer, or something is lost; see alerts.md.",
            example="https://alerts.example.com/sockudo",
            secret=True,
        ),
    ] = None
    secret: Annotated[
        SigningSecret | None,
        SettingInfo(
            "queue.alerts.secret",
            "QUEUE_ALERT_SECRET",
            "Secret that signs these requests (Standard Webhooks): `whsec_` and the base64 form of 24 to 64 random "
            "bytes.",
            example="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            secret=True,
        ),
    ] = None
    reminder_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.alerts.reminder_ms",
            "QUEUE_ALERT_REMINDER_MS",
            "Shortest time between two alerts about dead letters of one webhook, or about one kind of loss.",
        ),
    ] = Field(600_000, ge=1_000, le=DAY_MS)


class MetricsSettings(SettingsGroup):
    """Where `/metrics`, `/livez`, `/readyz` and the status page are served; port 0 selects a free port."""

    enabled: Annotated[
        Boolean, SettingInfo("queue.metrics.enabled", "QUEUE_METRICS_ENABLED", "Serve /metrics, /livez and /readyz.")
    ] = True
    status_page: Annotated[
        Boolean,
        SettingInfo(
            "queue.metrics.status_page",
            "QUEUE_METRICS_STATUS_PAGE",
            "Also serve the status page, at / and as JSON at /status.json. It shows names and figures, but no secrets.",
        ),
    ] = True
    host: Annotated[
        Host,
        HostAndPort,
        SettingInfo("queue.metrics.host", "QUEUE_METRICS_HOST", "Address to listen on; `::` means all IPv6 addresses."),
    ] = "0.0.0.0"  # noqa: S104 - a scraper comes from another host
    port: Annotated[
        Whole, SettingInfo("queue.metrics.port", "QUEUE_METRICS_PORT", "Port to listen on; 0 selects a free one.")
    ] = Field(METRICS_PORT, ge=0, le=65_535)
    username: Annotated[
        Name,
        SettingInfo(
            "queue.metrics.username",
            "QUEUE_METRICS_USERNAME",
            "User name for /metrics and the status page (HTTP basic authentication).",
        ),
    ] = "sockudo-queue"
    password: Annotated[
        SecretText | None,
        SettingInfo(
            "queue.metrics.password",
            "QUEUE_METRICS_PASSWORD",
            "Password of that user. Without a password and a token, no login is required.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    token: Annotated[
        SecretText | None,
        SettingInfo(
            "queue.metrics.token",
            "QUEUE_METRICS_TOKEN",
            "Bearer token for /metrics and for reading the pages. Operator actions refuse it; they need the password. "
            "Can be used instead of a password or together with one.",
            example="s3cret",
            secret=True,
        ),
    ] = None
    login_for_metrics: Annotated[
        Boolean,
        SettingInfo(
            "queue.metrics.login_for_metrics",
            "QUEUE_METRICS_LOGIN_FOR_METRICS",
            "If a login is set, require it for /metrics too. /livez and /readyz never require it.",
        ),
    ] = True
    action_hosts: Annotated[
        tuple[HostAndPort, ...],
        Texts,
        SettingInfo(
            "queue.metrics.action_hosts",
            "QUEUE_METRICS_ACTION_HOSTS",
            "Names, with or without a port, under which the status page may act on the queue. If unset, any name is "
            "allowed ([web-page.md](web-page.md#behind-a-proxy)).",
            example="queue.example.com",
        ),
    ] = ()
    tls_cert_file: Annotated[
        Name | None,
        SettingInfo(
            "queue.metrics.tls_cert_file",
            "QUEUE_METRICS_TLS_CERT_FILE",
            "Certificate chain for HTTPS; unset means HTTP. A changed file is read again within 10 s.",
            example="/etc/tls/metrics.pem",
        ),
    ] = None
    tls_key_file: Annotated[
        Name | None,
        SettingInfo(
            "queue.metrics.tls_key_file",
            "QUEUE_METRICS_TLS_KEY_FILE",
            "Key of the certificate, without a password. If unset, the key is read from the certificate's file.",
            example="/etc/tls/metrics-key.pem",
        ),
    ] = None


class LoggingSettings(SettingsGroup):
    """Log output on standard output."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Lower,
        SettingInfo(
            "queue.logging.level", "QUEUE_LOG_LEVEL", "Minimum level of log lines: debug, info, warning or error."
        ),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "pretty"],
        Lower,
        SettingInfo(
            "queue.logging.format", "QUEUE_LOG_FORMAT", "json, pretty, or auto: pretty on a terminal, JSON elsewhere."
        ),
    ] = "auto"
