"""One function per entry point for untrusted bytes. Each accepts any bytes and raises if a property is violated.

Only the documented errors of an entry point are caught, so every other exception is a finding.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sockudo_queue.apps.file import load_with_apps
from sockudo_queue.config import options
from sockudo_queue.core import delivery_state, job, matching, signing
from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.channel_pattern import PatternError, compile_pattern
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.transport import header_lines
from sockudo_queue.drivers.redis.lists import split_value
from sockudo_queue.drivers.redis.queue_v2_payload import closed, opened
from sockudo_queue.errors import MalformedJob, SettingsError
from sockudo_queue.observability.web.connection import BadRequest, HttpConnection
from sockudo_queue.observability.web.health_server import LIMITS
from sockudo_queue.services import ingress

CANARY: Final = "CANARY"
_TYPES: Final = frozenset({"channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event"})
_WEBHOOKS: Final = (
    Webhook("all", _TYPES, Secret("http://127.0.0.1/")),
    Webhook("prefix", _TYPES, Secret("http://127.0.0.1/"), filter=Filter(channel_prefix="private-")),
    Webhook("pattern", _TYPES, Secret("http://127.0.0.1/"), filter=Filter(channel_pattern="^room-[0-9]+$")),
    Webhook("namespace", _TYPES, Secret("http://127.0.0.1/"), filter=Filter(channel_namespace="chat")),
)
_NAMES: Final = tuple(name for option in options.OPTIONS for name in option.variables)


def a_job(data: bytes) -> None:
    """A job is decoded, or refused with a text that shows none of it; a decoded job can be matched, signed, sent and
    kept."""
    try:
        read = job.decode(data)
    except MalformedJob as fault:
        _is_one_line(str(fault))
        return
    for match in matching.match(read, _WEBHOOKS):
        body = signing.body_of(read.time_ms, match.events)
        body.decode()
        assert all(bytes(event.raw) in data for event in match.events)
        head = signing.SigningRequest(read.app_key, read.signing_key, read.job_id or "j", 1, 0)
        for line in header_lines(signing.headers_of(head, match.webhook, body)):
            assert not re.search(rb"[\r\n\0]", line)
        _is_kept(delivery_state.DeliveryState(read.job_id or "j", read.app_id, match.webhook.name))


def a_state(data: bytes) -> None:
    """A state is decoded or left to a later version; a decoded state can be written, read again and replayed."""
    try:
        state = delivery_state.decode(data)
    except delivery_state.NewerRecord:
        return
    _is_kept(state)
    _is_kept(delivery_state.replayed(state))


def a_value(data: bytes) -> None:
    """A record's value in Redis splits into a state and a body, whatever its bytes are."""
    state, body = split_value(data)
    assert len(state) + len(body) <= len(data)
    assert b"\n" not in state


def a_payload(data: bytes) -> None:
    """Any payload of Queue V2 can be opened, and a payload we write opens into the original parts."""
    shown = hashlib.sha256(data).hexdigest()[:32]
    opened(data, shown)
    cut = data[0] if data else 0
    state, body = data[1 : 1 + cut].decode(errors="ignore").encode(), data[1 + cut :]
    payload = closed(body, state)
    payload.decode()
    assert opened(payload, shown) == (state, body), payload


def a_file(data: bytes) -> None:
    """A settings file is read or refused with one line per fault."""
    for name in ("config.json", "config.toml"):
        _load(name, data, {})


def a_webhook(data: bytes) -> None:
    """Any JSON in place of a webhook or an app."""
    text = data.decode(errors="ignore")
    app = '{"id":"a","key":"k","secret":"s","policy":{"webhooks":[' + text + "]}}"
    for entry in (app, text):
        _load("config.json", ('{"app_manager":{"array":{"apps":[' + entry + "]}}}").encode(), {})


def a_variable(data: bytes) -> None:
    """Any value of an environment variable; the value is never shown."""
    name = _NAMES[(data[0] if data else 0) % len(_NAMES)]
    text = data[1:].decode(errors="ignore").replace("\0", "")
    _load(None, b"", {name: text})
    faults = _load(None, b"", {name: f"{CANARY}{text}"})
    assert not any(CANARY in fault for fault in faults) or CANARY in name


def a_pattern(data: bytes) -> None:
    """A pattern compiles or is refused; a compiled pattern can be matched against any channel."""
    pattern, _, channel = data.decode(errors="ignore").partition("\n")
    try:
        search = compile_pattern(pattern)
    except PatternError as fault:
        _is_one_line(str(fault))
        return
    search(channel)
    search(pattern)


def a_request(data: bytes) -> None:
    """A request to the pages is parsed or refused, whatever it is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[: 2 * LIMITS.body_bytes])
        theirs.shutdown(socket.SHUT_WR)
        try:
            request = HttpConnection(ours, "", LIMITS).receive()
        except BadRequest:
            return
    assert request is None or request.target.startswith("/")


def some_jobs(data: bytes) -> None:
    """The memory driver's HTTP ingress accepts complete, unchanged objects, or nothing."""
    try:
        jobs = ingress.split_jobs(data)
    except ingress.NotJobs as fault:
        _is_one_line(str(fault))
        return
    assert jobs
    assert all(each in data and each[:1] + each[-1:] == b"{}" for each in jobs)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "job": a_job,
    "state": a_state,
    "value": a_value,
    "payload": a_payload,
    "file": a_file,
    "webhook": a_webhook,
    "variable": a_variable,
    "pattern": a_pattern,
    "request": a_request,
    "door": some_jobs,
}


def _is_kept(state: delivery_state.DeliveryState) -> None:
    written = delivery_state.encode(state)
    assert b"\n" not in written
    assert delivery_state.decode(written) == state


def _load(name: str | None, content: bytes, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Read settings without any other source, and return the faults."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        if name is not None:
            Path(directory, name).write_bytes(content)
        try:
            load_with_apps(name, environment, Path(directory), strict=False)
        except SettingsError as error:
            faults = error.faults
        else:
            return ()
    assert faults
    for fault in faults:
        _is_one_line(fault)
    return faults


def _is_one_line(text: str) -> None:
    assert text.isprintable(), repr(text)
    assert len(text) < 2000


def seeds(name: str) -> list[bytes]:
    """Return seed inputs: valid ones, so that the fuzzer need not guess the formats."""
    data = Path(__file__).parents[1] / "tests" / "data"
    jobs = [path.read_bytes() for path in sorted(data.glob("jobs/*/*.job"))]
    example = (data.parents[1] / "config.example.json").read_bytes()
    hooks: list[Any] = json.loads(example)["app_manager"]["array"]["apps"][0]["policy"]["webhooks"]
    return {
        "job": jobs,
        "door": [*jobs, b"\n".join(jobs[:3])],
        "state": [
            delivery_state.encode(
                delivery_state.DeliveryState("j", "a", "w", attempts=3, budget_from=5, reason="exhausted", died=9)
            )
        ],
        "value": [b"\x01{}\n" + jobs[0], jobs[0], b"\x01\n"],
        "payload": [bytes([40]) + b'{"v":1,"job":"j"}' + jobs[0], b"\0" + jobs[0], b'\0{"sockudo_queue_raw":"x"}'],
        "file": [example, *(path.read_bytes() for path in sorted(data.glob("config/*")) if path.is_file())],
        "webhook": [json.dumps(hook).encode() for hook in hooks],
        "variable": [bytes([number]) + b"5" for number in range(len(_NAMES))],
        "pattern": [b"^room-[0-9]+$\nroom-1", rb"(?i)\p{Greek}|[a-z&&[^b]]{2,}" + b"\nx"],
        "request": [b"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n"],
    }[name]
