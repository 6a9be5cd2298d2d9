"""A queue on a real server whose stored data can be dumped and loaded: Redis lists, Queue V2, and SQS."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from tests.helpers.queue_v2 import Producer
from tests.helpers.sqs_daemon import make_queue
from tests.helpers.sqs_server import CREDENTIALS, REGION, SqsServer
from tests.helpers.stored_data import OURS, Key, Message, Snapshot, aged
from tests.helpers.stored_jobs import BROKEN_FRAME, NOT_JSON, NOT_TEXT, NOT_TEXT_AGAIN

SERVER_LIST: Final = "sockudo_queue::queue:webhooks"
DOCUMENTED_LIST: Final = "sockudo_queue:queue:webhooks"

AGE_SECONDS: Final = 150
"""The apparent age of a loaded snapshot. Every delay in it is over by then, but no budget of 300 s is."""

_TIMED: Final = (":active", ":delayed")
_LONGEST_SQS_DELAY: Final = 900
_FAR: Final = 100_000
"""Seconds after which no message of SQS is hidden or delayed any more."""


class StoredQueue(Protocol):
    """The interface that the tests and the recorder need of each layout."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Settings of a daemon and of its commands."""

    @property
    def sections(self) -> Mapping[str, Any]:
        """The same settings for the file."""

    @property
    def ready_seconds(self) -> float:
        """How long a daemon may take to become ready."""

    @property
    def outlives_its_clients(self) -> bool:
        """Return whether the server may still hand out jobs to a killed daemon, whose long poll is pending there."""

    def push(self, *bodies: bytes) -> None:
        """Enqueue jobs like a server."""

    def push_rubbish(self) -> int:
        """Enqueue elements that are not jobs, in each form this queue accepts; return their number."""

    def push_last(self, *bodies: bytes) -> None:
        """Enqueue jobs in the other forms that a server or an operator may use."""

    def dump(self) -> Snapshot:
        """Return the stored data; on SQS a daemon cannot receive it afterwards."""

    def load(self, snapshot: Snapshot) -> int:
        """Store a snapshot as it would be `AGE_SECONDS` after it was taken.

        Returns the milliseconds by which the budgets of waiting records were moved.
        """

    def left(self) -> int:
        """Count everything undelivered in any state, without dead letters."""

    def close(self) -> None:
        """Disconnect."""


class StoredRedis:
    """One server or a cluster. It holds only the keys of the queue."""

    sections: Mapping[str, Any] = {}
    ready_seconds = 20.0
    outlives_its_clients = False

    def __init__(self, client: Any, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.client = client

    def dump(self) -> Snapshot:
        return Snapshot(_now_ms(), dict(self._keys()), {})

    def load(self, snapshot: Snapshot) -> int:
        """Move everything that depends on the clock: leases, due times, and the budgets of records that wait for them.

        Returned records have a score below 0, which is not a time. Times of death stay: nothing depends on them.
        """
        by_ms = _now_ms() - snapshot.recorded_ms - AGE_SECONDS * 1000
        waiting = {member for name, key in snapshot.keys.items() if name.endswith(_TIMED) for member, _ in key.content}
        ids = waiting | {receipt.rpartition(b"/")[0] for receipt in waiting}
        for name, key in snapshot.keys.items():
            match key.type:
                case "list":
                    self.client.rpush(name, *key.content)
                case "hash":
                    moved = {own: aged(value, by_ms) if own in ids else value for own, value in key.content.items()}
                    self.client.hset(name, mapping=moved)
                case "zset":
                    moves = name.endswith(_TIMED)
                    scores = {each: score + by_ms if moves and score > 0 else score for each, score in key.content}
                    self.client.zadd(name, scores)
                case "stream":
                    for entry, fields in key.content:
                        self.client.execute_command("XADD", name, entry, *fields)
                case _:
                    self.client.set(name, key.content)
        return by_ms

    def close(self) -> None:
        self.client.close()

    def _keys(self) -> Iterator[tuple[str, Key]]:
        client = self.client
        for key in client.scan_iter("*"):  # this asks every master of a cluster
            kind = client.type(key).decode()
            match kind:
                case "list":
                    content = client.lrange(key, 0, -1)
                case "hash":
                    content = client.hgetall(key)
                case "zset":
                    content = [(each, int(score)) for each, score in client.zrange(key, 0, -1, withscores=True)]
                case "stream":
                    content = [(entry.decode(), _flat(fields)) for entry, fields in client.xrange(key)]
                case _:
                    content = client.get(key)
            yield key.decode(), Key(kind, content)


class StoredLists(StoredRedis):
    """The lists of servers up to 4.7."""

    def push(self, *bodies: bytes) -> None:
        self.client.rpush(SERVER_LIST, *bodies)

    def push_rubbish(self) -> int:
        self.push(NOT_JSON, NOT_TEXT, NOT_TEXT_AGAIN)
        return 3

    def push_last(self, *bodies: bytes) -> None:
        self.client.rpush(DOCUMENTED_LIST, *bodies)

    def left(self) -> int:
        count = 0
        for source in (SERVER_LIST, DOCUMENTED_LIST):
            own = f"{OURS}{{{source}}}"
            count += self.client.llen(source) + self.client.llen(f"{own}:ready")
            count += self.client.zcard(f"{own}:active") + self.client.zcard(f"{own}:delayed")
        return count


class StoredV2(StoredRedis):
    """The keys of Sockudo 5."""

    def __init__(self, client: Any, environment: Mapping[str, str]) -> None:
        super().__init__(client, environment)
        self.producer = Producer(client)

    def push(self, *bodies: bytes) -> None:
        for body in bodies:
            self.producer.enqueue(body)

    def push_rubbish(self) -> int:
        self.producer.enqueue_payload(NOT_JSON, "half")
        self.producer.enqueue_payload(NOT_TEXT, b"odd/\xe9")
        self.producer.enqueue_payload(NOT_TEXT_AGAIN, "again")
        self.producer.enqueue_frame(BROKEN_FRAME, 2)
        return 4

    def push_last(self, *bodies: bytes) -> None:
        self.producer.enqueue_packed(bodies)

    def left(self) -> int:
        key = self.producer.key
        waiting = self.client.llen(key("wait")) + self.client.llen(key("inline-wait"))
        return int(waiting + self.client.zcard(key("active")) + self.client.zcard(key("delayed")))


class StoredSqs:
    """A standard queue of SQS and its dead letters."""

    ready_seconds = 30.0
    outlives_its_clients = True

    def __init__(self, server: SqsServer, name: str) -> None:
        self.sections = {"queue": {"redis": {"queue_name": name}}}
        self.environment = {
            "QUEUE_DRIVER": "sqs",
            "QUEUE_SQS_REGION": REGION,
            "QUEUE_SQS_ENDPOINT_URL": server.url,
            "QUEUE_SQS_WAIT_TIME_SECONDS": "1",
            **CREDENTIALS,
        }
        self._server = server
        self._queues = {ending: make_queue(server.client, name + ending) for ending in ("", "-dead")}

    def push(self, *bodies: bytes) -> None:
        self._queues[""].push(bodies)

    def push_rubbish(self) -> int:
        self._queues[""].push([NOT_JSON])
        encoding = {"sockudo-queue.encoding": ("String", b"base64")}
        for body in (NOT_TEXT, NOT_TEXT_AGAIN):
            self._send("", Message(base64.b64encode(body).decode(), encoding, 0))
        return 3

    def push_last(self, *bodies: bytes) -> None:
        self._queues[""].push(bodies)

    def dump(self) -> Snapshot:
        """Receive everything; the clock is moved forward so that no message is hidden."""
        now_ms = _now_ms()
        self._server.advance(_FAR)
        return Snapshot(now_ms, {}, {f"webhooks{ending}": self._taken(ending) for ending in self._queues})

    def load(self, snapshot: Snapshot) -> int:
        """Send everything, with budgets that begin now, and move the clock of SQS forward.

        SQS itself records when a message was sent and whether its delay is over.
        """
        by_ms = _now_ms() - snapshot.recorded_ms
        for name, messages in snapshot.queues.items():
            ending = name.removeprefix("webhooks")
            for message in messages:
                self._send(ending, message, by_ms=0 if ending else by_ms)
        self._server.advance(AGE_SECONDS)
        return by_ms

    def left(self) -> int:
        return self._queues[""].left()

    def close(self) -> None:
        """Do nothing: the client belongs to the server."""

    def _send(self, ending: str, message: Message, by_ms: int = 0) -> None:
        attributes: dict[str, Any] = {}
        for name, (kind, value) in message.attributes.items():
            content = {"BinaryValue": aged(value, by_ms)} if kind == "Binary" else {"StringValue": value.decode()}
            attributes[name] = {"DataType": kind, **content}
        delay_ms = int(message.attributes.get("sockudo-queue.delay-ms", ("", b"0"))[1])
        self._server.client.send_message(
            QueueUrl=self._queues[ending].url,
            MessageBody=message.body,
            MessageAttributes=attributes,
            DelaySeconds=min(delay_ms // 1000, _LONGEST_SQS_DELAY),
        )

    def _taken(self, ending: str) -> list[Message]:
        client, queue = self._server.client, self._queues[ending]
        messages: list[Message] = []
        total = queue.left()
        while len(messages) < total:
            answer = client.receive_message(
                QueueUrl=queue.url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=600,
                AttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
            assert answer.get("Messages"), f"{len(messages)} of {total} messages came; somebody else has the others"
            messages += [_message_of(each) for each in answer["Messages"]]
        return messages


def _message_of(received: Mapping[str, Any]) -> Message:
    attributes = {
        name: (each["DataType"], each.get("BinaryValue") or each.get("StringValue", "").encode())
        for name, each in received.get("MessageAttributes", {}).items()
    }
    receives = int(received["Attributes"]["ApproximateReceiveCount"]) - 1  # this receive does not count
    return Message(received["Body"], attributes, receives)


def _flat(fields: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _now_ms() -> int:
    return round(time.time() * 1000)
