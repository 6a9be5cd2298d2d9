"""Every driver passes the common suites; tests that a driver overrides are listed here."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from tests.drivers.conformance import DriverConformance
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.floors import FLOORS, driver_of, too_few

HERE: Final = Path(__file__).parent
SUITES: Final = (DriverConformance, DeadLetterConformance)
TESTS: Final[dict[str, Callable[..., None]]] = {
    name: test for suite in SUITES for name, test in vars(suite).items() if name.startswith("test_")
}

# What SQS keeps differently, as docs/verification/drivers.md describes. No other driver does.
SQS: Final = {
    "test_body_is_unchanged_byte_for_byte",
    "test_a_body_without_a_state_can_be_put_back_and_can_lapse",
    "test_notifier_counts_the_claimable_jobs",
    "test_notifier_wakes_for_an_expired_claim",
    "test_notifier_wakes_for_a_released_record_that_fell_due",
    "test_a_delay_runs_by_the_brokers_clock",
    "test_expired_claim_can_be_settled_until_it_is_claimed_again",
    "test_a_lease_runs_by_the_brokers_clock",
    "test_a_replay_whose_reply_was_lost_can_be_asked_for_again",
    "test_a_settle_that_never_arrived_is_taken_the_second_time",
    "test_a_split_of_all_kinds",
    "test_a_stale_settle_is_refused_and_changes_nothing",
    "test_closing_touches_no_job",
    "test_depth_counts_by_state",
    "test_due_records_come_in_the_order_in_which_they_fell_due",
    "test_neither_fresh_jobs_nor_due_records_starve",
    "test_old_letters_are_dropped_and_counted",
    "test_peek_shows_the_first_job_and_takes_nothing",
    "test_repeating_a_settle_whose_reply_was_lost_is_harmless",
    "test_the_oldest_dead_letters_give_way_and_are_counted",
    "test_next_result_reports_what_a_settlement_trimmed",
}
FIFO: Final = {
    "test_a_lapsed_claim_goes_before_fresh_jobs",
    "test_an_owner_paused_past_its_lease_notices_and_goes_on",
    "test_requeued_jobs_go_first_in_the_order_of_their_claims",
    "test_requeued_job_keeps_its_count_of_lapses",
}
DIFFERENT: Final = {
    "tests/drivers/test_sqs.py::TestStandard": SQS,
    "tests/drivers/test_sqs.py::TestFifo": SQS | FIFO,
}


def drivers() -> dict[str, type]:
    """Return the classes that keep a suite, by the names under which pytest runs them."""
    found: dict[str, type] = {}
    for path in sorted(HERE.glob("test_*.py")):
        module = import_module(f"tests.drivers.{path.stem}")
        for name, kind in vars(module).items():
            if name.startswith("Test") and issubclass(kind, SUITES) and kind.__module__ == module.__name__:
                found[f"tests/drivers/{path.name}::{name}"] = kind
    return found


DRIVERS: Final = drivers()


def test_every_driver_has_a_floor_and_keeps_both_suites() -> None:
    assert DRIVERS.keys() == FLOORS.keys()
    assert {name for name, kind in DRIVERS.items() if not all(issubclass(kind, suite) for suite in SUITES)} == set()
    assert min(FLOORS.values()) >= len(TESTS)


@pytest.mark.parametrize("driver", DRIVERS)
def test_driver_overrides_only_the_named_tests(driver: str) -> None:
    kind = DRIVERS[driver]
    differs = {name for name, test in TESTS.items() if getattr(kind, name, None) is not test}
    assert differs == DIFFERENT.get(driver, set())
    assert {name for name in differs if not _asserts(getattr(kind, name))} == set()


def _asserts(test: Any) -> bool:
    """Return whether a test uses the queue and has an assertion."""
    if not inspect.isfunction(test) or "queue" not in inspect.signature(test).parameters:
        return False
    return any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(test)))))


def test_missing_tests_are_reported_per_driver() -> None:
    passed = dict(FLOORS)
    assert too_few(passed) == []

    lists, memory = "tests/drivers/test_redis_lists.py::TestRedisLists", "tests/drivers/test_memory.py::TestMemory"
    passed[lists] -= 1
    del passed[memory]
    assert [driver_of(line.split(": ")[0]) for line in too_few(passed)] == [memory, lists]
    assert driver_of(f"{lists}::test_a[valkey-sockudo_queue::queue:webhooks]") == lists
