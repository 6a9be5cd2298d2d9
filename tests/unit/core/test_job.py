"""Decoding of jobs: valid and malformed ones, ceilings, and events that keep their bytes."""

from __future__ import annotations

import json
import time
import traceback
import tracemalloc
from collections.abc import Iterable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockudo_queue.core import job as jobs
from sockudo_queue.core.ceilings import Ceilings
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.errors import MalformedJob
from tests.faults.measures import scaled
from tests.helpers.data import JobFile, job_files
from tests.helpers.jobs import event, job

CANARY: Final = "CANARY"
HEAD: Final = b'{"app_key":"k","app_id":"i","app_secret":"CANARY"'
PLAIN: Final = b'{"name":"channel_occupied","channel":"room"}'


def with_events(*events: bytes, time_ms: bytes = b"1") -> bytes:
    return HEAD + b',"payload":{"time_ms":' + time_ms + b',"events":[' + b",".join(events) + b"]}}"


def with_payload(payload: bytes) -> bytes:
    return HEAD + b',"payload":' + payload + b"}"


def raws(body: bytes) -> list[bytes]:
    return [bytes(event.raw) for event in jobs.decode(body).events]


def test_job_of_sockudo_is_decoded() -> None:
    read = jobs.decode(job(7, app_id="shop", key="key", secret="secret", time_ms=1234))

    assert (read.app_key, read.app_id, read.time_ms, read.job_id) == ("key", "shop", 1234, None)
    assert read.signing_key is hmac_key("secret")
    assert [(event.name, event.channel) for event in read.events] == [("channel_occupied", "room-7")]
    assert read.unreadable_events == 0


@pytest.mark.parametrize("file", job_files(), ids=str)
def test_jobs_of_every_sockudo_version_are_decoded(file: JobFile) -> None:
    read = jobs.decode(file.body)

    listed = b",".join(bytes(event.raw) for event in read.events)
    assert b'{"time_ms":%d,"events":[%b]}' % (read.time_ms, listed) == file.webhook_body


@pytest.mark.parametrize(
    ("field", "job_id"), [(b'"job_id":"abc"', "abc"), (b'"job_id":""', None), (b'"job_id":null', None)]
)
def test_job_id_is_read_if_it_is_not_empty(field: bytes, job_id: str | None) -> None:
    assert jobs.decode(with_events()[:-1] + b"," + field + b"}").job_id == job_id


@pytest.mark.parametrize(
    "raw",
    [
        event(data="emoji 😀 and \u2028 and \u2029"),
        b'{"name":"e","data":"a\\/b/c","n":12345678901234567890123}',
        b'{"name":"e","f":1.0,"g":1e400,"h":-0.0,"i":0.1000}',
        b'{ "name" : "e" ,\n "data":\t[ 1 , 2 ] }',
        b'{"name":"e","a":1,"a":2,"data":"\\u0041"}',
        b'{"name":"e","data":{"name":1,"channel":2,"channel":3}}',
        b'{"name":"e","n":' + b"9" * 5000 + b',"data":{"name":1}}',
        b'{"data":{"name":"not this one"},"name":"e"}',
        b'{"name":"e","\\u0063hannel":"x"}',
        b'{"name":"\\u0065"}',
        b'{"name":"e","data":"\\ud83d\\ude00"}',
    ],
)
def test_event_keeps_its_exact_bytes(raw: bytes) -> None:
    assert raws(with_events(PLAIN, raw, PLAIN)) == [PLAIN, raw, PLAIN]


@pytest.mark.parametrize(
    "neighbour", [b'{"name":"e"}', b'{"name":"e","channel":""}', b'{"channel":"c"}', b'{"name":"e","channel":1}', b"1"]
)
@pytest.mark.parametrize("others", [[], [PLAIN] * 8])
def test_repeated_key_is_found_beside_an_event_without_that_key(neighbour: bytes, others: list[bytes]) -> None:
    for twice in (b'{"name":"e","channel":"private-a","channel":"b"}', b'{"name":"e","name":"f","channel":"c"}'):
        assert twice not in raws(with_events(twice, neighbour, *others))
        assert twice not in raws(with_events(neighbour, *others, twice))


@pytest.mark.parametrize(
    "odd",
    [
        *[b"1", b"null", b'"text"', b"[]", b"{}", b'{"channel":"x"}', b'{"name":1}', b'{"name":null}'],
        b'{"name":["e"]}',
        b'{"name":"first","name":"last"}',
        b'{"name":"e","channel":"private-a","channel":"b"}',
        b'{"name":"e","channel":"b","channel":"b"}',
        b'{"name":"e","channel":"private-a","data":{},"\\u0063hannel":"b"}',
        b'{"name":"e","data":{"channel":1},"channel":"a","channel":"b"}',
    ],
)
def test_unreadable_event_is_counted_and_the_others_are_kept(odd: bytes) -> None:
    read = jobs.decode(with_events(PLAIN, odd, PLAIN))

    assert [bytes(event.raw) for event in read.events] == [PLAIN, PLAIN]
    assert read.unreadable_events == 1


@pytest.mark.parametrize(
    ("raw", "name", "channel"),
    [
        (b'{"name":"e"}', "e", ""),
        (b'{"name":"e","channel":7}', "e", ""),
        (b'{"name":"e","channel":null}', "e", ""),
        (b'{"name":"","channel":"x"}', "", "x"),
    ],
)
def test_event_without_a_valid_channel_has_an_empty_one(raw: bytes, name: str, channel: str) -> None:
    (read,) = jobs.decode(with_events(raw)).events

    assert (read.name, read.channel) == (name, channel)


EVENTS: Final = [
    *[PLAIN, b'{"channel":"caf\xc3\xa9","name":"e","data":"x"}', b'{ "name" : "e" , "channel" : "a,b" }'],
    b'{"name":"e","channel":"a","data":{"name":"inner","channel":["b"]}}',
    b'{"name":"e","channel":"a","data":"\\\\ \\" \\u00e9"}',
    *[b'{"name":"e"}', b'{"name":"e","channel":""}', b'{"name":"e","channel":7}', b'{"channel":"a"}', b"1", b"[]"],
    b'{"name":"e","channel":"a","channel":"b"}',
    b'{"n\\u0061me":"first","channel":"a","name":"last"}',
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=20), st.lists(st.sampled_from(EVENTS), max_size=2))
def test_events_of_a_large_job_are_read_like_those_of_small_ones(many: list[bytes], replaced: list[bytes]) -> None:
    """A job with many events is read in another way; so is a list that a later key of that name replaces."""
    single = [jobs.decode(with_events(raw)) for raw in many]
    body = with_payload(b'{"events":[' + b",".join(replaced) + b'],"time_ms":1,"events":[' + b",".join(many) + b"]}")

    for read in (jobs.decode(with_events(*many)), jobs.decode(body)):
        assert _shown(read.events) == _shown(event for one in single for event in one.events)
        assert read.unreadable_events == sum(one.unreadable_events for one in single)


def _shown(events: Iterable[jobs.Event]) -> list[tuple[str, str, bytes]]:
    return [(event.name, event.channel, bytes(event.raw)) for event in events]


@pytest.mark.parametrize("time_ms", [b"0", b"-5", b"1751100000000", b"9223372036854775807", b"-9223372036854775808"])
def test_time_in_the_64_bit_range_is_decoded(time_ms: bytes) -> None:
    assert jobs.decode(with_events(time_ms=time_ms)).time_ms == int(time_ms)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"events":5}', "missing required field `app_key`"),
        (with_events() + b"x", "not valid JSON"),
        (with_events()[:-1], "not valid JSON"),
        (b"\xef\xbb\xbf" + with_events(), "not valid JSON"),
        (with_events().replace(b'"k"', b"5"), "Expected `str`, got `int` - at `$.app_key`"),
        (with_events().replace(b'"i"', b"null"), "Expected `str`, got `null` - at `$.app_id`"),
        (with_events().replace(b'"k"', b'""'), "app_key or app_secret is empty"),
        (with_events().replace(b'"CANARY"', b'""'), "app_key or app_secret is empty"),
        (with_payload(b"{}"), "missing required field `time_ms`"),
        (with_events(time_ms=b"9223372036854775808"), "time_ms"),
        (with_events(time_ms=b"1" * 400), "time_ms"),
        (with_events(time_ms=b"-" + b"1" * 400), "time_ms"),
        (job(key="key\r\nX-Evil: 1"), "not allowed in a header"),
        (job(key="kéy"), "not allowed in a header"),
        (b'{"job_id":"id\\nX-Evil: 1",' + with_events()[1:], "not allowed in a header"),
        (with_payload(b'{"time_ms":1}'), "missing required field `events`"),
        (with_payload(b'{"time_ms":1,"events":{}}'), "Expected `array`, got `object`"),
        (with_payload(b'{"time_ms":1.5,"events":[]}'), "Expected `int`, got `float`"),
        (with_payload(b'{"time_ms":"1","events":[]}'), "Expected `int`, got `str`"),
        (with_payload(b'{"time_ms":true,"events":[]}'), "Expected `int`, got `bool`"),
        (with_events(b'{"name":"\xff"}'), "not valid UTF-8"),
        (with_events(b'{"name":"e","data":"\xed\xa0\x80"}'), "not valid UTF-8"),
        (with_events().replace(b'"CANARY"', b'"\xfe"'), "not valid UTF-8"),
        (with_events(b'{"name":"e","data":"\\ud800"}'), "not valid JSON"),
        (with_events(b'{"name":"e","\\udc00":1}'), "not valid JSON"),
        (with_events().replace(b'"k"', b'"\\ud800"'), "not valid JSON"),
        (with_events(b'{"name":"e","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_error_of_a_malformed_job_gives_the_reason_and_no_content(body: bytes, fault: str) -> None:
    with pytest.raises(MalformedJob) as caught:
        jobs.decode(body)

    assert fault in str(caught.value)
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown, "a chained error shows the job"


def test_corrupted_job_raises_only_malformed_job() -> None:
    body = with_events(PLAIN)
    for at in range(len(body)):
        for spoilt in (body[:at], body[:at] + b"\x00" + body[at + 1 :], body[:at] + b"\xff" + body[at:]):
            try:
                jobs.decode(spoilt)
            except MalformedJob:
                continue


def test_repr_of_a_job_shows_no_content() -> None:
    read = jobs.decode(with_events(b'{"name":"e","channel":"CANARY","data":"CANARY"}'))

    assert CANARY not in repr(read)
    assert CANARY not in f"{read} {read.events[0]!r} {read.signing_key}"


def test_unknown_fields_of_a_job_are_ignored() -> None:
    body = with_events(PLAIN)[:-1] + b',"original_signature":"x","later":{"a":[1]},"payload2":null}'
    assert raws(body) == [PLAIN]
    assert json.loads(body)["later"]


def test_oldest_time_ignores_unreadable_jobs() -> None:
    assert jobs.oldest_ms([]) is None
    assert jobs.oldest_ms([b"{"]) is None
    assert jobs.oldest_ms([job(7), b"{", job(2), job(9)]) == jobs.decode(job(2)).time_ms


@pytest.mark.parametrize("item", [b"1", b"{}", PLAIN, b'{"name":"a,b","channel":[1,2,[3]]}'])
def test_job_with_too_many_events_is_malformed_before_they_are_built(item: bytes) -> None:
    assert len(jobs.decode(with_events(*[PLAIN] * 10_000)).events) == 10_000
    body = with_events(*[item] * 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedJob, match="more than 10000 events"):
            jobs.decode(body)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_commas_inside_events_do_not_count_as_events() -> None:
    data = b'{"name":"client_event","channel":"room","data":[' + b"1," * 50_000 + b'"' + b',]\\"' * 50_000 + b'"]}'
    assert len(jobs.decode(with_events(data, PLAIN)).events) == 2


@pytest.mark.parametrize("key", ["name", "channel"])
def test_event_whose_name_or_channel_is_a_huge_list_costs_no_more_than_its_bytes(key: str) -> None:
    other = b"name" if key == "channel" else b"channel"
    raw = b'{"%b":"a","%b":[' % (other, key.encode()) + b"{}," * scaled(300_000, 60_000) + b"{}]}"
    body = with_events(raw, PLAIN)
    jobs._list_of(Ceilings().job_events)  # built once for a process
    tracemalloc.start()
    try:
        jobs.decode(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


def test_job_above_the_ceiling_of_bytes_is_malformed() -> None:
    with pytest.raises(MalformedJob, match="bytes"):
        jobs.decode(b" " * 20_000_001)


@pytest.mark.parametrize("field", ["app_id", "app_key", "job_id"])
def test_long_id_is_malformed(field: str) -> None:
    fields = {"app_key": "k", "app_id": "i", "job_id": "j", "app_secret": "s", "payload": {"time_ms": 1, "events": []}}
    jobs.decode(json.dumps(fields | {field: "x" * 255}).encode())
    with pytest.raises(MalformedJob, match="length <= 255"):
        jobs.decode(json.dumps(fields | {field: "x" * 256}).encode())


def test_app_id_limit_counts_characters_like_sockudos_columns() -> None:
    fields = {"app_key": "k", "app_secret": "s", "payload": {"time_ms": 1, "events": []}}
    assert jobs.decode(json.dumps(fields | {"app_id": "€" * 255}).encode()).app_id == "€" * 255
    with pytest.raises(MalformedJob, match="length <= 255"):
        jobs.decode(json.dumps(fields | {"app_id": "€" * 256}).encode())


@pytest.mark.parametrize(
    "data",
    [b'"' + b"," * 4_000_000 + b'"', b"[" + b"[1,1]," * 600_000 + b"1]", b'"' + b'\\",' * 1_000_000 + b'"'],
    ids=["string", "lists", "quotes"],
)
def test_commas_of_megabytes_are_counted_in_linear_time(data: bytes) -> None:
    body = with_events(b'{"name":"client_event","channel":"room","data":' + data + b"}")
    began = time.process_time()
    assert len(jobs.decode(body).events) == 1
    assert time.process_time() - began < 0.5


def test_job_with_a_channel_above_the_ceiling_is_malformed() -> None:
    jobs.decode(with_events(b'{"name":"client_event","channel":"' + b"c" * 1_024 + b'"}'))
    with pytest.raises(MalformedJob, match="more than 1024 bytes"):
        jobs.decode(with_events(PLAIN, b'{"name":"client_event","channel":"' + "ä".encode() * 513 + b'"}'))


def test_ceilings_of_a_job_can_be_changed() -> None:
    body = with_events(PLAIN, PLAIN)
    for ceilings in (Ceilings(job_bytes=20), Ceilings(job_events=1), Ceilings(channel_bytes=2)):
        with pytest.raises(MalformedJob, match="more than"):
            jobs.decode(body, ceilings)


@pytest.mark.parametrize(("item", "last"), [(b"1,", []), (b'{"name":"ab"},', [PLAIN] * 8)])
def test_events_list_replaced_by_a_later_key_is_not_built(item: bytes, last: list[bytes]) -> None:
    many = b'{"time_ms":1,"events":[' + item * 300_000 + b"1]}"
    body = HEAD + b',"payload":' + many + b',"payload":{"time_ms":1,"events":[' + b",".join(last) + b"]}}"
    jobs.decode(body)  # the first call also fills caches
    tracemalloc.start()
    try:
        assert raws(body) == last
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()
