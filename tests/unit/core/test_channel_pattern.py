"""Patterns have the semantics of Rust's `regex` crate, are refused if it refuses them, and take linear time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sockudo_queue.core.channel_pattern import PatternError, compile_pattern

CASES: list[dict[str, str | bool | None]] = json.loads(
    (Path(__file__).parents[2] / "data" / "pattern-cases.json").read_text(encoding="utf-8")
)["cases"]


def ask(pattern: str, channel: str) -> bool | None:
    """Return whether the pattern is found, or None if it is refused."""
    try:
        return compile_pattern(pattern)(channel)
    except PatternError:
        return None


def fault(pattern: str) -> str:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    return str(caught.value)


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{n}-{ascii(case['pattern'])[1:31]}" for n, case in enumerate(CASES, start=1)]
)
def test_pattern_has_the_same_result_as_in_the_crate(case: dict[str, str | bool | None]) -> None:
    pattern, channel = case["pattern"], case["channel"]
    assert isinstance(pattern, str)
    assert isinstance(channel, str)
    assert ask(pattern, channel) is case["found"]


def test_case_table_has_enough_cases_of_each_result() -> None:
    answers = [case["found"] for case in CASES]
    assert answers.count(True) >= 100
    assert answers.count(False) >= 100
    assert answers.count(None) >= 50


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        (r"a\q", r" at character 2: \q"),
        (r"(abc", " at character 1: ("),
        (r"abc)", " at character 4: )"),
        (r"x[z-a]", " at character 3: z-a"),
        (r"é(?=a)", " at character 2: (?="),
        (r"ab\1", r" at character 3: \1"),
        (r"\p{Nope}", r" at character 1: \p{Nope}"),
        (r"x{2,1}", " at character 2: {2,1}"),
        (r"(?<a>x)(?<a>y)", " at character 11: a"),
        ("(?<a>x)\n(?<a>y)", " at line 2, character 4: a"),
        # Patterns that look like the error report that quotes them.
        ("error: (", " at character 8: ("),
        ("^^^(", " at character 4: ("),
        ("a\n  ^\n(", " at line 3, character 1: ("),
        ("(?x)\n" * 10 + "a # )\n )", " at line 12, character 2: )"),
        ("a\r\n(", " at line 2, character 1: ("),
    ],
)
def test_error_names_the_construct_and_its_position(pattern: str, place: str) -> None:
    message = fault(pattern)
    assert message.endswith(place)
    assert message != place
    assert "\n" not in message


def test_error_gives_the_reason() -> None:
    assert fault("(abc") == "unclosed group at character 1: ("


def test_error_over_several_lines_has_a_reason_without_a_position() -> None:
    assert fault("(?x)[z\n-a]").startswith("invalid character class range")


def test_long_construct_is_truncated_in_the_error() -> None:
    message = fault(r"\p{" + "x" * 500 + "}")
    assert message.endswith(r"\p{" + "x" * 17 + "…")


def test_invisible_character_is_escaped_in_the_error() -> None:
    assert fault("(?P<\u200b>a)").endswith(" at character 5: \\u{200b}")


def test_error_of_a_pattern_that_compiles_too_large_names_the_remedy() -> None:
    message = fault(r"(?:\w{100}){100}")
    assert "KiB, more than 16384 (queue.limits.pattern_kib)" in message
    assert "[A-Za-z0-9_] for \\w" in message


def test_pattern_with_half_a_surrogate_pair_is_refused() -> None:
    assert fault("ab\ud800").startswith("half a surrogate pair at character 3")


def test_channel_with_half_a_surrogate_pair_matches_nothing() -> None:
    assert compile_pattern("")("\ud800") is False


@pytest.mark.parametrize("pattern", [r"^(a*)*$", r"^(?:a+a+)+$", r"(?:a?){50}a{50}$", r"^(\w+\s?)+$"])
def test_a_hostile_channel_costs_linear_time(pattern: str) -> None:
    # A backtracking engine would not finish within the time limit of the test run.
    search = compile_pattern(pattern)
    assert search("a" * 100_000)
    assert not search("a" * 100_000 + "!")
