"""The ceilings: limits on what a job, or the owner of an app, may ask for.

Each default is above everything that a Sockudo server writes. A job over one becomes the dead letter `unreadable`, and
a webhook or an app over one the dead letter `webhook-invalid`: both keep their bytes and can be replayed. The bounds of
the settings are in `config/models/limits.py`.
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_ID_LENGTH: Final = 255
"""Maximum characters of `job_id`, `app_id` and `app_key`, as in Sockudo's columns; the first and the last are ASCII."""
MAX_HEADERS: Final = 100
"""Maximum headers of a webhook."""
MAX_NAMESPACES: Final = 1_000
"""Maximum entries of a webhook's `channel_namespaces`."""
MAX_EVENT_TYPES: Final = 100
"""Maximum entries of a webhook's `event_types`; Sockudo knows fewer than 20."""
MAX_JITTER: Final = 0.5
"""Maximum jitter of a webhook's own retry policy, unless the daemon's is larger. Jitter 1 would allow a delay of 0."""
OVER_LIMIT_FACTOR: Final = 2
"""An app with more webhooks than this times `webhooks_per_app` is rejected as a whole. Up to that number, only the
webhooks past the ceiling are invalid; each of them costs a dead letter for every job that it wants."""


class Ceilings(msgspec.Struct, frozen=True):
    """The ceilings that an operator can change."""

    job_bytes: int = 20_000_000
    """Bytes of a job. A server writes 16 MB at most; on Redis the scripts return no more than the default."""
    job_events: int = 10_000
    """Events of a job; a server batches 100 unless it is configured otherwise."""
    channel_bytes: int = 1_024
    """Bytes of a channel's name; a server allows 200 unless it is configured otherwise."""
    in_flight_bytes: int = 20_000_000
    """Bytes of large jobs in progress at the same time, three quarters of them for one app; in memory a job takes
    about four times its bytes."""
    webhooks_per_app: int = 1_000
    """Webhooks of one app, invalid ones included."""
    app_bytes: int = 1_000_000
    """Bytes of one column of an app's row in a database; DynamoDB allows 400 KB for a whole item."""
    app_cache_bytes: int = 20_000_000
    """Bytes of all cached app rows, 1 KB for each of the default 20,000; in memory they take about five times as
    much."""
    pattern_kib: int = 16_384
    """KiB of one compiled `channel_pattern`, as estimated by `pattern_cost`. Enough for `\\w` at each of the 200
    characters of a channel's name. The crate's own limit keeps each below 18 MB."""
    app_patterns_kib: int = 32_768
    """KiB of all different patterns of one app; 1,000 webhooks with 32 characters each."""
    pattern_cache_kib: int = 49_152
    """KiB of all cached compiled patterns, including the state that they build up while matching."""
    header_bytes: int = 16_384
    """Bytes of the names and values of a webhook's headers together."""
    request_timeout_ms: int = 60_000
    """Milliseconds of a webhook's own `request_timeout_ms`, unless the daemon's own is longer."""
    retry_elapsed_time_ms: int = 86_400_000
    """Milliseconds of a webhook's own `retry.max_elapsed_time_ms`, unless the daemon's own is longer."""
    retry_backoff_ms: int = 100
    """Minimum milliseconds of a webhook's own backoff, unless the daemon's own is shorter; a lower value is raised."""


DEFAULTS: Final = Ceilings()
