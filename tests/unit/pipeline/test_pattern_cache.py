"""Compiled patterns are kept within a number of bytes."""

from itertools import count

import pytest

from sockudo_queue.core.channel_pattern import Search, compile_pattern
from sockudo_queue.pipeline.pattern_cache import PatternCache


def test_oldest_pattern_is_dropped_where_all_do_not_fit() -> None:
    compiled: list[str] = []

    def compiler(pattern: str, most_kib: int) -> Search:
        compiled.append(pattern)
        return compile_pattern(pattern, most_kib)

    cache = PatternCache(200, cpu_clock=lambda: 0.0, compiler=compiler)
    for pattern in (r"\w", r"\W", r"\S", r"\D", r"\D", r"\w"):
        cache.finds(pattern, "a")
    assert compiled == [r"\w", r"\W", r"\S", r"\D", r"\w"]
    assert cache.size_kib == 192


def test_pattern_in_use_is_kept_while_others_come_and_go() -> None:
    compiled: list[str] = []

    def compiler(pattern: str, most_kib: int) -> Search:
        compiled.append(pattern)
        return compile_pattern(pattern, most_kib)

    cache = PatternCache(1_000, cpu_clock=lambda: 0.0, compiler=compiler)
    for number in range(200):
        cache.finds("in use", "a")
        cache.finds(rf"\w{number}", "a")
    assert compiled.count("in use") == 1
    assert cache.size_kib <= 1_000


@pytest.mark.parametrize("milliseconds", [1, 10])
def test_slow_searches_are_charged_for_what_the_pattern_learns(milliseconds: int) -> None:
    ticks = count()
    cache = PatternCache(20_000, cpu_clock=lambda: next(ticks) * milliseconds / 1000)
    for number in range(100):
        cache.finds(f"a{number}", "a")
        assert cache.size_kib <= 20_000
    assert cache.size_kib > 3_000


def test_time_that_another_thread_took_is_not_charged() -> None:
    ticks, charged = count(), list[float]()
    cache = PatternCache(20_000, clock=lambda: float(next(ticks)), cpu_clock=lambda: 0.0, on_slow=charged.append)
    for _ in range(10):
        assert cache.finds("a", "a")
    assert sum(charged) == 0
    assert cache.size_kib < 100


def test_pattern_that_becomes_slow_is_charged_from_its_second_slow_search() -> None:
    ticks, cpu, charged = count(), count(), list[float]()
    cache = PatternCache(20_000, clock=lambda: float(next(ticks)), cpu_clock=lambda: 0.0, on_slow=charged.append)
    cache.finds("a", "a")
    cache._cpu_clock = lambda: float(next(cpu))
    cache.finds("a", "a")
    assert sum(charged) == 0
    cache.finds("a", "a")
    assert sum(charged) == 1


def test_invalid_pattern_is_found_nowhere() -> None:
    assert not PatternCache(10).finds("[", "[")
