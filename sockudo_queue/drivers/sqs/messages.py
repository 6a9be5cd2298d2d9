"""Converts a record to an SQS message and back; pure.

The body of a message is the job's text, as Sockudo writes it. Our data about a record is in message attributes, so that
other consumers can still process our message as a job:

    sockudo-queue.record     the record's id (absent: the message's own id)
    sockudo-queue.state      the record's state, as bytes
    sockudo-queue.claims     the number of earlier claims of the record
    sockudo-queue.lapses     the number of these claims that lapsed
    sockudo-queue.delay-ms   milliseconds from sending until it is due; SQS itself counts whole seconds, 900 at most
    sockudo-queue.group      the original group of a dead letter, whose own message group is unique
    sockudo-queue.encoding   base64, or empty, if SQS would not accept the body as text
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.drivers.sqs.answers import MAX_ID_LENGTH, number_of
from sockudo_queue.drivers.sqs.queues import SqsQueue

PREFIX: Final = "sockudo-queue."
RECORD: Final = PREFIX + "record"
STATE: Final = PREFIX + "state"
CLAIMS: Final = PREFIX + "claims"
LAPSES: Final = PREFIX + "lapses"
DELAY: Final = PREFIX + "delay-ms"
GROUP: Final = PREFIX + "group"
ENCODING: Final = PREFIX + "encoding"

MAX_DELAY_SECONDS: Final = 900
"""Maximum delay of a message in SQS, in seconds."""
SYSTEM_ATTRIBUTES: Final = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SentTimestamp",
    "MessageGroupId",
]

_TEXT: Final = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


class _MessageEnvelope(msgspec.Struct, rename="pascal"):
    """The envelope that SNS puts around a message if "raw message delivery" is off."""

    type: str
    topic_arn: str
    message: str


_ENVELOPE: Final = msgspec.json.Decoder(_MessageEnvelope)


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One received message. Times are in milliseconds by SQS's clock; 0 if missing."""

    message_id: str
    handle: str
    body: bytes
    record_id: str
    state: bytes
    claims: int
    lapses: int
    delay_ms: int
    receives: int
    first_received_ms: int
    sent_ms: int
    group: str | None
    origin: str | None


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One record to be sent to a queue. `delay_ms` counts from sending.

    `origin` is for dead letters of FIFO queues: their original group.
    """

    record_id: str
    body: bytes
    state: bytes = b""
    claims: int = 0
    lapses: int = 0
    delay_ms: int = 0
    origin: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return it as an entry for SendMessage and its batch form."""
        text = _text_of(self.body)
        attributes: dict[str, Any] = {}
        for name, value in ((RECORD, self.record_id), (GROUP, self.origin)):
            if value:
                attributes[name] = _string(value)
        if self.state:
            attributes[STATE] = {"DataType": "Binary", "BinaryValue": self.state}
        for name, number in ((CLAIMS, self.claims), (LAPSES, self.lapses), (DELAY, self.delay_ms)):
            if number:
                attributes[name] = {"DataType": "Number", "StringValue": str(number)}
        if text is None:
            attributes[ENCODING] = _string("base64" if self.body else "empty")
            text = base64.b64encode(self.body).decode() or "-"
        entry: dict[str, Any] = {"MessageBody": text}
        if attributes:
            entry["MessageAttributes"] = attributes
        return entry


def size_of(entry: Mapping[str, Any]) -> int:
    """Return the size of an entry as SQS counts it: the body, and names, types and values of the attributes."""
    size = len(str(entry["MessageBody"]).encode())
    for name, value in entry.get("MessageAttributes", {}).items():
        content = value.get("BinaryValue") or value.get("StringValue", "").encode()
        size += len(name) + len(value["DataType"]) + len(content)
    return size


def fits(entry: Mapping[str, Any], queue: SqsQueue) -> bool:
    """Return whether a queue accepts an entry of this size."""
    return size_of(entry) <= queue.max_bytes


def received(message: Mapping[str, Any]) -> ReceivedMessage | None:
    """Read one message of a response; None if it has no handle or is malformed, because it cannot be settled then."""
    try:
        return _received(message)
    except (AttributeError, TypeError, ValueError):
        return None


def _received(message: Mapping[str, Any]) -> ReceivedMessage | None:
    handle = message.get("ReceiptHandle")
    if not handle:
        return None
    attributes: Mapping[str, Any] = message.get("MessageAttributes") or {}
    system: Mapping[str, Any] = message.get("Attributes") or {}
    message_id = str(message.get("MessageId") or handle)
    return ReceivedMessage(
        message_id=message_id,
        handle=str(handle),
        body=_body_of(str(message.get("Body") or ""), attributes),
        record_id=_id_of(attributes) or message_id,
        state=bytes(attributes.get(STATE, {}).get("BinaryValue") or b""),
        claims=number_of(attributes.get(CLAIMS, {}).get("StringValue")),
        lapses=number_of(attributes.get(LAPSES, {}).get("StringValue")),
        delay_ms=number_of(attributes.get(DELAY, {}).get("StringValue")),
        receives=max(number_of(system.get("ApproximateReceiveCount")), 1),
        first_received_ms=number_of(system.get("ApproximateFirstReceiveTimestamp")),
        sent_ms=number_of(system.get("SentTimestamp")),
        group=system.get("MessageGroupId"),
        origin=attributes.get(GROUP, {}).get("StringValue"),
    )


def _id_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the record id in a message, if valid: any writer of the queue can set it, and it becomes a header."""
    name = attributes.get(RECORD, {}).get("StringValue")
    is_one = isinstance(name, str) and name.isascii() and name.isprintable() and len(name) <= MAX_ID_LENGTH
    return name if is_one else None


def _body_of(text: str, attributes: Mapping[str, Any]) -> bytes:
    encoding = attributes.get(ENCODING, {}).get("StringValue")
    if encoding == "empty":
        return b""
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:  # neither base64 nor ASCII
            pass  # not written by us, so use the text as it is
    if '"TopicArn"' in text:
        try:
            envelope = _ENVELOPE.decode(text)
        except DECODE_ERRORS:
            pass  # a text that only mentions a topic
        else:
            text = envelope.message if envelope.type == "Notification" else text
    return text.encode("utf-8", "surrogatepass")


def _text_of(body: bytes) -> str | None:
    """Return the body as a text that SQS accepts and returns unchanged, or None."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if _TEXT.fullmatch(text) else None


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}
