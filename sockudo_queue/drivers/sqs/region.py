"""The region in an AWS URL. It determines where the queue is, whatever region is configured."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from sockudo_queue.errors import SettingsError

_AMAZON: Final = r"(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)"
_HOSTS: Final = (
    re.compile(rf"(?:.+\.)?sqs(?:-fips)?\.(?P<region>[a-z]+(?:-[a-z]+)+-\d+)(?:\.vpce)?\.{_AMAZON}"),
    re.compile(rf"(?P<region>[a-z]+(?:-[a-z]+)+-\d+)\.queue\.{_AMAZON}"),  # used by old SDKs
)


def region_in(url: str) -> str | None:
    """Return the region in a URL, or None if it is not an AWS URL, as with an emulator."""
    host = urlsplit(url).hostname or ""
    found = (pattern.fullmatch(host) for pattern in _HOSTS)
    return next((match["region"] for match in found if match), None)


def region_for(region: str, url_prefix: str | None, endpoint_url: str | None, *, is_set: bool) -> str:
    """Return the region to call. Raises `SettingsError` if the settings contradict each other.

    With a custom endpoint, every call goes there, and the region is only part of the signature, which an emulator does
    not check.
    """
    setting, url = ("endpoint_url", endpoint_url) if endpoint_url else ("queue_url_prefix", url_prefix)
    named = region_in(url) if url else None
    if named is None or named == region:
        return region
    if is_set:
        raise SettingsError(
            [
                f"queue.sqs.{setting} is in the region {named}, but queue.sqs.region (QUEUE_SQS_REGION) is "
                f"{region}; set the region to {named}, or leave it out"
            ]
        )
    return named
