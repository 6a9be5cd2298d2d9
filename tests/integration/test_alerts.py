"""Alerts over real sockets: signed requests, receivers of every kind, and a storm that stays small."""

from __future__ import annotations

import re
import threading
import time
import tracemalloc
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks import WebhookVerificationError

from sockudo_queue.config import AlertSettings, DeliverySettings, Settings
from sockudo_queue.config.secret_files import FileSecret
from sockudo_queue.core import alert
from sockudo_queue.core.alert import Alert
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.alert_sender import TIMEOUT
from sockudo_queue.delivery.factory import DeliveryStack
from sockudo_queue.runtime.interpreter_lock import PythonGate
from sockudo_queue.services.alert_queue import MAX_SUBJECTS
from sockudo_queue.services.alerts import POST_BURST, AlertOutbox
from tests.faults.measures import figure
from tests.helpers.alerts import SECRET, alerts_at, verified
from tests.helpers.commands import Commands
from tests.helpers.configs import config
from tests.helpers.ports import free_port
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.waiting import eventually

STORM: Final = 10_000
EXAMPLE: Final = re.compile(r"```python\n(.*?)```", re.DOTALL)
OTHER_SECRET: Final = "whsec_" + "QUJD" * 8


class Log:
    """Keeps the lines of an outbox."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning


class Outbox:
    """An outbox as the daemon has it, with its thread, to a receiver's URL."""

    def __init__(self, url: str, secret: Secret | None = None, **delivery: Any) -> None:
        alerts = AlertSettings(url=Secret(url), secret=secret or Secret(SECRET))
        settings = Settings(alerts=alerts, delivery=DeliverySettings(**delivery))
        self.stack = DeliveryStack(settings, PythonGate())
        sender = self.stack.alert_sender(settings.alerts)
        assert sender is not None
        self.log = Log()
        self.box = AlertOutbox(sender.post, "host:1", self.log, reminder=600.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join(TIMEOUT + 5)
            assert not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._ended.is_set():
            self.box.flush()
            self._ended.wait(0.02)


def opened(webhook: str = "orders") -> Alert:
    return alert.breaker_opened("shop", webhook, time.time(), reason="status-503", failing_s=1, open_s=5)


def closed(webhook: str = "orders") -> Alert:
    return alert.breaker_closed("shop", webhook, time.time(), failing_s=1)


def test_alert_arrives_signed_and_only_with_the_right_secret(receiver: Receiver) -> None:
    outbox = Outbox(receiver.url("/in?token=x"))
    outbox.box.put(opened())
    outbox.box.flush()
    [request] = receiver.wait_for(1)
    assert verified(request)["data"]["webhook"] == "orders"
    assert (request.method, request.path) == ("POST", "/in?token=x")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-signature"].startswith("v1,")
    with pytest.raises(WebhookVerificationError):
        verified(request, OTHER_SECRET)


def test_receiver_of_the_docs_accepts_an_alert_and_no_other(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = Outbox(receiver.url())
    outbox.box.put(opened())
    outbox.box.flush()
    [request] = receiver.wait_for(1)
    (tmp_path / "alert-secret").write_text(SECRET + "\n")
    monkeypatch.chdir(tmp_path)
    example = EXAMPLE.search((Path(__file__).parents[2] / "docs" / "alerts.md").read_text())
    assert example is not None
    names: dict[str, Any] = {"__name__": "example"}
    exec(example[1], names)
    client = names["app"].test_client()
    assert client.post("/sockudo", data=request.body, headers=request.headers).status_code == 204
    assert "webhook.breaker_opened" in capsys.readouterr().out
    assert client.post("/sockudo", data=request.body + b" ", headers=request.headers).status_code == 500


def test_secret_in_a_file_is_renewed_and_rubbish_is_not_used(receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    outbox = Outbox(receiver.url(), FileSecret(SECRET, str(path)))
    for number, text in enumerate([SECRET, OTHER_SECRET, "rubbish"]):
        path.write_text(text + "\n")
        outbox.box.put(opened(str(number)))
        outbox.box.flush()
    first, second, third = receiver.wait_for(3)
    verified(first, SECRET)
    verified(second, OTHER_SECRET)
    verified(third, OTHER_SECRET)


def test_private_receiver_is_allowed_where_webhooks_must_be_public(receiver: Receiver) -> None:
    outbox = Outbox(receiver.url(), private="deny", denied_networks=["127.0.0.0/8"])
    outbox.box.put(opened())
    outbox.box.flush()
    assert len(receiver.wait_for(1)) == 1


@pytest.mark.parametrize(
    ("answer", "reason", "tries"),
    [
        (Answer(500), "status-500", 2),
        (Answer(301, headers=[("Location", "http://127.0.0.1/elsewhere")]), "redirect-301", 1),
        (Answer(404), "status-404", 1),
        (Answer(reset=True), "reset", 2),
        (Answer(raw=b"rubbish\r\n\r\n"), "protocol", 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_receiver_that_fails_is_logged_once_and_tried_again_if_that_may_help(
    receiver: Receiver, answer: Answer, reason: str, tries: int
) -> None:
    receiver.answer(lambda request, nth: answer)
    outbox = Outbox(receiver.url())
    outbox.box.put(opened())
    with outbox.running():
        receiver.wait_for(tries)
        eventually(lambda: outbox.log.lines)
        if tries == 1:
            eventually(lambda: outbox.box.counts()["failed"] == 1)
    assert outbox.log.lines == [("alert.failed", {"reason": reason})]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_receiver_that_refuses_connections_gets_the_alert_once_it_listens() -> None:
    with Receiver() as receiver:
        receiver.refuse()
        outbox = Outbox(receiver.url())
        outbox.box.put(opened())
        with outbox.running():
            eventually(lambda: outbox.log.lines == [("alert.failed", {"reason": "refused"})])
            receiver.listen()
            [request] = receiver.wait_for(1)
            assert verified(request)["type"] == alert.BREAKER_OPENED
            eventually(lambda: ("alert.resumed", {"lost": 0}) in outbox.log.lines)


def test_endless_answer_is_cut_off(receiver: Receiver) -> None:
    receiver.answer(lambda request, nth: Answer(200, body=b"x" * 30_000_000))
    outbox = Outbox(receiver.url())
    outbox.box.put(opened())
    began = time.monotonic()
    outbox.box.flush()
    assert time.monotonic() - began < TIMEOUT
    assert outbox.box.counts()["sent"] == 1


def test_storm_of_breakers_beside_a_hanging_receiver_never_blocks_and_stays_small(receiver: Receiver) -> None:
    receiver.hang()
    outbox, took = Outbox(receiver.url()), array("d", bytes(8 * STORM))
    outbox.box.put(opened("first"))
    with outbox.running():
        receiver.wait_for(1)  # from now on the thread hangs in its request
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(STORM):
            name = str(number // 2 % (2 * MAX_SUBJECTS))
            raised = opened(name) if number % 2 == 0 else closed(name)
            began = time.perf_counter()
            outbox.box.put(raised)
            took[number] = time.perf_counter() - began
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert receiver.count == 1
        assert outbox.box.unsent() <= MAX_SUBJECTS + 1
        assert outbox.box.counts()["dropped"] > 0
        receiver.always(200)
        receiver.refuse()  # ends the request that hangs
    p99 = sorted(took)[STORM * 99 // 100]
    figure(f"{STORM:,} alerts beside a hanging receiver: p99 of put {p99 * 1e6:.0f} µs, {grown / 1e3:.0f} KB kept")
    assert grown < 1_000_000
    assert p99 < 0.005
    assert max(took) < TIMEOUT / 5  # none waited for the request


def test_storm_of_one_flapping_breaker_costs_few_requests(receiver: Receiver) -> None:
    outbox = Outbox(receiver.url())
    with outbox.running():
        for number in range(STORM):
            outbox.box.put(opened() if number % 2 == 0 else closed())
        eventually(lambda: receiver.count >= 1)
    outbox.box.close()
    payloads = alerts_at(receiver)
    assert len(payloads) <= POST_BURST
    assert sum(payload["data"]["changes"] for payload in payloads) == STORM
    assert payloads[-1]["type"] == alert.BREAKER_CLOSED


def test_check_connects_and_sends_a_test_alert_only_on_request(receiver: Receiver, tmp_path: Path) -> None:
    environment = {"QUEUE_DRIVER": "none", "QUEUE_ALERT_URL": receiver.url("/CANARY"), "QUEUE_ALERT_SECRET": SECRET}
    run = Commands(tmp_path, config(), environment)
    ran = run("check")
    assert f"ok       alerts: http://127.0.0.1:{receiver.port}: resolves and listens" in ran.out
    assert receiver.count == 0
    ran = run("check", "--alert")
    assert "ok       alerts: a test alert was accepted with 200" in ran.out
    assert [payload["type"] for payload in alerts_at(receiver)] == ["alert.test"]
    receiver.always(403)
    ran = run("check", "--alert")
    assert ran.code == 1
    assert "error    alerts: a test alert failed: status-403" in ran.out
    assert "CANARY" not in ran.out + ran.err
    assert SECRET not in ran.out + ran.err


def test_check_reports_a_missing_receiver(tmp_path: Path) -> None:
    run = Commands(tmp_path, config(), {"QUEUE_DRIVER": "none"})
    assert "alerts" not in run("check").out
    ran = run("check", "--alert")
    assert (ran.code, "error    alerts: no test alert was sent; set QUEUE_ALERT_URL" in ran.out) == (1, True)
    url = f"http://127.0.0.1:{free_port()}/"
    ran = Commands(tmp_path, config(), {"QUEUE_DRIVER": "none", "QUEUE_ALERT_URL": url, "QUEUE_ALERT_SECRET": SECRET})(
        "check"
    )
    assert "warning  alerts: " in ran.out


def test_requests_of_a_try_again_are_the_same_bytes_with_a_new_timestamp(receiver: Receiver) -> None:
    def answer(_request: Request, nth: int) -> Answer:
        return Answer(503 if nth == 1 else 200)

    receiver.answer(answer)
    outbox = Outbox(receiver.url())
    outbox.box.put(opened())
    with outbox.running():
        first, second = receiver.wait_for(2)
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
