"""Default ports of URLs and settings."""

from __future__ import annotations

import pytest

from sockudo_queue.apps.parsing.names import url_name
from sockudo_queue.commands import probe
from sockudo_queue.commands.daemon_pages import pages_at
from sockudo_queue.config import Settings
from sockudo_queue.config.urls import url_parts
from sockudo_queue.core.ports import bracketed, default_port, host_port
from sockudo_queue.delivery.guard import Service
from sockudo_queue.delivery.own_services import brokers
from sockudo_queue.pipeline.dispatcher import endpoint_of


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80), ("", 80)])
def test_default_port_follows_the_scheme(scheme: str, port: int) -> None:
    assert default_port(scheme) == port


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://h/", 80),
        ("https://h/", 443),
        ("HTTPS://h/", 443),
        ("http://h:443/", 443),
        ("https://h:80/", 80),
    ],
)
def test_every_url_parser_finds_the_same_port(url: str, port: int) -> None:
    settings = Settings.model_validate({"driver": "sqs", "sqs": {"endpoint_url": url}})
    parts = url_parts(url, ("http", "https"))

    assert endpoint_of(url).port == port
    assert [*brokers(settings)] == [Service("the queue's own server", "h", port)]
    assert url_name(url, parts).startswith("h-" if port == default_port(parts.scheme) else f"h:{port}-")


@pytest.mark.parametrize(
    ("host", "written"), [("h.example", "h.example"), ("10.0.0.1", "10.0.0.1"), ("::1", "[::1]"), ("", "")]
)
def test_ipv6_host_is_bracketed_with_its_port(host: str, written: str) -> None:
    assert bracketed(host) == written
    assert host_port(host, 9602) == f"{written}:9602"


@pytest.mark.parametrize(("url", "port"), [("http://h", 80), ("h", 80), ("https://h", 443), ("h:9602", 9602)])
def test_stats_uses_the_default_port_of_the_scheme(url: str, port: int) -> None:
    pages = pages_at(url, Settings().metrics)
    assert (pages.host, pages.port) == ("h", port)


def test_probe_uses_the_daemons_default_port() -> None:
    assert probe.address({}) == ("", Settings().metrics.port, False) == ("", 9602, False)
