"""Whatever a receiver answers, an attempt ends in time, with an outcome, and shows nothing of the answer."""

from __future__ import annotations

import time
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Verdict
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.addresses import Rules
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.guard import Guard
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from tests.faults.measures import scaled
from tests.helpers.receiver import Answer, Receiver

DEADLINE_MS: Final = 1000
CANARY: Final = b"canary"
STATUS: Final = (b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.0 503 No", b"HTTP/1.1 429 Slow", b"HTTP/2 200")
FIELDS: Final = (
    *(
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
    ),
    *(
        b"Location: http://canary@[::1",
        b"Location: //h:canary/\xff",
        b"Location: \x00",
        b"Location: " + b"canary" * 999,
    ),
    *(b"Retry-After: 99999999999999999999", b"Retry-After: -1", b"Retry-After: canary", b"Retry-After: Wed, 99 Foo 0"),
    *(b"Connection: close", b"Content-Encoding: gzip", b"Set-Cookie: canary=1", b"WWW-Authenticate: Digest canary"),
    *(
        b" folded: canary",
        b"no colon",
        b": no name",
        b"X-A: \xff\xfe\x00canary",
        b"Alt-Svc: h3=canary",
        b"Upgrade: h2c",
    ),
)

heads = st.builds(
    lambda status, fields, end, body: status + b"".join(b"\r\n" + field for field in fields) + end + body,
    st.sampled_from(STATUS) | st.binary(max_size=20),
    st.lists(st.sampled_from(FIELDS) | st.binary(max_size=20), max_size=5),
    st.sampled_from((b"\r\n\r\n", b"\n\n", b"\r\n", b"")),
    st.sampled_from((b"", b"5\r\ncanary\r\n0\r\n\r\n", b"canary" * 4000)),
)


def test_any_answer_is_an_outcome_in_time() -> None:
    sender = Sender(CurlTransport(HandleOptions(guard=Guard(Rules()))))
    with Receiver() as receiver:
        hook = Webhook("w", frozenset(), Secret(receiver.url()), request_timeout_ms=DEADLINE_MS)

        @settings(max_examples=scaled(3000, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(heads)
        def check(raw: bytes) -> None:
            receiver.answer(lambda request, nth: Answer(raw=raw, close=True))
            began = time.monotonic()
            outcome, _ = sender.post(hook, b"{}", {"X-Pusher-Key": "k"})
            assert time.monotonic() - began < DEADLINE_MS / 1000 + 2
            assert outcome.verdict in Verdict
            assert CANARY.decode() not in repr(outcome)
            assert outcome.detail.isprintable()
            assert outcome.reason != "internal"

        check()
        # And the handle is as good as before.
        receiver.answer(lambda request, nth: Answer())
        assert sender.post(hook, b"{}", {})[0].delivered
