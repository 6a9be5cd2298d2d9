"""The daemon never shows a secret, in success or failure."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests.faults.queue import SERVER_LIST, log_tail, own_key, push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.ports import free_port
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

CANARIES: Final = {
    "secret of the app": "canary-app-secret",
    "user of the URL": "canary-url-user",
    "password of the URL": "canary-url-password",
    "query of the URL": "canary-url-query",
    "value of a header": "canary-header-value",
    "password of Redis": "canary-redis-password",
    "text of a job": "canary-job-text",
}


@pytest.fixture
def guarded_redis() -> Iterator[RedisServer]:
    with RedisServer(password=CANARIES["password of Redis"]) as server:
        yield server


def secret_url(port: int) -> str:
    user, password = CANARIES["user of the URL"], CANARIES["password of the URL"]
    return f"http://{user}:{password}@127.0.0.1:{port}/hook?token={CANARIES['query of the URL']}"


def secret_config(port: int, **keys: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {CANARIES['value of a header']}"}
    hook = webhook(secret_url(port), headers=headers, **keys)
    return config(app(hook, secret=CANARIES["secret of the app"]))


def secret_job(number: int = 1) -> bytes:
    events = [event("client_event", f"room-{number}", data=CANARIES["text of a job"])]
    return job(number, secret=CANARIES["secret of the app"], events=events)


def shown(daemon: DaemonProcess) -> str:
    """Return all that it has written and all that its pages show."""
    return daemon.output() + "".join(page(daemon, path) for path in ("/metrics", "/livez", "/readyz"))


def history(client: Any) -> str:
    """Return all that the attempt history holds."""
    return repr(client.xrange(own_key(SERVER_LIST, "attempts")))


def page(daemon: DaemonProcess, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def check(text: str) -> None:
    assert text
    for name, canary in CANARIES.items():
        assert canary not in text, f"{name} is shown"
    assert "canary" not in text.lower()


ANSWERS: Final[dict[str, Answer]] = {
    "delivered": Answer(200),
    "refused": Answer(403, body=b"canary in the body", headers=[("X-Reason", "canary")]),
    "failed": Answer(503, headers=[("Retry-After", "1")]),
    "redirected": Answer(302, headers=[("Location", "http://canary-host-user:canary@elsewhere.example/canary")]),
    "reset": Answer(reset=True),
    "broken": Answer(raw=b"canary is no HTTP\r\n\r\n", close=True),
    "timed out": Answer(hang=True),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_attempts_show_no_secret(guarded_redis: RedisServer, receiver: Receiver, case: str) -> None:
    receiver.answer(lambda request, nth: ANSWERS[case])
    file = secret_config(receiver.port, request_timeout_ms=300)
    environment = {"QUEUE_LOG_LEVEL": "debug", "QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS": "1", "QUEUE_HISTORY": "all"}
    with guarded_redis.client() as client, DaemonProcess(file, environment, redis_url=guarded_redis.url) as daemon:
        push(client, [secret_job()])
        [request] = receiver.wait_for(1)
        eventually(lambda: daemon.events("delivery.attempted"), 5, log_tail(daemon))
        if case != "delivered":
            eventually(lambda: daemon.events("job.dead_lettered"), 5, log_tail(daemon))
        check(shown(daemon))
        daemon.terminate()
        assert daemon.wait() == 0
        check(daemon.output())
        check(history(client))
    assert request.headers["authorization"].endswith(CANARIES["value of a header"])


def test_a_receiver_that_refuses_shows_no_secret(guarded_redis: RedisServer) -> None:
    with guarded_redis.client() as client:
        file = secret_config(free_port())
        with DaemonProcess(file, {"QUEUE_LOG_LEVEL": "debug"}, redis_url=guarded_redis.url) as daemon:
            push(client, [secret_job(), b"canary-job-text", secret_job()[:-1]])
            eventually(lambda: daemon.events("delivery.attempted"), 5, log_tail(daemon))
            eventually(lambda: len(daemon.events("job.unreadable")) == 2, 5, log_tail(daemon))
            check(shown(daemon))


def _refused(server: RedisServer) -> dict[str, str]:
    return {"REDIS_URL": f"redis://canary-user:{CANARIES['password of Redis']}@127.0.0.1:{free_port()}/0"}


def _wrong_password(server: RedisServer) -> dict[str, str]:
    return {"REDIS_URL": f"redis://:canary-wrong@127.0.0.1:{server.port}/0"}


def _wrong_user(server: RedisServer) -> dict[str, str]:
    return {
        "DATABASE_REDIS_PORT": str(server.port),
        "DATABASE_REDIS_USERNAME": "canary-user",
        "DATABASE_REDIS_PASSWORD": CANARIES["password of Redis"],
    }


def _tls_to_plain(server: RedisServer) -> dict[str, str]:
    return {"REDIS_URL": f"rediss://canary-user:{CANARIES['password of Redis']}@127.0.0.1:{server.port}/0"}


def _no_such_host(server: RedisServer) -> dict[str, str]:
    return {"REDIS_URL": f"redis://:{CANARIES['password of Redis']}@no-such-host.invalid:1/0"}


@pytest.mark.parametrize("fault", [_refused, _wrong_password, _wrong_user, _tls_to_plain, _no_such_host])
def test_a_queue_that_cannot_be_reached_shows_no_secret(
    guarded_redis: RedisServer, receiver: Receiver, fault: Callable[[RedisServer], dict[str, str]]
) -> None:
    environment = {"QUEUE_LOG_LEVEL": "debug", "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "500", **fault(guarded_redis)}
    with DaemonProcess(secret_config(receiver.port), environment) as daemon:
        [lost] = eventually(lambda: daemon.events("broker.lost"), 10, log_tail(daemon))
        check(shown(daemon))
        assert daemon.get("/readyz") == 503
        daemon.terminate()
        assert daemon.wait(10) == 0
        check(daemon.output())
    assert lost["reason"]


def test_passwords_are_really_sent(guarded_redis: RedisServer, receiver: Receiver) -> None:
    """The secrets that the other tests search for are really sent."""
    with (
        guarded_redis.client() as client,
        DaemonProcess(secret_config(receiver.port), redis_url=guarded_redis.url) as daemon,
    ):
        client.rpush(SERVER_LIST, secret_job())
        [request] = receiver.wait_for(1)
        eventually(lambda: daemon.metric("sockudo_webhook_attempts_total", outcome="delivered") == 1)
    assert CANARIES["query of the URL"] in request.path
    assert CANARIES["text of a job"].encode() in request.body
