"""Conversion of records to SQS messages and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockudo_queue.drivers.sqs.answers import results, sound
from sockudo_queue.drivers.sqs.messages import ENCODING, OutgoingMessage, ReceivedMessage, fits, received, size_of
from sockudo_queue.drivers.sqs.queues import SqsQueue
from tests.helpers.jobs import job

BODIES = {
    "a job": job(),
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "a control character": b"a\x00b",
    "a noncharacter": "a\uffffb".encode(),
    "an emoji": "\U0001f600".encode(),
    "line ends": b"a\r\nb\tc",
    "text that looks like base64": b"aGVsbG8=",
    "a dash": b"-",
}


def passed_through(outgoing: OutgoingMessage, **more: Any) -> ReceivedMessage:
    """Send a record and receive it as from SQS."""
    entry = outgoing.entry()
    message = {"MessageId": "m-1", "ReceiptHandle": "h", "Body": entry["MessageBody"], **more}
    got = received(message | {"MessageAttributes": entry.get("MessageAttributes", {})})
    assert got is not None
    return got


def body_of(text: str) -> bytes:
    got = received({"MessageId": "m", "ReceiptHandle": "h", "Body": text})
    assert got is not None
    return got.body


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_every_body_is_received_unchanged(body: bytes) -> None:
    assert passed_through(OutgoingMessage("r", body, b"state")).body == body


def test_job_is_sent_as_sockudo_sends_it() -> None:
    assert OutgoingMessage("", job()).entry() == {"MessageBody": job().decode()}


def test_record_keeps_all_its_fields() -> None:
    got = passed_through(
        OutgoingMessage("r.0", b"{}", b"\x00\xff", claims=3, lapses=2, delay_ms=1_000_000, origin="group")
    )

    assert (got.record_id, got.state, got.claims, got.lapses) == ("r.0", b"\x00\xff", 3, 2)
    assert (got.delay_ms, got.origin) == (1_000_000, "group")


def test_missing_fields_get_defaults() -> None:
    got = received({"ReceiptHandle": "h"})

    assert got == ReceivedMessage("h", "h", b"", "h", b"", 0, 0, 0, 1, 0, 0, None, None)


@pytest.mark.parametrize("message", [{}, {"Body": "x"}, {"ReceiptHandle": ""}, {"ReceiptHandle": None}])
def test_message_without_a_handle_is_dropped(message: dict[str, Any]) -> None:
    assert received(message) is None


@pytest.mark.parametrize("text", ["x", "-1", "1e3", "", "\u0663", None])
def test_invalid_number_counts_as_0(text: str | None) -> None:
    attributes = {"sockudo-queue.claims": {"StringValue": text}}
    got = received({"ReceiptHandle": "h", "MessageAttributes": attributes, "Attributes": {"SentTimestamp": text}})

    assert got is not None
    assert got.sent_ms == 0
    assert got.claims == 0


@pytest.mark.parametrize("name", ["", "x" * 256, "7\n", "7\r\nX-Forged: 1", "caf\u00e9", "\ud800", 5, None])
def test_record_id_invalid_as_a_header_is_ignored(name: object) -> None:
    attributes = {"sockudo-queue.record": {"StringValue": name}}
    got = received({"MessageId": "m", "ReceiptHandle": "h", "Body": "x", "MessageAttributes": attributes})

    assert got is not None
    assert got.record_id == "m"


@pytest.mark.parametrize("message", [None, 5, "text", [], {"ReceiptHandle": "h", "MessageAttributes": ["x"]}])
def test_malformed_message_is_dropped(message: Any) -> None:
    assert received(message) is None


def test_invalid_entry_is_dropped_and_the_others_are_unchanged() -> None:
    good = {"MessageId": "m", "ReceiptHandle": "h", "Body": "b\ud800", "More": [1]}
    odd = [
        {},
        None,
        good | {"Body": 5},
        good | {"MessageId": "a b"},
        good | {"MessageAttributes": {"x": {"BinaryValue": "%"}}},
    ]
    answer = {"Messages": [*odd, good], "Failed": [{"Id": "0"}, {"Id": 0}], "Successful": "all"}

    assert json.loads(sound(json.dumps(answer).encode())) == {
        "Messages": [good],
        "Failed": [{"Id": "0"}],
        "Successful": "all",
    }
    for whole in (b"", b"[]", b"5", b"{", b"[" * 100_000, b'{"Messages":[]}'):
        assert sound(whole) == whole


def test_only_sent_ids_with_one_result_have_a_result() -> None:
    twice = {"Id": "2", "Code": "InternalError"}
    answer = {
        "Successful": [{"Id": "0"}, {"Id": "0"}, {"Id": "2"}, {"Id": "9"}, {}, None],
        "Failed": [twice, {"Id": "3"}],
    }

    assert dict(results(answer, ["0", "1", "2", "3"])) == {0: None, 3: {"Id": "3"}}
    assert not dict(results({"Successful": 5, "Failed": "0"}, ["0"]))


def test_envelope_of_sns_is_removed() -> None:
    text = job(3).decode()
    envelope = {"Type": "Notification", "MessageId": "x", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": text}

    assert body_of(json.dumps(envelope)) == job(3)


@pytest.mark.parametrize(
    "text",
    [
        '{"Type":"SubscriptionConfirmation","TopicArn":"t","Message":"confirm"}',
        '{"TopicArn":"t","Message":"no type"}',
        '{"Type":"Notification","TopicArn":"t"}',
        '{"Type":"Notification","TopicArn":"t","Message":5}',
        '{"payload":{"\\"TopicArn\\"":1}}',
        '"TopicArn" and nothing else',
        "[" * 100_000 + '"TopicArn"',
    ],
)
def test_text_without_an_envelope_is_unchanged(text: str) -> None:
    assert body_of(text) == text.encode()


def test_half_a_surrogate_pair_is_encoded() -> None:
    assert body_of("a\ud800b") == b"a\xed\xa0\x80b"


def test_size_counts_body_and_attributes() -> None:
    entry = OutgoingMessage("record", b"x" * 100, b"s" * 50).entry()
    size = 100 + len("sockudo-queue.record" + "String" + "record") + len("sockudo-queue.state" + "Binary") + 50

    assert size_of(entry) == size
    assert fits(entry, SqsQueue("u", size))
    assert not fits(entry, SqsQueue("u", size - 1))


def test_invalid_base64_body_is_used_unchanged() -> None:
    got = received({"ReceiptHandle": "h", "Body": "aGé=", "MessageAttributes": {ENCODING: {"StringValue": "base64"}}})
    assert got is not None
    assert got.body == "aGé=".encode()
