"""The trace context of a job: which fields are propagated, and which are rejected."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from sockudo_queue.core import job as jobs
from sockudo_queue.core.trace_context import BAGGAGE_LIMIT, TRACESTATE_LIMIT, TraceContext, read
from tests.helpers.jobs import job

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
PARENT: Final = f"00-{TRACE}-{SPAN}-01"


def found(**fields: Any) -> tuple[TraceContext | None, tuple[str, ...]]:
    result = read(json.dumps(fields).encode())
    return result.context, result.rejected


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (PARENT, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", 3, id="unknown flags are cleared"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-what-comes-later", 1, id="a later version"),
        pytest.param(f" {PARENT} ", 1, id="blanks around it"),
    ],
)
def test_valid_traceparent_is_accepted(parent: str, flags: int) -> None:
    assert found(traceparent=parent) == (TraceContext(TRACE, SPAN, flags), ())


@pytest.mark.parametrize(
    "parent",
    [
        "x",
        PARENT.upper(),
        PARENT + "-more",
        PARENT[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}\r\nX-Evil: 1",
        f"{PARENT}\n",
        f"01-{TRACE}-{SPAN}-01-\u00e4",
        "0" * 2_000,
        5,
        ["a"],
        {"a": "b"},
    ],
)
def test_invalid_traceparent_drops_the_whole_context(parent: object) -> None:
    """Except for a line break at the end, which is stripped like other white space."""
    context, rejected = found(traceparent=parent, tracestate="a=b", baggage="c=d")
    if parent == f"{PARENT}\n":
        assert (context, rejected) == (TraceContext(TRACE, SPAN, 1, "a=b", "c=d"), ())
    else:
        assert context is None
        assert rejected == ("traceparent",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tracestate", "a=b\r\nX-Evil: 1"),
        ("tracestate", "a=\u00e4"),
        ("tracestate", "a" * (TRACESTATE_LIMIT + 1)),
        ("tracestate", 7),
        ("baggage", "a=\x00"),
        ("baggage", "a" * (BAGGAGE_LIMIT + 1)),
        ("baggage", [1]),
    ],
)
def test_invalid_field_is_dropped_and_the_trace_is_kept(field: str, value: object) -> None:
    assert found(traceparent=PARENT, **{field: value}) == (TraceContext(TRACE, SPAN, 1), (field,))


@pytest.mark.parametrize(
    ("raw", "rejected"),
    [
        (b"{}", ()),
        (b"null", ()),
        (b'{"tracestate":"a=b"}', ()),
        (b'{"traceparent":""}', ()),
        (b"5", ("traceparent",)),
        (b"[]", ("traceparent",)),
        (b'"text"', ("traceparent",)),
        (b"[" * 100_000 + b"]" * 100_000, ("traceparent",)),
        (b'{"traceparent":"\\ud800"}', ("traceparent",)),
    ],
)
def test_job_without_a_valid_trace_has_no_context(raw: bytes, rejected: tuple[str, ...]) -> None:
    result = read(raw)
    assert result.context is None
    assert result.rejected == rejected


def test_headers_contain_baggage_only_if_requested() -> None:
    context = TraceContext(TRACE, SPAN, 1, "a=b", "user=alice").child(0xAB)
    assert context.headers(baggage=False) == {"traceparent": f"00-{TRACE}-{0xAB:016x}-01", "tracestate": "a=b"}
    assert context.headers(baggage=True)["baggage"] == "user=alice"
    assert TraceContext(TRACE, SPAN, 0).child(1).headers(baggage=True) == {"traceparent": f"00-{TRACE}-{1:016x}-00"}


@pytest.mark.parametrize("trace", [b"5", b'{"traceparent":5}', b'{"traceparent":"' + b"x" * 100_000 + b'"}'])
def test_job_with_an_invalid_trace_is_decoded(trace: bytes) -> None:
    body = job(1)[:-1] + b',"trace_context":' + trace + b"}"
    read_job = jobs.decode(body)
    assert len(read_job.events) == 1
    assert read_job.trace.context is None


def test_job_of_an_older_server_has_no_trace() -> None:
    assert jobs.decode(job(1)).trace.context is None
    assert jobs.decode(job(1)).trace.rejected == ()


def test_many_unknown_fields_beside_a_trace_are_skipped() -> None:
    trace = {"traceparent": PARENT} | {f"field-{number}": number for number in range(10_000)}
    assert read(json.dumps(trace).encode()).context == read(json.dumps({"traceparent": PARENT}).encode()).context
