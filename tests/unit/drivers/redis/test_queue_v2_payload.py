"""The payloads of Queue V2: envelopes, bare jobs, our state as the last field, and bodies that are not JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockudo_queue.drivers.redis.queue_v2_payload import closed, opened, pieces, start_of
from tests.helpers.jobs import job
from tests.helpers.queue_v2 import envelope, with_job_id

ID = "0f" * 16
DATA = with_job_id(job(1), ID)

ODD = [
    b"",
    b"{}",
    b"{} ",
    b"[]",
    b"null",
    b"5",
    b"hello",
    b'"text"',
    b"\xff\xfe{",
    b'{"a":"\xff"}',
    b'{"a":1}\n',
    b' {"a":1}',
    b'{"a":1,"sockudo_queue":"foreign"}',
    b'{"sockudo_queue_raw":"x"}',
    b'{"sockudo_queue_raw":"x","sockudo_queue":"y"}',
    b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b'{"a":1',
    b'{"a":1}}',
    b'{"a":1,}',
    b"\x01state\nbody",
    bytes(range(256)),
]


def test_the_job_of_an_envelope_is_its_data() -> None:
    assert opened(envelope(DATA, ID), ID) == (b"", DATA)


def test_a_bare_job_is_itself() -> None:
    assert opened(DATA, ID) == (b"", DATA)


def test_an_envelope_in_another_order_or_with_more_fields_is_one() -> None:
    payload = b'{"data":%b, "more":[1], "id":"%b", "version":2}' % (DATA, ID.encode())
    assert opened(payload, ID) == (b"", DATA)


def test_the_id_of_an_envelope_may_be_any_text() -> None:
    assert opened(envelope(DATA, "a b%ü"), "a%20b%25%C3%BC") == (b"", DATA)


@pytest.mark.parametrize(
    "payload",
    [
        envelope(DATA, "another id"),
        envelope(DATA, ID).replace(b'"version":2', b'"version":3'),
        envelope(DATA, ID)[:-1],
        envelope(DATA[:-1], ID),
        envelope(b'{"a":"\xff"}', ID),
        b'{"version":2,"id":"%b"}' % ID.encode(),
    ],
)
def test_body_that_is_not_an_envelope_is_unchanged(payload: bytes) -> None:
    assert opened(payload, ID) == (b"", payload)


def test_a_state_is_the_last_field_of_the_job() -> None:
    payload = closed(DATA, b'{"job":"x","v":1}')

    assert payload == DATA[:-1] + b',"sockudo_queue":"{\\"job\\":\\"x\\",\\"v\\":1}"}'
    assert opened(payload, ID) == (b'{"job":"x","v":1}', DATA)
    assert list(json.loads(payload))[-1] == "sockudo_queue"


def test_a_state_is_found_in_an_envelope_too() -> None:
    assert opened(envelope(closed(DATA, b"s"), ID), ID) == (b"s", DATA)


@pytest.mark.parametrize("data", ['{"x":1,"sockudo_queue":"y"}', '[{"x":1,"sockudo_queue":"y"}]'])
def test_data_of_a_client_is_never_read_as_our_state(data: str) -> None:
    events = '[{"name":"client_event","data":' + data + "}]"
    inside = ('{"app_key":"k","payload":{"time_ms":1,"events":' + events + "}}").encode()
    assert opened(inside, ID) == (b"", inside)
    assert opened(closed(inside, b"ours"), ID) == (b"ours", inside)


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("state", [b"", b"s", b'{"a":",\\"sockudo_queue\\":\\"x\\"}"}'])
def test_odd_bodies_come_back_byte_for_byte_and_are_kept_as_utf8(body: bytes, state: bytes) -> None:
    payload = closed(body, state)

    assert opened(payload, ID) == (state, body)
    assert json.loads(payload.decode()) is not None


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=50))
def test_any_bytes_and_any_state_come_back(body: bytes, state: str) -> None:
    payload = closed(body, state.encode("utf-8", "replace"))

    payload.decode()
    assert opened(payload, ID) == (state.encode("utf-8", "replace"), body)


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)))
def test_any_json_comes_back(value: object) -> None:
    body = json.dumps({"a": value}, ensure_ascii=False).encode("utf-8", "replace")
    assert opened(closed(body, b"s"), ID) == (b"s", body)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_payload_can_be_opened(payload: bytes) -> None:
    opened(payload, ID)
    opened(b'{"sockudo_queue_raw":"' + payload, ID)
    opened(b'{"x":1,"sockudo_queue":"' + payload + b'"}', ID)


STORED = [
    DATA,
    envelope(DATA, ID),
    closed(DATA, b'{"a":1}'),
    closed(b"\xff\xfe{", b'{"a":1}'),
    b'{"version":2,"data":%b,"id":"%b"}' % (DATA, ID.encode()),
    b'{"version":2,"id":"%b","data":%b}' % (ID.encode(), closed(DATA, b"state")),
    *ODD,
]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("state", [b"", b"s", b'{"text":"\xc3\xbc\\"\\n"}'])
def test_server_assembles_the_same_payload_from_its_pieces(stored: bytes, state: bytes) -> None:
    _, body = opened(stored, ID)
    before, first, last, after = pieces(body, start_of(stored, body))(state)

    assert before + stored[first - 1 : last] + after == closed(body, state)


@pytest.mark.parametrize("stored", STORED[:3])
def test_body_that_the_server_has_is_not_sent_again(stored: bytes) -> None:
    _, body = opened(stored, ID)
    before, _, _, after = pieces(body, start_of(stored, body))(b"state")

    assert len(before) + len(after) < 40
