"""Settings of requests to endpoints."""

from typing import Annotated, Literal

from pydantic import Field

from sockudo_queue.config.models.group import DAY_MS, MAX_WORKERS, SettingInfo, SettingsGroup
from sockudo_queue.config.values import Boolean, Lower, Name, Network, Port, Texts, Whole


class DeliverySettings(SettingsGroup):
    """Requests to endpoints, and their isolation."""

    request_timeout_ms: Annotated[
        Whole,
        SettingInfo(
            "webhooks.request_timeout_ms",
            "QUEUE_DELIVERY_REQUEST_TIMEOUT_MS",
            "Time limit of one attempt, from the DNS look-up to the last byte of the answer.",
        ),
    ] = Field(10_000, ge=1, le=DAY_MS)
    slow_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.slow_ms",
            "QUEUE_DELIVERY_SLOW_MS",
            "Time after which a slow attempt releases its worker's slot and continues outside it.",
        ),
    ] = Field(100, ge=1, le=DAY_MS)
    max_slow: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.max_slow",
            "QUEUE_DELIVERY_MAX_SLOW",
            "Maximum number of such attempts, and so of threads in addition to the workers.",
        ),
    ] = Field(32, ge=0, le=MAX_WORKERS)
    max_response_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.max_response_bytes",
            "QUEUE_DELIVERY_MAX_RESPONSE_BYTES",
            "Maximum number of bytes of an answer that are read.",
        ),
    ] = Field(16_384, ge=0, le=1_048_576)
    retry_every_status: Annotated[
        Boolean,
        SettingInfo(
            "queue.delivery.retry_every_status",
            "QUEUE_DELIVERY_RETRY_EVERY_STATUS",
            "Retry every status other than 2xx, as Pusher does.",
        ),
    ] = False
    breaker_failures: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.breaker_failures",
            "QUEUE_DELIVERY_BREAKER_FAILURES",
            "Consecutive failures that open the circuit breaker of a webhook.",
        ),
    ] = Field(10, ge=1)
    breaker_open_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.breaker_open_ms",
            "QUEUE_DELIVERY_BREAKER_OPEN_MS",
            "Time for which the breaker stays open at first. It doubles while the webhook keeps failing.",
        ),
    ] = Field(5_000, ge=1, le=DAY_MS)
    breaker_max_open_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.delivery.breaker_max_open_ms",
            "QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS",
            "Maximum time for which the breaker stays open.",
        ),
    ] = Field(60_000, ge=1, le=DAY_MS)
    use_environment_proxy: Annotated[
        Boolean,
        SettingInfo(
            "queue.delivery.use_environment_proxy",
            "QUEUE_DELIVERY_USE_ENVIRONMENT_PROXY",
            "Use the proxies in HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
        ),
    ] = False
    trace_baggage: Annotated[
        Boolean,
        SettingInfo(
            "queue.delivery.trace_baggage",
            "QUEUE_DELIVERY_TRACE_BAGGAGE",
            "Send the `baggage` of a job's trace context to receivers. It may contain data that they should not see.",
        ),
    ] = False
    ca_file: Annotated[
        Name | None,
        SettingInfo(
            "queue.delivery.ca_file",
            "QUEUE_DELIVERY_CA_FILE",
            "Certificate authorities to trust instead of the built-in ones.",
            example="/etc/ssl/certs/ca-certificates.crt",
        ),
    ] = None
    client_cert_file: Annotated[
        Name | None,
        SettingInfo(
            "queue.delivery.client_cert_file",
            "QUEUE_DELIVERY_CLIENT_CERT_FILE",
            "Client certificate for endpoints that require one.",
            example="/etc/tls/client.pem",
        ),
    ] = None
    client_key_file: Annotated[
        Name | None,
        SettingInfo(
            "queue.delivery.client_key_file",
            "QUEUE_DELIVERY_CLIENT_KEY_FILE",
            "Key of the client certificate, if it is in another file.",
            example="/etc/tls/client-key.pem",
        ),
    ] = None
    guard: Annotated[
        Boolean,
        SettingInfo(
            "queue.delivery.guard",
            "QUEUE_DELIVERY_GUARD",
            "Network guard: refuse connections to link-local addresses, cloud metadata services, the queue server, "
            "this daemon's own ports, and the addresses denied by the settings below.",
        ),
    ] = True
    private: Annotated[
        Literal["allow", "deny"],
        Lower,
        SettingInfo(
            "queue.delivery.private",
            "QUEUE_DELIVERY_PRIVATE",
            "allow, or deny: refuse every address that is not on the public Internet. Use deny if tenants choose "
            "webhook URLs.",
            example="deny",
        ),
    ] = "allow"
    allowed_networks: Annotated[
        tuple[Network, ...],
        Texts,
        SettingInfo(
            "queue.delivery.allowed_networks",
            "QUEUE_DELIVERY_ALLOWED_NETWORKS",
            "Networks that webhooks may reach although the guard would refuse their addresses. Its rules about ports "
            "still apply, and the queue servers and this daemon's own ports stay refused.",
            example="10.1.0.0/16",
        ),
    ] = ()
    denied_networks: Annotated[
        tuple[Network, ...],
        Texts,
        SettingInfo(
            "queue.delivery.denied_networks",
            "QUEUE_DELIVERY_DENIED_NETWORKS",
            "Networks that webhooks must not reach.",
            example="10.0.0.0/8,fd00::/8",
        ),
    ] = ()
    allowed_ports: Annotated[
        tuple[Port, ...],
        Texts,
        SettingInfo(
            "queue.delivery.allowed_ports",
            "QUEUE_DELIVERY_ALLOWED_PORTS",
            "Ports that webhooks may use. Empty means any.",
            example="80,443",
        ),
    ] = ()
    denied_ports: Annotated[
        tuple[Port, ...],
        Texts,
        SettingInfo(
            "queue.delivery.denied_ports",
            "QUEUE_DELIVERY_DENIED_PORTS",
            "Ports that webhooks must not use.",
            example="25,22",
        ),
    ] = ()
    allowed_functions: Annotated[
        tuple[Name, ...],
        Texts,
        SettingInfo(
            "queue.delivery.allowed_functions",
            "QUEUE_DELIVERY_ALLOWED_FUNCTIONS",
            "Lambda functions that webhooks may invoke, by the name or ARN in the webhook; `*` matches any text. "
            "Functions are invoked with the daemon's own credentials. If unset, any function is allowed, and with "
            "`QUEUE_DELIVERY_PRIVATE=deny` no function.",
            example="on-webhook,arn:aws:lambda:eu-west-1:123456789012:function:hooks-*",
        ),
    ] = ()

    @property
    def invocable_functions(self) -> tuple[str, ...]:
        """The Lambda functions that may be invoked, with `*` for any text."""
        return self.allowed_functions or (() if self.private == "deny" else ("*",))
