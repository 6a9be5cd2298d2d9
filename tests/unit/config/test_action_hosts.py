"""The names under which the status page may act: as a `Host` header has them."""

from __future__ import annotations

import pytest

from sockudo_queue.config.models import MetricsSettings


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("Queue.Example", "queue.example"),
        ("queue.example:8443", "queue.example:8443"),
        ("10.0.0.5:9602", "10.0.0.5:9602"),
        ("[::1]:9602", "[::1]:9602"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_name_may_have_a_port(given: str, read: str) -> None:
    assert MetricsSettings(action_hosts=given).action_hosts == (read,)


@pytest.mark.parametrize("given", ["https://queue.example", "a b", "user@host", "[::1", "host:port"])
def test_invalid_host_name_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="action_hosts"):
        MetricsSettings(action_hosts=given)
