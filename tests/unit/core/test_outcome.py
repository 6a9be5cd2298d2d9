"""Classification of outcomes: which are retried, which count for the breaker, and their reasons."""

from __future__ import annotations

import pytest

from sockudo_queue.core.outcome import Failure, Outcome, Verdict, from_failure, from_status


@pytest.mark.parametrize(
    ("status", "verdict", "blames", "reason"),
    [
        (200, Verdict.DELIVERED, False, "delivered"),
        (204, Verdict.DELIVERED, False, "delivered"),
        (299, Verdict.DELIVERED, False, "delivered"),
        (301, Verdict.PERMANENT, False, "redirect-301"),
        (302, Verdict.PERMANENT, False, "redirect-302"),
        (308, Verdict.PERMANENT, False, "redirect-308"),
        (400, Verdict.PERMANENT, False, "status-400"),
        (401, Verdict.PERMANENT, False, "status-401"),
        (404, Verdict.PERMANENT, False, "status-404"),
        (408, Verdict.RETRYABLE, False, "status-408"),
        (409, Verdict.RETRYABLE, False, "status-409"),
        (410, Verdict.PERMANENT, False, "status-410"),
        (422, Verdict.PERMANENT, False, "status-422"),
        (425, Verdict.RETRYABLE, False, "status-425"),
        (429, Verdict.RETRYABLE, True, "status-429"),
        (500, Verdict.RETRYABLE, True, "status-500"),
        (503, Verdict.RETRYABLE, True, "status-503"),
        (599, Verdict.RETRYABLE, True, "status-599"),
        (101, Verdict.PERMANENT, False, "status-101"),
        (600, Verdict.RETRYABLE, True, "status-600"),
    ],
)
def test_statuses(status: int, verdict: Verdict, blames: bool, reason: str) -> None:
    outcome = from_status(status)

    assert (outcome.verdict, outcome.blames_endpoint, outcome.reason) == (verdict, blames, reason)
    assert outcome.delivered == (verdict is Verdict.DELIVERED)
    assert not outcome.is_transport_failure


@pytest.mark.parametrize("status", [301, 400, 404, 410, 422, 500])
def test_pushers_rule_retries_every_status_except_2xx(status: int) -> None:
    assert from_status(status, retry_all=True).verdict is Verdict.RETRYABLE
    assert from_status(204, retry_all=True).verdict is Verdict.DELIVERED


@pytest.mark.parametrize("failure", list(Failure))
def test_failure_without_a_response_is_classified(failure: Failure) -> None:
    outcome = from_failure(failure, "detail")
    expected = Verdict.PERMANENT if failure is Failure.GUARD else Verdict.RETRYABLE

    assert (outcome.verdict, outcome.reason, outcome.detail) == (expected, failure.value, "detail")
    assert outcome.status is None
    assert not outcome.delivered


def test_failures_of_ours_do_not_blame_the_endpoint() -> None:
    blamed = {failure for failure in Failure if from_failure(failure).blames_endpoint}

    assert set(Failure) - blamed == {Failure.STATUS, Failure.REDIRECT, Failure.GUARD, Failure.INTERNAL}


def test_retry_after_and_detail_are_kept() -> None:
    assert from_status(503, retry_after=2.5, detail="d") == Outcome(Verdict.RETRYABLE, Failure.STATUS, 503, 2.5, "d")
