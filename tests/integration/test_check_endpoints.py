"""`check` and the daemon agree about an endpoint: both connect the same way, so each case asks both."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from tests.helpers.certificates import Authority
from tests.helpers.commands import Commands, Ran
from tests.helpers.configs import app, config, webhook
from tests.helpers.hostile import HostileReceiver, silent
from tests.helpers.ports import free_port
from tests.helpers.receiver import Receiver
from tests.helpers.redis_cluster import RedisCluster

PROXIED: Final = {"QUEUE_DELIVERY_GUARD": "false", "QUEUE_DELIVERY_USE_ENVIRONMENT_PROXY": "true"}


def checked(directory: Path, *webhooks: dict[str, Any], **environment: str) -> Ran:
    return Commands(directory, config(app(*webhooks)), {"QUEUE_DRIVER": "none"} | environment)("check")


def line_of(ran: Ran, url: str) -> tuple[str, str]:
    """Return level and text of the only line about an endpoint."""
    [line] = [line for line in ran.out.splitlines() if f" {url.rstrip('/')}: " in line]
    level, _, rest = line.partition(" ")
    return level, rest.partition(": ")[2]


def delivered(url: str, **options: Any) -> str:
    """Return what the daemon's own sender makes of the endpoint."""
    hook = Webhook("a", frozenset(), url=Secret(url), request_timeout_ms=3000)
    return Sender(CurlTransport(HandleOptions(**options))).post(hook, b"{}", {})[0].reason


def test_host_that_only_the_proxy_resolves_is_no_error(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = receiver.url("").rstrip("/"), "http://only.proxy.invalid"
    level, text = line_of(checked(tmp_path, webhook(f"{url}/"), **PROXIED, http_proxy=proxy), f"{url}:80")
    assert (level, "--probe" in text) == ("ok", True)
    assert receiver.count == 0
    monkeypatch.setenv("http_proxy", proxy)
    assert delivered(f"{url}/", environment_proxy=True) == "delivered"


def test_proxy_that_refuses_a_tunnel_is_reported(tmp_path: Path, receiver: Receiver) -> None:
    receiver.always(407)
    environment = PROXIED | {"https_proxy": receiver.url("").rstrip("/")}
    level, text = line_of(
        checked(tmp_path, webhook("https://only.proxy.invalid/"), **environment), "https://only.proxy.invalid:443"
    )
    assert (level, "407" in text) == ("warning", True)


def test_proxy_that_cannot_be_used_is_reported_without_its_password(tmp_path: Path) -> None:
    ran = checked(tmp_path, webhook("http://a.invalid/"), **PROXIED, http_proxy="http://u:CANARY@h:99999")
    assert ran.code == 2
    assert "http_proxy: " in ran.out
    assert "CANARY" not in ran.out + ran.err


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_endpoint_that_requires_a_client_certificate_is_an_error(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)
    context = authority.server(clients=authority)
    context.minimum_version = context.maximum_version = version
    certificate, key = map(str, authority.client_files())
    trusting = {"QUEUE_DELIVERY_CA_FILE": str(authority.ca_file)}
    ours = {"QUEUE_DELIVERY_CLIENT_CERT_FILE": certificate, "QUEUE_DELIVERY_CLIENT_KEY_FILE": key}
    with Receiver(tls=context) as receiver:
        url = receiver.url()
        assert line_of(checked(tmp_path, webhook(url), **trusting), url)[0] == "error"
        assert delivered(url, ca_file=str(authority.ca_file)) in ("tls", "reset")
        assert line_of(checked(tmp_path, webhook(url), **trusting, **ours), url)[0] == "ok"
        assert receiver.count == 0


def test_endpoint_that_accepts_a_client_without_a_certificate_is_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server(clients=authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    with Receiver(tls=context) as receiver:
        level, text = line_of(
            checked(tmp_path, webhook(receiver.url()), QUEUE_DELIVERY_CA_FILE=str(authority.ca_file)), receiver.url()
        )
        assert (level, "QUEUE_DELIVERY_CLIENT_CERT_FILE" in text) == ("warning", True)
        assert delivered(receiver.url(), ca_file=str(authority.ca_file)) == "delivered"


def test_host_with_a_trailing_dot_is_checked_by_its_name_without_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Receiver(tls=authority.server("localhost")) as receiver:
        url = f"https://localhost.:{receiver.port}/"
        ran = checked(tmp_path, webhook(url), QUEUE_DELIVERY_CA_FILE=str(authority.ca_file))
        assert line_of(ran, url)[0] == "ok"
        assert delivered(url, ca_file=str(authority.ca_file)) == "delivered"


@pytest.mark.parametrize("kept", ["intermediate", "leaf"])
def test_part_of_a_chain_is_enough_of_an_authority(tmp_path: Path, kept: str) -> None:
    intermediate = trustme.CA().create_child_ca()
    leaf = intermediate.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes((intermediate.cert_pem if kept == "intermediate" else leaf.cert_chain_pems[0]).bytes())
    with Receiver(tls=context) as receiver:
        ran = checked(tmp_path, webhook(receiver.url()), QUEUE_DELIVERY_CA_FILE=str(trusted))
        assert line_of(ran, receiver.url())[0] == "ok"
        assert delivered(receiver.url(), ca_file=str(trusted)) == "delivered"


@pytest.mark.parametrize("variable", ["QUEUE_METRICS_PORT", "QUEUE_MEMORY_INGRESS_PORT"])
def test_port_of_the_daemon_itself_may_not_be_called(tmp_path: Path, variable: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    level, text = line_of(checked(tmp_path, webhook(url), QUEUE_DRIVER="memory", **{variable: str(port)}), url)
    assert (level, "this daemon's own server" in text) == ("error", True)


def test_endpoint_that_speaks_no_tls_in_time_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockudo_queue.commands.endpoints.CONNECT_SECONDS", 0.3)
    with HostileReceiver(silent) as receiver:
        url = receiver.url(scheme="https")
        level, text = line_of(checked(tmp_path, webhook(url)), url)
    assert (level, "does that port serve HTTPS?" in text) == ("error", True)


def test_node_of_a_cluster_that_no_setting_names_may_not_be_called(tmp_path: Path) -> None:
    with RedisCluster(masters=3, replicas=False) as cluster:
        first, *others = [node.port for node in cluster.nodes]
        where = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": f"127.0.0.1:{first}"}
        urls = [f"http://127.0.0.1:{port}/" for port in others]
        ran = checked(tmp_path, *map(webhook, urls), **where)
    for url in urls:
        assert "the queue's own server" in line_of(ran, url)[1]
