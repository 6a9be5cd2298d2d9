"""The estimate of a pattern's compiled size, made without compiling it."""

import time

import pytest

from sockudo_queue.core.ceilings import DEFAULTS
from sockudo_queue.core.channel_pattern import PatternError, compile_pattern
from sockudo_queue.core.pattern_cost import estimate_kib


@pytest.mark.parametrize(
    "pattern",
    [
        r"\w{300}z1",
        r"(?:(?:a|b|.)?){6000}\d$",
        r"(?:.?){6000}\d$",
        r"((a{50}){50}){50}",
        r"\pL{300}",
        r"[\p{L}\d]{300}",
        r"(?x)\w {300}",
        r"(?i)[^\w]{300}",
        r"[]\w]{300}",
        "a" * 20_000,
        "[" + "".join(rf"\u{{{0x10000 + 7 * n:x}}}" for n in range(400)) + "]{250}",
        "[" + "".join(rf"\x{{{0x1000 + 97 * n:x}}}-\U{0x1000 + 97 * n + 50:08x}" for n in range(400)) + "]{250}",
        r"[\w" + r"\u00e9" * 100 + "]{120}",
        "a" * 5_000 + r"\w{300}",
    ],
)
def test_pattern_above_the_ceiling_is_refused_before_it_is_compiled(pattern: str) -> None:
    assert estimate_kib(pattern) > DEFAULTS.pattern_kib
    with pytest.raises(PatternError, match="KiB, more than"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^private-room-\d+$",
        r"^presence-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        r"^\w{20}$",
        r"(?i)^(private|presence)-(order|invoice)s?\.[^.]+$",
        r"\p{Greek}+:\p{L}+",
        r"(?x) ^room - \d+ $ # rooms",
        r"^presence-\w{1,64}$",
        r"[\w-]{1,40}",
        r"^room-\d{1,128}$",
        r"^[\p{L}0-9_-]{1,64}$",
        r"^.{1,600}$",
        r"^private-[^-]{1,300}$",
        r"^private-[\w-]{1,200}$",
        r"^[\w\-\.:@]{1,100}$",
        "a" * 5_000,
        "a" * 200,
        "[",
        ")",
    ],
)
def test_ordinary_pattern_stays_below_the_ceiling(pattern: str) -> None:
    assert estimate_kib(pattern) <= DEFAULTS.pattern_kib


def test_estimate_is_linear_in_the_length_of_the_pattern() -> None:
    assert estimate_kib("(" * 200_000 + "[" * 200_000 + "{" * 200_000) > DEFAULTS.pattern_kib


@pytest.mark.parametrize("piece", ["(", "[", "{", "{ ", "{ ,", "(?<", r"\p{", "(?i"])
def test_estimate_of_a_hostile_pattern_is_fast(piece: str) -> None:
    began = time.process_time()
    estimate_kib((piece * 16_384)[:16_384])
    estimate_kib("{" + " " * 8_000 + "," + " " * 8_000)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "pattern", ["{}", "a{}", "a{,}", "{", "(", ")", "[", "\\", "a{ , }", "(?x)a{}", "]", "(?", "\\p{"]
)
def test_estimate_of_an_invalid_pattern_does_not_fail(pattern: str) -> None:
    assert estimate_kib(pattern) >= 0
