"""Compiled patterns are kept within a number of bytes."""

import threading
from itertools import count

import pytest

from sockudo_queue.core.channel_pattern import Search, compile_pattern
from sockudo_queue.pipeline.pattern_cache import MAX_FOUND, PatternCache


def test_oldest_pattern_is_dropped_where_all_do_not_fit() -> None:
    compiled: list[str] = []

    def compiler(pattern: str, max_kib: int) -> Search:
        compiled.append(pattern)
        return compile_pattern(pattern, max_kib)

    cache = PatternCache(200, cpu_clock=lambda: 0.0, compiler=compiler)
    for pattern in (r"\w", r"\W", r"\S", r"\D", r"\D", r"\w"):
        cache.finds(pattern, "a")
    assert compiled == [r"\w", r"\W", r"\S", r"\D", r"\w"]
    assert cache.size_kib == 192


def test_pattern_in_use_is_kept_while_others_come_and_go() -> None:
    compiled: list[str] = []

    def compiler(pattern: str, max_kib: int) -> Search:
        compiled.append(pattern)
        return compile_pattern(pattern, max_kib)

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


class Searches:
    """Compiles to searches that take a millisecond each, by a clock that stands still otherwise, and counts them."""

    def __init__(self, seconds: float = 0.001) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.made: list[tuple[str, str]] = []
        self.charged: list[float] = []
        self.cache = PatternCache(
            100_000, clock=self.clock, cpu_clock=self.clock, compiler=self.compile, on_slow=self.charged.append
        )

    def clock(self) -> float:
        return self.now

    def compile(self, pattern: str, _max_kib: int) -> Search:
        def search(channel: str) -> bool:
            self.now += self.seconds
            self.made.append((pattern, channel))
            return channel.startswith(pattern)

        return search


def test_costly_search_runs_once_per_job_for_all_webhooks() -> None:
    searches = Searches()
    for _ in range(5):
        assert searches.cache.finds("a", "abc")
        assert not searches.cache.finds("b", "abc")
    assert sorted(searches.made) == [("a", "abc"), ("b", "abc")]
    assert sum(searches.charged) == pytest.approx(2 * searches.seconds)

    searches.cache.forget()
    assert searches.cache.finds("a", "abc")
    assert len(searches.made) == 3


def test_what_searches_found_is_kept_up_to_a_number_and_by_thread() -> None:
    searches = Searches()
    for number in range(MAX_FOUND + 1):
        searches.cache.finds("a", f"a{number}")
    made = len(searches.made)
    assert searches.cache.finds("a", "a0")
    assert len(searches.made) == made
    searches.cache.finds("a", f"a{MAX_FOUND}")
    assert len(searches.made) == made + 1

    other = threading.Thread(target=searches.cache.finds, args=("a", "a0"))
    other.start()
    other.join()
    assert len(searches.made) == made + 2


def test_quick_search_is_not_remembered() -> None:
    searches = Searches(seconds=0.0)
    for _ in range(5):
        searches.cache.finds("a", "abc")
    assert len(searches.made) == 5
