"""URLs and hosts are refused here when any library would refuse them or read them in another way."""

from __future__ import annotations

import random

import pycurl
import pytest

from sockudo_queue.config.urls import UrlParts, ascii_url, url_parts
from sockudo_queue.pipeline.dispatcher import endpoint_of

HTTP = ("http", "https")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://example.com", UrlParts("http", "example.com", None, False)),
        ("HTTPS://Example.COM:443/p?q#f", UrlParts("https", "example.com", 443, False)),
        ("http://user:p%40ss@h:8080/", UrlParts("http", "h", 8080, True)),
        ("http://a_b.c-d.example./", UrlParts("http", "a_b.c-d.example.", None, False)),
        ("http://[2001:DB8::1]:81/", UrlParts("http", "2001:db8::1", 81, False)),
        ("http://127.0.0.1/", UrlParts("http", "127.0.0.1", None, False)),
        ("http://h:/p", UrlParts("http", "h", None, False)),
        ("http://h?a=b@c", UrlParts("http", "h", None, False)),
        (f"http://{'a' * 63}.example/", UrlParts("http", f"{'a' * 63}.example", None, False)),
        ("http://1a.example/", UrlParts("http", "1a.example", None, False)),
    ],
)
def test_where_a_url_points(url: str, parts: UrlParts) -> None:
    assert url_parts(url, HTTP) == parts


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with http:// or https://"),
        ("x.com/p", "must begin with http:// or https://"),
        ("ftp://x/", "must begin with http:// or https://"),
        ("http:/x", "must begin with"),
        ("http://", "has no host"),
        ("http:///p", "has no host"),
        ("http://user@/", "has no host"),
        ("http://:80/", "has no host"),
        ("http://./", "has no host"),
        ("http://a..b/", "an empty part"),
        ("http://.x/", "an empty part"),
        (f"http://{'a' * 64}/", "longer than 63"),
        (f"http://{'a.' * 127}b/", "longer than 253"),
        ("http://-a/", "a host with invalid characters"),
        ("http://a-/", "a host with invalid characters"),
        ("http://a%2eb/", "a host with invalid characters"),
        ("http://a,b/", "a host with invalid characters"),
        ("http://[::1/", "a [ without a ]"),
        ("http://[::1]x/", "text between ] and the port"),
        ("http://[1.2.3.4]/", "an invalid IPv6 address"),
        ("http://[fe80::1%eth0]/", "zone"),
        ("http://::1/", "without brackets"),
        ("http://h:80:81/", "without brackets, or two ports"),
        ("http://h:99999/", "port"),
        ("http://h:0/", "port"),
        ("http://h:+80/", "port"),
        ("http://h:8O/", "port"),
        ("http://127.1/", "ends in a number"),
        ("http://2130706433/", "ends in a number"),
        ("http://0x7f000001/", "ends in a number"),
        ("http://1.2.3.256/", "ends in a number"),
        ("http://a@b@c/", "more than one @"),
        ("http://[a:b@h/", "[ or ] before the @"),
        ("http://a:b]@[::1]/", "[ or ] before the @"),
        ("http://a%00:b@h/", "a NUL"),
        ("http://h/a b", "white space"),
        ("http://h\t/", "white space"),
        ("http://h/\r\nX: y", "white space"),
        ("http://h\\@evil/", "backslash"),
        ("http://h/" + "a" * 9_000, "longer than 8192"),
        ("http://bücher.example/", "letters outside ASCII"),
    ],
)
def test_what_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has|contains|is) ") as raised:
        url_parts(url, HTTP)
    assert reason in str(raised.value)


def test_accepted_url_is_parsed_equally_by_python_and_libcurl() -> None:
    """Python's parser determines the endpoint of a webhook, but libcurl's where it is sent."""
    chance = random.Random(1)
    pieces = ["%00", "%40", "@", ":", "/", "?", "#", "[", "]", "{", "|", "a", "%", "é", "..", "//", ";", "\uff05", "::"]
    hosts = ["127.0.0.1", "[::1]", "[::ffff:1.2.3.4]", "a.example", "A.EXAMPLE", "bücher.example"]
    curl = pycurl.Curl()  # resolves every name and opens no socket
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda *_: pycurl.SOCKET_BAD)
    curl.setopt(pycurl.RESOLVE, [f"*:{port}:127.0.0.1" for port in (9, 80, 443)])
    passed = 0
    for _ in range(5_000):
        some = ["".join(chance.choices(pieces, k=chance.randrange(4))) for _ in range(3)]
        port = chance.choice(["", ":", ":80", ":080", ":9"])
        url = f"{chance.choice(['http', 'HTTPS'])}://{some[0]}{chance.choice(['', '@'])}{chance.choice(hosts)}{port}"
        try:
            wire = ascii_url(url + chance.choice(["", "/", "?", "#"]) + some[1] + some[2])
            parts = url_parts(wire, HTTP)
        except ValueError:
            continue
        passed += 1
        default = 443 if parts.scheme == "https" else 80
        assert endpoint_of(wire) == (parts.scheme, parts.host, parts.port or default), wire
        curl.setopt(pycurl.URL, wire)
        with pytest.raises(pycurl.error) as refused:
            curl.perform()
        assert refused.value.args[0] == pycurl.E_COULDNT_CONNECT, wire
    curl.close()
    assert passed > 500


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("https://example.com/a?b", "https://example.com/a?b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example:81/ü?ö", "https://xn--bcher-kva.example:81/%C3%BC?%C3%B6"),
        ("https://ü:ö@h/", "https://%C3%BC:%C3%B6@h/"),
    ],
)
def test_international_url_is_encoded_for_the_wire(url: str, wire: str) -> None:
    assert ascii_url(url) == wire
    url_parts(wire, HTTP)


def test_host_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="an invalid international host name"):
        ascii_url("https://a\u2603\ud800.example/")
