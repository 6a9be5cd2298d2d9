"""URLs of webhooks are normalised as the server and browsers do, and their default names never change."""

from __future__ import annotations

import random
from urllib.parse import urlsplit

import pycurl
import pytest

from sockudo_queue.apps.parsing.urls import default_name, normalised
from sockudo_queue.core.ports import default_port
from sockudo_queue.pipeline.dispatcher import endpoint_of
from tests.helpers.settings import CANARY


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://api.example.com/a?b", "https://api.example.com/a?b"),
        ("http://h", "http://h/"),
        ("http://h?a", "http://h/?a"),
        ("HTTP://API.Example.COM/Path", "http://api.example.com/Path"),
        ("  http://h/ \n", "http://h/"),
        ("http://h/a b?c d", "http://h/a%20b?c%20d"),
        ("http://h/a\tb\nc\rd", "http://h/abcd"),
        ("http://h\\a\\b?c\\d", "http://h/a/b?c\\d"),
        ('http://h/a"b<c>{d}`?q="x"&y=<z>', "http://h/a%22b%3Cc%3E%7Bd%7D%60?q=%22x%22&y=%3Cz%3E"),
        ("http:/h/a", "http://h/a"),
        ("http:h/a", "http://h/a"),
        ("http:///h/a", "http://h/a"),
        ("http:\\\\h\\a", "http://h/a"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://h:034677/", "http://h:34677/"),
        ("http://h:80/", "http://h/"),
        ("https://h:443/", "https://h/"),
        ("https://h:80/", "https://h:80/"),
        ("http://h:/", "http://h/"),
        ("http://@h/", "http://h/"),
        ("http://a@b@h/", "http://a%40b@h/"),
        ("http://user:p%40ss@h/", "http://user:p%40ss@h/"),
        ("http://h/a/../b/./c", "http://h/b/c"),
        ("http://h/%7e%zz", "http://h/%7e%zz"),
        ("http://h/é?ü#ß", "http://h/%C3%A9?%C3%BC#%C3%9F"),
        ("http://[::FFFF:1.2.3.4]:81/", "http://[::ffff:102:304]:81/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://my_host.bücher.example/", "https://my_host.xn--bcher-kva.example/"),
        ("https://r2---sn.bücher.example/", "https://r2---sn.xn--bcher-kva.example/"),
        ("https://my_host.example/", "https://my_host.example/"),
        ("https://r2---sn.example/", "https://r2---sn.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("http://\uff45xample\uff0ecom/", "http://example.com/"),
        ("http://ex%61mple.com/", "http://example.com/"),
    ],
)
def test_url_is_sent_as_the_server_sends_it(written: str, sent: str) -> None:
    assert normalised(written) == sent
    assert normalised(sent) == sent


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "must begin with http:// or https://"),
        ("CANARY", "must begin with http:// or https://"),
        ("//CANARY/", "must begin with http:// or https://"),
        ("ftp://CANARY/", "must begin with http:// or https://"),
        ("mailto:CANARY@h", "must begin with http:// or https://"),
        ("http://", "has no host"),
        ("http://CANARY:CANARY@/", "has no host"),
        ("http://CANARY:0/", "port"),
        ("http://CANARY:65536/", "port"),
        ("http://CANARY:8O/", "port"),
        ("http://CANARY..b/", "empty part"),
        ("http://-CANARY/", "a host with invalid characters"),
        ("http://CANARY b/", "white space"),
        ("http://CANARY%20b/", "a host with invalid characters"),
        ("http://CANARY,b/", "a host with invalid characters"),
        (f"http://{'a' * 64}/", "longer than 63"),
        ("http://1.2.3.256/", "ends in a number"),
        ("http://1.2.3.4.5/", "ends in a number"),
        ("http://[::1/", "a [ without a ]"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://CANARY%00@h/", "a NUL"),
        ("http://xn--a.example/", "cannot be read: invalid international domain name"),
        ("http://h/\ud800", "contains half a surrogate pair"),
        ("http://h/" + "a" * 9_000, "longer than 8192"),
        ("http://h/" + "é" * 2_000, "longer than 8192"),
        ("http://h/" + "\t" * 100_000, "longer than 32768"),
    ],
)
def test_invalid_url_has_a_reason_without_the_url(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has|contains|is|cannot) ") as raised:
        normalised(written)
    assert reason in str(raised.value)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("https://api.example.test/hooks", "api.example.test-fd5c59f2"),
        ("https://API.example.test:443/hooks", "api.example.test-3b88319f"),
        ("https://h", "h-ecffbe29"),
        ("http://h:8080/a{b}", "h:8080-e98621f5"),
        ("https://h:080/a/../b", "h:80-7685dd90"),
        ("https://bücher.example/ä", "xn--bcher-kva.example-88e70303"),
        ("http://[::FFFF:1.2.3.4]:81/", "[::ffff:1.2.3.4]:81-c9b21e4f"),
        (" https://u:p@h./?q#f ", "h.-1cac9e1f"),
    ],
)
def test_default_name_of_a_previously_accepted_url_is_unchanged(written: str, name: str) -> None:
    assert default_name(written, normalised(written)) == name


def test_default_name_of_a_newly_accepted_url_comes_from_the_normalised_url() -> None:
    for written in ("http://127.1/x", "http:127.0.0.1/x", "http:\\\\127.0.0.1\\x"):
        assert default_name(written, normalised(written)) == default_name("http://127.0.0.1/x", "http://127.0.0.1/x")


def test_normalised_url_is_parsed_equally_by_python_and_libcurl() -> None:
    """Python determines the endpoint of a webhook, but libcurl the address that it connects to."""
    chance = random.Random(1)
    pieces = ["%00", "%40", "@", ":", "/", "?", "#", "[", "]", "{", "|", "\\", "a", "%", "é", "..", " ", ";", "\uff05"]
    hosts = ["127.0.0.1", "127.1", "[::1]", "[::ffff:1.2.3.4]", "a.example", "A.EXAMPLE", "a_b.bücher.example"]
    curl = pycurl.Curl()  # resolves every name and opens no socket
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda *_: pycurl.SOCKET_BAD)
    curl.setopt(pycurl.RESOLVE, [f"*:{port}:127.0.0.1" for port in (9, 80, 443)])
    passed = 0
    for _ in range(5_000):
        some = ["".join(chance.choices(pieces, k=chance.randrange(4))) for _ in range(3)]
        port = chance.choice(["", ":", ":80", ":080", ":9"])
        written = f"{chance.choice(['http://', 'HTTPS:/', 'http:'])}{some[0]}{chance.choice(['', '@'])}"
        written += f"{chance.choice(hosts)}{port}{chance.choice(['', '/', '?', '#'])}{some[1]}{some[2]}"
        try:
            url = normalised(written)
        except ValueError:
            continue
        passed += 1
        parts = urlsplit(url)
        expected = (parts.scheme, parts.hostname, parts.port or default_port(parts.scheme))
        assert endpoint_of(url) == expected
        curl.setopt(pycurl.URL, url)
        with pytest.raises(pycurl.error) as refused:
            curl.perform()
        assert refused.value.args[0] == pycurl.E_COULDNT_CONNECT, url
    curl.close()
    assert passed > 500
