"""Decides which traces are recorded, before the SDK is called: on a busy server most jobs are not sampled; pure.

Implements the samplers of https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling for OTEL_TRACES_SAMPLER.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec

from sockudo_queue.core.trace_context import SAMPLED, TraceContext

DEFAULT: Final = "parentbased_always_on"
_BITS: Final = 64
_IDS: Final = 1 << _BITS


class Sampling(msgspec.Struct, frozen=True):
    """A sampler: the share of traces to record, and whether the sampled flag of a job's trace decides instead."""

    ratio: float = 1.0
    by_parent: bool = True

    @property
    def bound(self) -> int:
        """The low half of a trace id is below this number in every recorded trace, as in all SDKs."""
        return round(self.ratio * _IDS)

    def wants(self, context: TraceContext | None) -> bool:
        """Return whether to record the spans of a job with this context; None means a job without a trace."""
        if context is None:
            return self.ratio >= 1 or random.random() < self.ratio  # noqa: S311 - guards nothing
        if self.by_parent:
            return context.flags & SAMPLED != 0
        return int(context.trace_id, 16) % _IDS < self.bound

    def trace_id(self) -> int:
        """Return an id for a new recorded trace: other services that sample by the id will record it, too."""
        low = random.randrange(max(self.bound, 2))  # noqa: S311 - as above
        return random.getrandbits(_BITS) << _BITS | (low or 1)


def named(name: str, ratio: float) -> Sampling | None:
    """Return the sampler of a name, or None if it is unknown; `ratio` is for those that use one."""
    parent = name.removeprefix("parentbased_")
    ratios = {"always_on": 1.0, "always_off": 0.0, "traceidratio": ratio}
    return Sampling(ratios[parent], parent != name) if parent in ratios else None
