"""Classification of failed transfers, and which of libcurl's messages are shown."""

from __future__ import annotations

import pycurl
import pytest

from sockudo_queue.core.outcome import Failure
from sockudo_queue.delivery.errors import translated


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported proxy syntax in 'http://u:CANARY@h:99999': Port number was not a decimal number",
        "Unsupported proxy scheme for 'junk://u:CANARY@h'",
        "no such host CANARY@h",
    ],
)
def test_libcurl_message_that_may_contain_a_url_is_hidden(text: str) -> None:
    fault = translated(pycurl.Curl(), pycurl.error(pycurl.E_COULDNT_RESOLVE_PROXY, text), 100)
    assert str(fault) == "libcurl error 5, about a URL that is not shown"


def test_other_libcurl_message_is_shown() -> None:
    fault = translated(pycurl.Curl(), pycurl.error(pycurl.E_COULDNT_RESOLVE_HOST, "Could not resolve host: x"), 100)
    assert str(fault) == "Could not resolve host: x"


def test_request_that_libcurl_finds_too_large_blames_no_endpoint() -> None:
    fault = translated(pycurl.Curl(), pycurl.error(100, "HTTP request too large"), 100)
    assert fault.failure is Failure.INTERNAL
