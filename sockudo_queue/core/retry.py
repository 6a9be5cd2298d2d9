"""The retry policy, pure: takes the attempts made, the time spent and the outcome; returns a delay or None to stop.

With the defaults, failures that take no time are retried at 0, 1, 3, 7, 15, 31, 63, 123, 183 and 243 seconds (before
jitter): the delay doubles from 1 s to 60 s, and retries stop when the next delay would exceed the budget of 300 s.
The schedule and the names of its settings are Sockudo's own.
"""

from __future__ import annotations

import msgspec

from sockudo_queue.core.outcome import Outcome, Verdict


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how long a webhook is retried. Times are in milliseconds; `max_attempts` includes the first try."""

    enabled: bool = True
    max_attempts: int | None = None
    max_elapsed_time_ms: int = 300_000
    initial_backoff_ms: int = 1_000
    max_backoff_ms: int = 60_000
    jitter: float = 0.2

    def delay_ms(self, attempts: int, elapsed_ms: int, outcome: Outcome, chance: float) -> int | None:
        """Return the milliseconds until the next try, or None to stop.

        `attempts` counts the tries made, `elapsed_ms` is the time since the first, and `chance` is a random number in
        [0, 1) that spreads out retries which failed together. A `Retry-After` lengthens the delay, never shortens it,
        and is limited to the rest of the budget.
        """
        if outcome.verdict is not Verdict.RETRYABLE or not self.enabled:
            return None
        if self.max_attempts is not None and attempts >= max(self.max_attempts, 1):
            return None
        left = self.max_elapsed_time_ms - elapsed_ms
        delay = self.backoff_ms(attempts)
        if delay > left:
            return None
        delay = round(delay * (1 + self.jitter * (2 * chance - 1)))
        if outcome.retry_after is not None:
            delay = max(delay, min(round(outcome.retry_after * 1000), left))
        return delay

    def backoff_ms(self, attempts: int) -> int:
        """Return the delay after the given number of tries, before jitter."""
        # The cap applies long before 2^40 ms; the bound keeps a large count from building a huge integer.
        return min(max(self.initial_backoff_ms, 1) << min(attempts - 1, 40), max(self.max_backoff_ms, 1))
