"""A repeated key of an event is found in any spelling, without false positives."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockudo_queue.core.event_keys import repeats_keys


@pytest.mark.parametrize(
    "event",
    [
        b'{"name":"a","name":"b"}',
        b'{"channel":"a","name":"x","channel":"a"}',
        b'{ "name" :"a", "n\\u0061me" : "b"}',
        b'{"data":{"name":"x"},"name":"a","name":"b"}',
        b'{"name":{"a":["}"]},"name":"b"}',
    ],
)
def test_repeated_key_is_found(event: bytes) -> None:
    assert repeats_keys(event)


@pytest.mark.parametrize(
    "event",
    [
        b'{"name":"a","channel":"b"}',
        b'{"name":"name","channel":"name"}',
        b'{"name":"a","data":{"name":"x","channel":"y"}}',
        b'{"name":"a","data":"\\"name\\":\\"b\\""}',
        b'{"name":"a","data":["name","name"]}',
        b'{"name":"a","other":1,"other":2}',
        b"{}",
        b"[]",
        b"1",
    ],
)
def test_event_without_a_repeated_key_is_accepted(event: bytes) -> None:
    assert not repeats_keys(event)


KEYS = st.sampled_from(["name", "channel", "event", 'na"me', "\\", "{", "ä"])
VALUES = st.recursive(
    st.none() | st.text(alphabet='na"\\{}[]:,') | KEYS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5), st.booleans())
def test_result_agrees_with_a_parser(pairs: list[tuple[str, object]], spaced: bool) -> None:
    separator = " : " if spaced else ":"
    items = ",".join(json.dumps(key) + separator + json.dumps(value) for key, value in pairs)
    keys = [key for key, _ in pairs]
    expected = keys.count("name") > 1 or keys.count("channel") > 1
    assert repeats_keys(("{" + items + "}").encode()) == expected


BIG: Final = {
    "lists": b'{"name":"a","data":[' + b"[],[]," * 100_000 + b"[]]}",
    "one string": b'{"name":"a","data":"' + b"x" * 4_000_000 + b'"}',
    "escapes": b'{"name":"a","data":"' + b"\\u0041" * 700_000 + b'"}',
}


@pytest.mark.parametrize("kind", BIG)
def test_large_event_takes_linear_time_and_little_memory(kind: str) -> None:
    """Measured in a separate process, because Python does not count the regex engine's memory."""
    program = (
        "import resource, sys, time\n"
        "from sockudo_queue.core.event_keys import repeats_keys\n"
        "event = sys.stdin.buffer.read()\n"
        "before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()\n"
        "assert not repeats_keys(event)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - began)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], input=BIG[kind], capture_output=True, check=True, timeout=60
    )
    grown_kib, seconds = map(float, answer.stdout.split())
    assert grown_kib * 1024 < 3 * len(BIG[kind])
    assert seconds < 2
