"""The proxies of the environment: which are valid, and that errors show no value."""

from __future__ import annotations

import pytest

from sockudo_queue.delivery import proxies


@pytest.mark.parametrize(
    "value",
    [
        "http://proxy.example:3128",
        "proxy.example:3128",
        "proxy.example",
        "HTTP://proxy.example",
        "https://user:CANARY@proxy.example",
        "socks5h://[::1]:1080",
        "",
        " ",
    ],
)
def test_valid_proxy_is_accepted(value: str) -> None:
    assert list(proxies.faults({"https_proxy": value})) == []


@pytest.mark.parametrize(
    "value",
    [
        "http://user:CANARY@host:99999",
        "http://user:CANARY@host:0",
        "junk://user:CANARY@host",
        "http://user:CANARY@",
        "http://user:CANARY@[::1",
        "http://user:CANARY@host:port",
    ],
)
@pytest.mark.parametrize("variable", proxies.VARIABLES)
def test_invalid_proxy_gives_one_line_without_its_value(variable: str, value: str) -> None:
    [line] = proxies.faults({variable: value})
    assert line.startswith(f"{variable}: ")
    assert "CANARY" not in line
    assert "host" not in line.partition("must have a host")[0]


def test_upper_case_http_proxy_is_used_unless_the_lower_case_one_is_set() -> None:
    environment = {"HTTP_PROXY": "http://upper:1"}
    proxies.adopt(environment)
    assert environment["http_proxy"] == "http://upper:1"
    environment = {"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"}
    proxies.adopt(environment)
    assert environment["http_proxy"] == "http://lower:1"
