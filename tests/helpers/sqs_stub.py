"""A strict SQS in memory for cases no emulator covers: refused receipts after expiry, faults on demand, and call
counts.

It speaks the JSON protocol over HTTP. It checks only the calls of the driver; the tests on LocalStack check that the
driver works with a real service.
"""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from tests.helpers.ports import free_port

MAX_BYTES: Final = 1_048_576
Json = dict[str, Any]


@dataclass
class Message:
    """One message; times are of `time.monotonic`."""

    body: str
    attributes: Json
    group: str | None
    visible_at: float
    sent_ms: int
    is_fifo: bool = True  # only then does a message in flight block its group
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receives: int = 0
    first_ms: int = 0
    handle: str = ""
    deleted: bool = False

    @property
    def is_hidden(self) -> bool:
        return self.visible_at > time.monotonic()


class Refusal(Exception):
    """An error returned by SQS; for an entry of a batch it is that entry's failure."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.status = code, status


@dataclass(frozen=True)
class Fault:
    """Replaces the answer of a call: an error code, a page with any status, or a closed connection."""

    code: str = ""
    status: int = 400
    page: bytes | None = None
    closes: bool = False


THROTTLED: Final = Fault("ThrottlingException")
OVER_LIMIT: Final = Fault("OverLimit", 403)
BROKEN: Final = Fault("InternalFailure", 500)
UNAVAILABLE: Final = Fault("ServiceUnavailable", 503)
HTML: Final = Fault(status=200, page=b"<html><body>Sign in to the network</body></html>")
TRUNCATED: Final = Fault(status=200, page=b'{"Messages":[{"MessageId":"a","Body":"')
CLOSED: Final = Fault(closes=True)
EXPIRED: Final = Fault("ExpiredToken", 403)
DENIED: Final = Fault("AccessDenied", 403)
DELETED: Final = Fault("AWS.SimpleQueueService.NonExistentQueue")


class SqsStub:
    """Listens on a free port of 127.0.0.1; queues are created by CreateQueue or `make`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.calls: list[tuple[float, str]] = []
        self.queues: dict[str, list[Message]] = {}
        self.entry_faults: Callable[[str, Json], str | None] = lambda action, entry: None
        self.corrupt: Callable[[str, Any], Any] = lambda action, answer: answer
        """Changes a copy of each answer before it is sent."""
        self._faults: dict[str, Fault] = {}
        self._expired: set[str] = set()
        self.clock_ahead = 0.0  # seconds by which the dates of its answers are ahead
        self._lock = threading.Condition()
        stub = self

        class Handler(_Handler):
            owner = stub

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make(self, name: str) -> None:
        self.queues.setdefault(name, [])

    def fail(self, fault: Fault | None, *actions: str) -> None:
        """Answer these actions, or all, with a fault from now on; None ends all faults."""
        with self._lock:
            self._faults = dict.fromkeys(actions or ("*",), fault) if fault is not None else {}
            self._lock.notify_all()

    def expire(self, access_key: str) -> None:
        """Refuse requests signed with this key from now on."""
        with self._lock:
            self._expired.add(access_key)

    def count(self, *actions: str, since: float = 0.0) -> int:
        """Count the calls of these actions, or all, since a time of `time.monotonic`."""
        return sum(at >= since and (not actions or action in actions) for at, action in list(self.calls))

    def counts(self) -> Counter[str]:
        return Counter(action for _, action in list(self.calls))

    def push(self, name: str, bodies: list[bytes], group: str | None = None, *, is_fifo: bool = True) -> None:
        with self._lock:
            now, sent = time.monotonic(), round(time.time() * 1000)
            queue = self.queues.setdefault(name, [])
            queue.extend(Message(body.decode(), {}, group, now, sent, is_fifo) for body in bodies)
            self._lock.notify_all()

    def messages(self, name: str) -> list[Message]:
        with self._lock:
            return list(self.queues.get(name, ()))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def answer(self, action: str, request: Json, access_key: str = "") -> Json | Fault:
        """Execute one call; called by the handlers."""
        with self._lock:
            self.calls.append((time.monotonic(), action))
            if access_key in self._expired:
                return EXPIRED
            fault = self._faults.get(action) or self._faults.get("*")
            if fault is not None:
                return fault
            try:
                return self._do(action, request)
            except Refusal as refusal:
                return Fault(refusal.code, refusal.status)

    def _do(self, action: str, request: Json) -> Json:
        match action:
            case "GetQueueUrl" | "CreateQueue":
                name = request["QueueName"]
                if action == "CreateQueue":
                    self.make(name)
                elif name not in self.queues:
                    raise Refusal("AWS.SimpleQueueService.NonExistentQueue")
                return {"QueueUrl": f"{self.url}/000000000000/{name}"}
            case "GetQueueAttributes":
                return {"Attributes": self._attributes(self._queue(request))}
            case "ReceiveMessage":
                return self._receive(self._queue(request), request)
            case "SendMessage":
                return {"MessageId": self._send(self._queue(request), request)}
            case "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch":
                return self._batch(action, self._queue(request), request["Entries"])
        raise Refusal("InvalidAction")

    def _queue(self, request: Json) -> list[Message]:
        name = request["QueueUrl"].rpartition("/")[2]
        if name not in self.queues:
            raise Refusal("AWS.SimpleQueueService.NonExistentQueue")
        return self.queues[name]

    def _attributes(self, queue: list[Message]) -> Json:
        hidden = sum(message.is_hidden and message.receives > 0 for message in queue)
        delayed = sum(message.is_hidden and not message.receives for message in queue)
        return {
            "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
            "MaximumMessageSize": str(MAX_BYTES),
            "ApproximateNumberOfMessages": str(len(queue) - hidden - delayed),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }

    def _receive(self, queue: list[Message], request: Json) -> Json:
        max_messages, seconds = int(request["MaxNumberOfMessages"]), int(request["VisibilityTimeout"])
        if not (1 <= max_messages <= 10 and 0 <= seconds <= 43_200 and 0 <= int(request["WaitTimeSeconds"]) <= 20):
            raise Refusal("InvalidParameterValue")
        give_up_at = time.monotonic() + int(request["WaitTimeSeconds"])
        while not (found := self._receivable(queue, max_messages)) and (left := give_up_at - time.monotonic()) > 0:
            self._lock.wait(min(left, _until_visible(queue)))
            if self._faults.get("ReceiveMessage"):
                break
        now_ms = round(time.time() * 1000)
        for message in found:
            message.receives += 1
            message.first_ms = message.first_ms or now_ms
            message.visible_at = time.monotonic() + seconds
            message.handle = uuid.uuid4().hex
        return {"Messages": [_shown(message) for message in found]} if found else {}

    def _receivable(self, queue: list[Message], max_messages: int) -> list[Message]:
        locked = {each.group for each in queue if each.group and each.is_fifo and each.is_hidden}
        return [message for message in queue if not message.is_hidden and message.group not in locked][:max_messages]

    def _send(self, queue: list[Message], entry: Json) -> str:
        attributes = entry.get("MessageAttributes") or {}
        size = len(entry["MessageBody"].encode()) + sum(len(str(value)) for value in attributes.values())
        if not entry["MessageBody"] or size > MAX_BYTES or not 0 <= int(entry.get("DelaySeconds") or 0) <= 900:
            raise Refusal("InvalidParameterValue")
        visible_at = time.monotonic() + int(entry.get("DelaySeconds") or 0)
        sent_ms = round(time.time() * 1000)
        message = Message(entry["MessageBody"], attributes, entry.get("MessageGroupId"), visible_at, sent_ms)
        queue.append(message)
        self._lock.notify_all()
        return message.id

    def _batch(self, action: str, queue: list[Message], entries: list[Json]) -> Json:
        if not 1 <= len(entries) <= 10 or len({entry["Id"] for entry in entries}) != len(entries):
            raise Refusal("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        done: Json = {"Successful": [], "Failed": []}
        for entry in entries:
            try:
                self._entry(action, queue, entry)
                done["Successful"].append({"Id": entry["Id"]})
            except Refusal as refusal:
                ours = refusal.code in {"InternalError", "ThrottlingException"}
                done["Failed"].append({"Id": entry["Id"], "Code": refusal.code, "SenderFault": not ours})
        return {key: value for key, value in done.items() if value}  # empty values are omitted, as by SQS

    def _entry(self, action: str, queue: list[Message], entry: Json) -> None:
        if (code := self.entry_faults(action, entry)) is not None:
            raise Refusal(code)
        if action == "SendMessageBatch":
            self._send(queue, entry)
            return
        message = next((each for each in queue if each.handle == entry["ReceiptHandle"]), None)
        if action == "DeleteMessageBatch":
            if message is None:
                return  # deleted before, or an old receipt: SQS reports success
            if message.group and message.is_fifo and not message.is_hidden:
                raise Refusal("InvalidParameterValue")
            queue.remove(message)
            self._lock.notify_all()
            return
        if message is None or not message.is_hidden:
            raise Refusal("MessageNotInflight")
        message.visible_at = time.monotonic() + int(entry["VisibilityTimeout"])
        self._lock.notify_all()


def _until_visible(queue: list[Message]) -> float:
    """Return the seconds until another message is visible; all other changes are notified."""
    hidden = [message.visible_at for message in queue if message.is_hidden]
    return max(min(hidden) - time.monotonic(), 0.001) if hidden else math.inf


def _shown(message: Message) -> Json:
    system = {
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(message.first_ms),
        "SentTimestamp": str(message.sent_ms),
    }
    if message.group:
        system["MessageGroupId"] = message.group
    shown = {"MessageId": message.id, "ReceiptHandle": message.handle, "Body": message.body, "Attributes": system}
    return shown | ({"MessageAttributes": message.attributes} if message.attributes else {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Ignore errors: some tests disconnect the client in the middle of a call."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer sent in two writes would wait for the client's delayed acknowledgement
    wbufsize = 65_536
    owner: SqsStub

    def do_POST(self) -> None:
        action = self.headers["X-Amz-Target"].partition(".")[2]
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        access_key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        answer = self.owner.answer(action, request, access_key)
        if not isinstance(answer, Fault):
            self._write(200, json.dumps(self.owner.corrupt(action, json.loads(json.dumps(answer)))).encode())
        elif answer.closes:
            self.close_connection = True
        elif answer.page is not None:
            self._write(answer.status, answer.page)
        else:
            kind = "QueueDoesNotExist" if answer.code.endswith("NonExistentQueue") else answer.code
            page = json.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": "a message"}).encode()
            self._write(answer.status, page, ("x-amzn-query-error", f"{answer.code};Sender"))

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.owner.clock_ahead)

    def _write(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", "application/x-amz-json-1.0"),
            ("Content-Length", str(len(body))),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
