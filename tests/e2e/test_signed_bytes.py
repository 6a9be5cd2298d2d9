"""What a receiver gets is what was signed: with every filter, at every attempt, and with whatever headers are set."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import pytest

from tests.faults.queue import daemon_on, log_tail, push, records, waiting
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import APP_KEY, APP_SECRET, TIME_MS, event, job
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

_TEXTS: Final = ("a/b", "Grüße", "😀", "\u2028", "<&>", "日本語/語")


def signed(request: Request) -> bool:
    """Check a signature with the standard library alone, over the bytes that came."""
    wanted = hmac.new(APP_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    return request.headers["x-pusher-signature"] == wanted


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_body_of_filtered_events_is_signed_as_it_is_sent(
    redis_server: RedisServer, receiver: Receiver, count: int
) -> None:
    """netalertx/NetAlertX#1720, soketi/soketi#284, lmsqueezy/lemonsqueezy.js#115, sendgrid/sendgrid-php#1102."""
    texts = [_TEXTS[number % len(_TEXTS)] for number in range(count)]
    wanted = [event("client_event", f"private-{text}", data=text) for text in texts]
    others = [event("client_event", f"other-{text}", data=text) for text in texts]
    mixed = [each for pair in zip(others, wanted, strict=True) for each in pair]
    hooks = [
        webhook(receiver.url("/all"), name="all"),
        webhook(receiver.url("/some"), name="some", filter={"channel_prefix": "private-"}),
        webhook(receiver.url("/none"), name="none", filter={"channel_prefix": "presence-"}),
    ]
    with redis_server.client() as client, daemon_on(redis_server.url, *hooks) as daemon:
        push(client, [job(1, events=mixed)])
        receiver.wait_for(2, 20)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))

    sent = {request.path: request for request in receiver.requests}
    head = b'{"time_ms":%d,"events":[' % (TIME_MS + 1)
    assert {path: request.body for path, request in sent.items()} == {
        "/all": head + b",".join(mixed) + b"]}",
        "/some": head + b",".join(wanted) + b"]}",
    }
    assert all(signed(request) for request in sent.values())


def test_every_attempt_is_signed_over_its_own_bytes(redis_server: RedisServer, receiver: Receiver) -> None:
    """reapit/foundations#10219, #7075 and #11108: also after a restart, and when the bytes have changed."""
    events = [event("client_event", f"{channel}-room") for channel in ("private", "presence")]
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "300", "QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS": "600"}
    all_events, some_events = (
        webhook(receiver.url(), name="hook", **wanted) for wanted in ({}, {"filter": {"channel_prefix": "private-"}})
    )
    with redis_server.client() as client, daemon_on(redis_server.url, all_events, **settings) as daemon:

        def fail_three_times(request: Request, nth: int) -> Answer:
            if nth == 3:  # the same process attempts it again, with fewer events
                daemon.write_config(config(app(some_events)))
                eventually(lambda: daemon.events("apps.reloaded"), 5, log_tail(daemon))
            return [Answer(500), Answer(503), Answer(reset=True), Answer(200)][nth - 1]

        receiver.answer(fail_three_times)
        push(client, [job(1, events=events)])
        eventually(lambda: [kept.attempts for kept in records(client, "delayed")] == [2], 10, log_tail(daemon))
        daemon.terminate()
        assert daemon.wait() == 0
        daemon.start()
        requests = receiver.wait_for(4, 20)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))

    head = b'{"time_ms":%d,"events":[' % (TIME_MS + 1)
    whole, less = (head + b",".join(kept) + b"]}" for kept in (events, events[:1]))
    assert [request.body for request in requests] == [whole, whole, whole, less]
    assert [request.headers["x-sockudo-attempt"] for request in requests] == ["1", "2", "3", "4"]
    assert all(signed(request) for request in requests)
    for name in ("x-pusher-key", "x-sockudo-job-id", "x-sockudo-webhook"):
        assert len({request.headers[name] for request in requests}) == 1


def test_no_configured_header_takes_the_place_of_ours(redis_server: RedisServer, receiver: Receiver) -> None:
    """open-mercato/open-mercato#2922, rmyndharis/OpenWA#403, stevegraham/slanger#140."""
    reserved = ("x-pusher-signature", "X-PUSHER-KEY", "content-type", "Content-LENGTH", "HOST", "transfer-encoding")
    theirs = dict.fromkeys((*reserved, "X-Sockudo-Attempt", "Connection", "Expect"), "forged")
    own = {"Authorization": "Bearer t", "user-agent": "shop/1"}
    hook = webhook(receiver.url(), name="orders", headers=theirs | own)
    with redis_server.client() as client, daemon_on(redis_server.url, hook):
        push(client, [job(1)])
        [request] = receiver.wait_for(1, 20)

    assert signed(request)
    names = [name for name, _ in request.header_lines]
    assert len({name.lower() for name in names}) == len(names)
    assert {"X-Pusher-Key", "X-Pusher-Signature", "Content-Type"} <= set(names)
    assert "forged" not in dict(request.header_lines).values()
    assert request.headers.pop("user-agent") == "shop/1"
    assert len(request.headers.pop("x-sockudo-job-id")) == 32
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-length": str(len(request.body)),
        "content-type": "application/json",
        "x-pusher-key": APP_KEY,
        "x-pusher-signature": hmac.new(APP_SECRET.encode(), request.body, hashlib.sha256).hexdigest(),
        "x-sockudo-attempt": "1",
        "x-sockudo-webhook": "orders",
        "authorization": "Bearer t",
    }
