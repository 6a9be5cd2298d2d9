"""Sampling decisions, which need no library."""

from __future__ import annotations

import pytest

from sockudo_queue.core.trace_context import TraceContext
from sockudo_queue.observability.tracing.sampling import Sampling

SPAN = "00f067aa0ba902b7"
LOWEST, HIGHEST = "f" * 16 + "0" * 15 + "1", "0" * 15 + "1" + "f" * 16
ALWAYS, NEVER = 1.0, 0.0


@pytest.mark.parametrize("ratio", [ALWAYS, 0.01, NEVER])
@pytest.mark.parametrize(("flags", "wanted"), [(0, False), (1, True), (2, False), (3, True)])
def test_sampled_flag_of_a_job_decides_whatever_the_ratio(ratio: float, flags: int, wanted: bool) -> None:
    assert Sampling(ratio).wants(TraceContext(HIGHEST, SPAN, flags)) is wanted


@pytest.mark.parametrize(("trace", "wanted"), [(LOWEST, True), (HIGHEST, False)])
def test_trace_id_decides_if_the_parent_is_ignored(trace: str, wanted: bool) -> None:
    assert Sampling(0.01, by_parent=False).wants(TraceContext(trace, SPAN, not wanted)) is wanted


def test_job_without_a_trace_is_sampled_by_the_ratio() -> None:
    assert all(Sampling().wants(None) for _ in range(100))
    assert not any(Sampling(NEVER).wants(None) for _ in range(100))
    assert 100 < sum(Sampling(0.5).wants(None) for _ in range(1000)) < 900


@pytest.mark.parametrize("ratio", [ALWAYS, 0.01, 1e-18])
def test_new_trace_id_is_sampled_by_others_with_the_same_ratio(ratio: float) -> None:
    sampling = Sampling(ratio, by_parent=False)
    ids = {sampling.trace_id() for _ in range(100)}
    assert all(sampling.wants(TraceContext(f"{number:032x}", SPAN, 0)) for number in ids)
    assert len(ids) == 100
    assert all(0 < number < 2**128 for number in ids)
