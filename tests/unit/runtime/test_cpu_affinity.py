"""On which core the threads run, by what was used since the last look."""

from __future__ import annotations

from sockudo_queue.runtime.cpu_affinity import FIRST_REST, LONGEST_REST, Policy


def test_an_idle_daemon_is_left_alone() -> None:
    policy = Policy()

    assert policy.decide(0.03, {0: 0.1, 1: 0.0}, 10.0) is None


def test_a_busy_one_takes_the_core_that_is_used_least() -> None:
    assert Policy().decide(1.3, {0: 0.8, 1: 0.7, 2: 0.1}, 10.0) == 2


def test_it_stays_while_nobody_else_needs_the_core() -> None:
    policy = Policy()
    policy.decide(1.3, {0: 0.8, 1: 0.7}, 10.0)

    for second in range(20):
        assert policy.decide(0.9, {0: 0.6, 1: 1.0}, 11.0 + second) == 1


def test_it_lets_go_when_it_is_idle_again() -> None:
    policy = Policy()
    policy.decide(1.3, {0: 0.8, 1: 0.7}, 10.0)

    assert policy.decide(0.03, {0: 0.1, 1: 0.1}, 11.0) is None


def test_it_leaves_a_core_that_others_need_and_rests_longer_each_time() -> None:
    policy, now, rests = Policy(), 10.0, []
    for _ in range(6):
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, now) == 0
        assert policy.decide(0.5, {0: 1.0, 1: 1.0}, now + 1) is None
        left = now = now + 1
        while policy.decide(1.0, {0: 0.5, 1: 0.6}, now) is None:
            now += 0.5
        policy.core = None
        rests.append(now - left)

    assert rests == [FIRST_REST, 10, 20, 40, LONGEST_REST, LONGEST_REST]


def test_a_crowded_machine_is_left_to_the_kernel() -> None:
    assert Policy().decide(1.0, {0: 0.9, 1: 0.9}, 10.0) is None


def test_a_long_peace_ends_the_memory_of_a_crowd() -> None:
    policy = Policy()
    for start in (10.0, 10.0 + 2 * LONGEST_REST + FIRST_REST):
        policy.core = None
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start) == 0
        policy.decide(0.5, {0: 1.0, 1: 1.0}, start + 1)
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start + 1 + FIRST_REST - 0.1) is None
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start + 1 + FIRST_REST) == 0


def test_a_core_that_the_machine_has_lost_is_left() -> None:
    policy = Policy()
    policy.decide(1.0, {0: 0.5, 1: 0.6}, 10.0)

    assert policy.decide(1.0, {1: 0.6}, 11.0) is None
