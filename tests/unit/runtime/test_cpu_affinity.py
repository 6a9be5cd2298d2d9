"""The choice of a core from the load since the last check."""

from __future__ import annotations

from sockudo_queue.runtime.cpu_affinity import FIRST_PAUSE, MAX_PAUSE, Policy


def test_idle_daemon_uses_all_cores() -> None:
    policy = Policy()

    assert policy.decide(0.03, {0: 0.1, 1: 0.0}, 10.0) is None


def test_busy_daemon_takes_the_least_loaded_core() -> None:
    assert Policy().decide(1.3, {0: 0.8, 1: 0.7, 2: 0.1}, 10.0) == 2


def test_daemon_keeps_its_core_while_others_do_not_need_it() -> None:
    policy = Policy()
    policy.decide(1.3, {0: 0.8, 1: 0.7}, 10.0)

    for second in range(20):
        assert policy.decide(0.9, {0: 0.6, 1: 1.0}, 11.0 + second) == 1


def test_daemon_that_becomes_idle_releases_its_core() -> None:
    policy = Policy()
    policy.decide(1.3, {0: 0.8, 1: 0.7}, 10.0)

    assert policy.decide(0.03, {0: 0.1, 1: 0.1}, 11.0) is None


def test_daemon_leaves_a_contended_core_for_a_longer_time_each_time() -> None:
    policy, now, rests = Policy(), 10.0, []
    for _ in range(6):
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, now) == 0
        assert policy.decide(0.5, {0: 1.0, 1: 1.0}, now + 1) is None
        left = now = now + 1
        while policy.decide(1.0, {0: 0.5, 1: 0.6}, now) is None:
            now += 0.5
        policy.core = None
        rests.append(now - left)

    assert rests == [FIRST_PAUSE, 10, 20, 40, MAX_PAUSE, MAX_PAUSE]


def test_daemon_on_a_loaded_machine_uses_all_cores() -> None:
    assert Policy().decide(1.0, {0: 0.9, 1: 0.9}, 10.0) is None


def test_long_time_without_contention_resets_the_pause() -> None:
    policy = Policy()
    for start in (10.0, 10.0 + 2 * MAX_PAUSE + FIRST_PAUSE):
        policy.core = None
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start) == 0
        policy.decide(0.5, {0: 1.0, 1: 1.0}, start + 1)
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start + 1 + FIRST_PAUSE - 0.1) is None
        assert policy.decide(1.0, {0: 0.5, 1: 0.6}, start + 1 + FIRST_PAUSE) == 0


def test_daemon_leaves_a_core_that_went_offline() -> None:
    policy = Policy()
    policy.decide(1.0, {0: 0.5, 1: 0.6}, 10.0)

    assert policy.decide(1.0, {1: 0.6}, 11.0) is None
