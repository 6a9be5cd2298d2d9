"""Normalises the URL of a webhook as the server and browsers do; pure. No message contains the URL.

pydantic-core carries the Rust crate `url`, which Sockudo itself uses for sending. So `127.1`, a missing slash or a
blank in a path have the same meaning in both, and every part of the daemon sees one form of the URL.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from pydantic_core import Url, ValidationError

from sockudo_queue.apps.parsing.names import url_name
from sockudo_queue.config import ascii_url, url_parts

MAX_LENGTH: Final = 8_192
"""Maximum characters of a normalised URL; common servers accept no longer request line."""
MAX_WRITTEN_LENGTH: Final = 4 * MAX_LENGTH
_SCHEMES: Final = ("http", "https")
_AUTHORITY: Final = re.compile(r"[^/?#]*(?://[^/?#]*)?")


def normalised(written: str) -> str:
    """Return the URL as it is sent. Raises ValueError with a reason that contains nothing of the URL."""
    if len(written) > MAX_WRITTEN_LENGTH:
        raise ValueError(f"is longer than {MAX_WRITTEN_LENGTH} characters")
    try:
        url = str(Url(written))
    except ValidationError as error:
        raise ValueError(_reason(written, error)) from None
    if len(url) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters when it is percent-encoded")
    # The crate accepts hosts that no resolver knows, and port 0. Only the authority still needs a check.
    url_parts(_authority(url), _SCHEMES)
    return url


def default_name(written: str, url: str) -> str:
    """Return the default name of a webhook, from its URL as it is written and as it is sent.

    Dead letters and delayed deliveries identify a webhook by its name, and earlier versions derived it from the written
    URL. So that form is preferred.
    """
    with suppress(ValueError):
        as_written = ascii_url(written.strip())
        return url_name(as_written, url_parts(as_written, _SCHEMES))
    return url_name(url, url_parts(_authority(url), _SCHEMES))


def _authority(url: str) -> str:
    found = _AUTHORITY.match(url)
    assert found is not None, "the pattern matches an empty text too"
    return found[0]


def _reason(written: str, error: ValidationError) -> str:
    details = error.errors(include_url=False, include_input=False)[0]
    if details["type"] != "url_parsing":
        return "contains half a surrogate pair, which is not a character"
    try:
        url_parts(ascii_url(written.strip()), _SCHEMES)  # its reasons are more precise, if it finds one
    except ValueError as better:
        return str(better)
    return f"cannot be read: {details['ctx']['error']}"  # from a closed set of texts of the crate
