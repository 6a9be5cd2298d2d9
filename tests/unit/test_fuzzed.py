"""Invariants that hold for any bytes: inputs that once violated them, and mutations of valid ones by hypothesis.

`scripts/fuzz` searches the same targets for longer, led by coverage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, seeds
from tests.faults.measures import scaled

FOUND: Final = Path(__file__).parents[1] / "data" / "fuzz"
SLOW: Final = frozenset({"file", "webhook", "variable"})  # they read all settings each time
TOKENS: Final = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\r\n", b"\0", b"\x01", b"\xff", b"\xed\xa0\x80", b"$"),
    *(b"null", b"-1", b"1e999", b"9" * 30, b"0.1", b'"\\ud800"', b"\\u0000", b"${A}", b"${A:-b}", b'":"', b"[" * 300),
    *(b"sockudo_queue", b"sockudo_queue_raw", "é😀\u2028".encode(), b"CANARY", b"(?i", b"[^", b"{1,9999}", b"\\p{"),
)


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> bytes:
    """Valid bytes with a few edits: inserted, removed, repeated or truncated."""
    data = bytearray(draw(st.sampled_from(seeds(name))))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(at + draw(st.integers(0, 40)), len(data))
        match draw(st.sampled_from(("put", "cut", "repeat", "end"))):
            case "put":
                data[at:at] = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
            case "cut":
                del data[at:end]
            case "repeat":
                data[at:at] = data[at:end]
            case "end":
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes_violate_no_invariant(name: str) -> None:
    examples = scaled(300, 20) if name in SLOW else scaled(1000, 60)

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    @given(spoiled(name) | st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_inputs_of_fixed_faults_pass(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())
