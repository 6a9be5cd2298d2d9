"""URLs of Redis servers in the forms that Sockudo's Redis library reads; pure."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

UNIX: Final = "unix"
SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": UNIX,
    "redis+unix": UNIX,
    "valkey+unix": UNIX,
}
"""Each scheme, and what it stands for."""
TCP_SCHEMES: Final = tuple(name for name, meant in SCHEMES.items() if meant != UNIX)
MAX_PATH_BYTES: Final = 107
"""Bytes of the path of a socket on Linux."""


class UnixSocket(NamedTuple):
    """A server behind a Unix socket, and the login there."""

    path: str
    database: int
    username: str | None
    password: str | None


def redis_scheme(url: str) -> str:
    """Return `redis`, `rediss` or `unix`: what a URL's scheme stands for; an unknown one as it is."""
    scheme = url.partition("://")[0].lower()
    return SCHEMES.get(scheme, scheme)


def unix_socket(url: str) -> UnixSocket:
    """Read `unix:///PATH?db=N&user=U&pass=P`. Raises ValueError; its text contains no part of the URL."""
    try:
        parts = urlsplit(url)
    except ValueError:  # its text holds a part of the URL
        raise ValueError("is not a valid URL; use unix:///run/redis/redis.sock") from None
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or path.endswith("/"):
        raise ValueError("must have the path of a socket after three slashes, such as unix:///run/redis/redis.sock")
    if "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"has a path with a NUL, or of more than {MAX_PATH_BYTES} bytes")
    given = parse_qs(parts.query, keep_blank_values=True)
    database = _first(given, "db") or "0"
    if not (database.isascii() and database.isdigit() and len(database) <= 9):
        raise ValueError("must have a database number or nothing after db=")
    return UnixSocket(path, int(database), _first(given, "user", "username"), _first(given, "pass", "password"))


def _first(given: dict[str, list[str]], *names: str) -> str | None:
    return next((given[name][0] for name in names if given.get(name)), None)
